"""Training curves as small multiples: a chart for each label of each axis, whose lines are the labels of the others."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from losslab.comparison.result import ComparedCell, Comparison
from losslab.formats import format_brief, format_list
from losslab.io.files import parse_number
from losslab.reporting.components.axes import Axis, build_axis, build_epoch_axis
from losslab.reporting.components.charts import Chart, ChartSeries, DrawnSeries

MEASURES = {"val_miou": "mIoU on the validation images", "train_loss": "Loss on the training images"}


@dataclass(frozen=True)
class EpochCurve:
    name: str
    """Labels of the axes that vary within the chart."""
    style: int
    """Number of the line style, which a name keeps in all charts of a grouping."""
    epochs: list[float]
    mean: list[float]
    """Mean over the runs; NaN where one has no number."""
    runs: list[tuple[list[float], list[float]]]
    """Epochs and values of each run."""


@dataclass(frozen=True)
class CurvePanel:
    title: str
    curves: list[EpochCurve]


@dataclass(frozen=True)
class MeanChart(Chart):
    """A chart whose lines are means over seeds; the seeds lie behind them, thin, and the script shows no numbers of them."""

    seeds: Sequence[ChartSeries] = ()

    @cached_property
    def drawn(self) -> list[DrawnSeries]:
        behind = [self._draw(one) for one in self.seeds]
        return [
            *(replace(one, css=f"{one.css} seed", dots=[], xs="-", ys="-", texts="-") for one in behind),
            *(self._draw(one) for one in self.series),
        ]


ChartGroup = tuple[str, list[tuple[str, list[Chart]]]]
"""Title, and for each measure its name and a chart for each label of one axis."""


def build_chart_groups(comparison: Comparison) -> list[ChartGroup]:
    """Build a group by each axis; with fewer than two axes, all cells share one chart. Empty where no run has a history."""
    groups: list[ChartGroup] = []
    for place, (title, _) in enumerate(build_panels(comparison, "val_miou")):
        charts = []
        for measure, name in MEASURES.items():
            parts = [part for part in build_panels(comparison, measure)[place][1] if part.curves]
            values = [value for part in parts for curve in part.curves for _, ys in curve.runs for value in ys]
            if parts:
                ids = [f"chart-{measure}-{place}-{index}" for index in range(len(parts))]
                drawn = [_build_chart(*one, measure, values) for one in zip(ids, parts, strict=True)]
                charts.append((name, drawn))
        if charts:
            groups.append((title, charts))
    return groups


def build_panels(comparison: Comparison, measure: str) -> list[tuple[str, list[CurvePanel]]]:
    """Build groupings, each with its panels; those without any history have no curves."""
    axes = comparison.axes
    if len(axes) < 2:
        cells = [cell.name for cell in comparison.cells]
        return [("all cells", [_build_panel("", comparison.cells, {name: name for name in cells}, cells, measure)])]
    groupings = []
    for axis, labels in axes.items():
        names = {
            cell.name: ", ".join(cell.labels[other] for other in axes if other != axis) for cell in comparison.cells
        }
        order = sorted(
            set(names.values()),
            key=lambda name: min(
                [axes[other].index(cell.labels[other]) for other in axes if other != axis]
                for cell in comparison.cells
                if names[cell.name] == name
            ),
        )
        parts = [
            _build_panel(
                label, [cell for cell in comparison.cells if cell.labels[axis] == label], names, order, measure
            )
            for label in labels
        ]
        groupings.append((f"by {axis}", parts))
    return groupings


def _build_panel(
    title: str, cells: Sequence[ComparedCell], names: Mapping[str, str], order: list[str], measure: str
) -> CurvePanel:
    curves = [_build_curve(cell, names[cell.name], order.index(names[cell.name]), measure) for cell in cells]
    return CurvePanel(title, sorted((curve for curve in curves if curve is not None), key=lambda curve: curve.style))


def _build_curve(cell: ComparedCell, name: str, style: int, measure: str) -> EpochCurve | None:
    runs = []
    for run in cell.runs:
        points = [(parse_number(row["epoch"]), parse_number(row.get(measure))) for row in run.history]
        if any(not math.isnan(value) for _, value in points):
            runs.append(([epoch for epoch, _ in points], [value for _, value in points]))
    if not runs:
        return None
    by_epoch = [dict(zip(*run, strict=True)) for run in runs]
    epochs = sorted(set().union(*by_epoch))
    mean = [statistics.fmean(values.get(epoch, math.nan) for values in by_epoch) for epoch in epochs]
    return EpochCurve(name, style, epochs, mean, runs)


def _build_chart(name: str, panel: CurvePanel, measure: str, values: list[float]) -> Chart:
    """Build one chart of a grouping, whose charts share the scale of `values`; different losses cannot share one."""
    epochs = sorted({epoch for curve in panel.curves for epoch in curve.epochs})
    losses = [value for curve in panel.curves for _, ys in curve.runs for value in ys]
    means = [dict(zip(curve.epochs, curve.mean, strict=True)) for curve in panel.curves]
    return MeanChart(
        id=name,
        title=panel.title or "All cells",
        reading=_describe_panel(panel, measure),
        x=build_epoch_axis(epochs),
        y=_build_miou_axis(values) if measure == "val_miou" else build_axis("loss", losses),
        series=[
            ChartSeries(
                name=curve.name, xs=epochs, ys=[mean.get(epoch, math.nan) for epoch in epochs], style=curve.style
            )
            for curve, mean in zip(panel.curves, means, strict=True)
        ],
        at=[format_brief(epoch) for epoch in epochs],
        seeds=[
            ChartSeries(name=curve.name, xs=xs, ys=ys, style=curve.style)
            for curve in panel.curves
            if len(curve.runs) > 1
            for xs, ys in curve.runs
        ],
    )


def _build_miou_axis(values: list[float]) -> Axis:
    known = [value for value in values if not math.isnan(value)]
    room = 0.05 * (max(known) - min(known)) or 0.05
    return Axis("mIoU (0 to 1)", max(min(known) - room, 0.0), min(max(known) + room, 1.0))


def _describe_panel(panel: CurvePanel, measure: str) -> str:
    best = {
        curve.name: max(
            (value, -epoch) for epoch, value in zip(curve.epochs, curve.mean, strict=True) if value == value
        )
        for curve in panel.curves
        if any(value == value for value in curve.mean)
    }
    if not best:
        return "No epoch has a number from every seed."
    if measure == "val_miou":
        name = max(best, key=lambda one: best[one][0])
        return f"Highest mean: {name}, {best[name][0]:.3f} in epoch {format_brief(-best[name][1])}."
    last = [f"{curve.name} {format_brief(curve.mean[-1])}" for curve in panel.curves]
    return f"In the last epoch: {format_list(last)}."
