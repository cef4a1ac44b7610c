"""CSV files of a comparison: a row for each run, and a row for each cell."""

from losslab.comparison.result import ComparedCell, Comparison
from losslab.io.files import Row
from losslab.reporting.comparison.ranking import build_lines

COLUMNS = {
    *("cell", "run", "seed", "metric", "score", "mlflow_run", "rank", "seeds", "images", "units"),
    *("mean", "sd", "low", "high", "mark"),
    *("parameters", "gflops", "image_ms", "train_seconds"),
}
"""Names of columns, which an axis cannot have."""


def build_run_rows(comparison: Comparison) -> list[Row]:
    """Build comparison.csv; `score` is that of the metric, on test."""
    return [
        {
            "cell": cell.name,
            **_list_labels(comparison, cell),
            "run": run.name,
            "seed": run.seed,
            "metric": comparison.metric.key,
            "score": run.score,
            **_list_costs(cell),
            "train_seconds": run.train_seconds,
            "mlflow_run": run.mlflow_run,
        }
        for cell in comparison.cells
        for run in cell.runs
    ]


def build_cell_rows(comparison: Comparison) -> list[Row]:
    """Build cells.csv; `low` and `high` are the 95 % interval of the mean, `units` the independent test images or groups."""
    return [
        {
            "rank": line.rank,
            "cell": cell.name,
            **_list_labels(comparison, cell),
            "metric": comparison.metric.key,
            "seeds": line.seeds,
            "images": comparison.images,
            "units": comparison.units,
            "mean": line.mean,
            "sd": line.sd,
            "low": line.interval and line.interval[0],
            "high": line.interval and line.interval[1],
            "mark": line.mark,
            **_list_costs(cell),
            "train_seconds": cell.train_seconds,
        }
        for cell, line in zip(comparison.cells, build_lines(comparison), strict=True)
    ]


def _list_labels(comparison: Comparison, cell: ComparedCell) -> dict[str, str]:
    """List axis → label; an axis with the name of another column gets a longer one."""
    return {f"axis {axis}" if axis in COLUMNS else axis: cell.labels.get(axis, "") for axis in comparison.axes}


def _list_costs(cell: ComparedCell) -> dict[str, object]:
    return {"parameters": cell.parameters, "gflops": cell.gflops, "image_ms": cell.image_ms}
