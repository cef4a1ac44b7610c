"""`losslab compare`: which loss or architecture is better, and whether the difference is real."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losslab.cli.console import cli_errors, print_table
from losslab.errors import InputError

if TYPE_CHECKING:
    from losslab.comparison.result import Comparison

ROOT, PLACE = Path(), Path("reports/comparisons")
LOCKS = Path(".losslab/comparisons")
PATIENCE = 60.0
"""Seconds that another comparison of the same name has to be written."""
DEFAULT_METRIC = "miou"


def compare(
    names: Annotated[list[str], typer.Argument(help="A study; with --runs: DVC experiments, MLflow runs, workspace.")],
    runs: Annotated[bool, typer.Option("--runs", help="The names are runs.")] = False,
    metric: Annotated[str, typer.Option(help="A score of metrics.json, or iou_CLASS.")] = DEFAULT_METRIC,
    sets: Annotated[list[str] | None, typer.Option("--set", help="As the study was run with.")] = None,
    alias: Annotated[str | None, typer.Option("--as", help="As the study was run with.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the folder in reports/comparisons.")] = None,
    timing: Annotated[bool, typer.Option(help="Time each net here, a few seconds each.")] = True,
) -> None:
    """Compare the runs of a study, or any runs on the same test set, and write reports/comparisons/NAME/."""
    with cli_errors():
        found, folder = _compare(names, runs, metric, sets or [], alias, name, timing)
    _tell(found)
    typer.echo(f"wrote {folder}/index.html")


def _compare(
    names: list[str], runs: bool, metric: str, sets: list[str], alias: str | None, name: str | None, timing: bool
) -> "tuple[Comparison, Path]":
    import re

    from tqdm import tqdm

    from losslab.comparison.compare import compare_runs as compare_runs
    from losslab.comparison.cost import CostMeter
    from losslab.comparison.selection import select_runs, select_study
    from losslab.reporting.comparison import write_comparison
    from losslab.study import spec as cards
    from losslab.study.state import find_study

    if name is not None and not re.fullmatch(cards.NAME, name):
        raise InputError(f"--name {name}: letters, digits, _ and . alone")
    if runs:
        if sets or alias is not None:
            raise InputError("--set and --as: are of a study, not of --runs")
        question = select_runs(names, metric, ROOT, name)
    elif len(names) == 1:
        question = select_study(find_study(names[0], ROOT, tuple(sets), alias), metric, ROOT)
    else:
        raise InputError(f"{len(names)} names: give one study, or --runs and the names of runs")
    folder = PLACE / (name or question.spec.name + ("" if metric == DEFAULT_METRIC else f"-{metric}"))
    with question.open_evidence() as evidence, tqdm(desc="measuring", unit=" nets", leave=False, disable=None) as bar:
        found = compare_runs(evidence, question.spec, CostMeter(timing, lambda net: bar.update()))
        with _alone(folder):
            write_comparison(found, ROOT / folder)
    return found, folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the one that writes a comparison of this name; another is waited for."""
    from filelock import FileLock, Timeout

    lock = FileLock(ROOT / LOCKS / f"{folder.name}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise InputError(
            f"{folder} is being written by another losslab compare; give this one another --name"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _tell(found: "Comparison") -> None:
    for warning in found.warnings:
        typer.echo(f"WARNING: {warning}", err=True)
    standings = {standing.name: standing for standing in found.verdict.standings} if found.verdict is not None else {}
    rows = []
    for rank, cell in enumerate(found.cells, start=1):
        standing = standings.get(cell.name)
        digits = 2 if found.metric.unit == "pixels" else 4
        mean = sum(run.score for run in cell.runs) / len(cell.runs) if standing is None else standing.mean
        sd = f" ± {standing.sd:.{digits}f}" if standing is not None and standing.sd is not None else ""
        interval = standing.interval if standing is not None else None
        told = f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}" if interval is not None else ""
        time = f"{cell.image_ms:.1f}" if cell.image_ms is not None else ""
        flops = f"{cell.gflops:.2f}" if cell.gflops is not None else ""
        rows.append(
            (
                str(rank),
                cell.name,
                f"{mean:.{digits}f}{sd}",
                told,
                str(len(cell.runs)),
                f"{cell.parameters:,}",
                flops,
                time,
            )
        )
    print_table(("rank", "cell", found.metric.title, "95 % CI", "runs", "parameters", "GFLOPs", "ms/image"), rows)
    typer.echo(found.headline)
