"""`losslab compare`: which loss or architecture is better, and whether the difference is real."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losslab.cli.console import cli_errors, collect_errors, print_table
from losslab.errors import InputError
from losslab.stage import print_line, print_warning

if TYPE_CHECKING:
    from losslab.comparison.result import Comparison

ROOT = Path()
COMPARISONS, LOCKS = Path("reports/comparisons"), Path(".losslab/comparisons")
LOCK_TIMEOUT_S = 60.0
"""Seconds to wait while another process writes the same comparison."""
DEFAULT_METRIC = "miou"


@cli_errors()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            help="A study; with --runs: DVC experiments or patterns of their names, MLflow runs, `workspace`."
        ),
    ],
    runs: Annotated[bool, typer.Option("--runs", help="Compare runs instead of a study.")] = False,
    metric: Annotated[str, typer.Option(help="Score in scores.json, or iou_CLASS.")] = DEFAULT_METRIC,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE that the study was run with; repeatable.")
    ] = None,
    alias: Annotated[str | None, typer.Option("--as", help="Alias that the study was run with.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the folder in reports/comparisons.")] = None,
    timing: Annotated[bool, typer.Option(help="Time each net on this machine, a few seconds each.")] = True,
) -> None:
    """Compare the runs of a study, or any runs on the same test set, and write reports/comparisons/NAME/."""
    from tqdm import tqdm

    from losslab import tracking
    from losslab.comparison.compare import compare_runs
    from losslab.comparison.cost import CostMeter
    from losslab.comparison.selection import select_runs, select_study
    from losslab.reporting.comparison import write_comparison
    from losslab.study import spec as cards
    from losslab.study.state import find_study
    from losslab.study.tracked import record_study

    study = None
    if name is not None and not re.fullmatch(cards.NAME, name):
        raise InputError(f"--name {name}: use only letters, digits, _ and .")
    if runs:
        if sets or alias is not None:
            raise InputError("--set and --as cannot be used with --runs")
        question = select_runs(names, metric, ROOT, name)
    elif len(names) == 1:
        study = find_study(names[0], ROOT, tuple(sets or ()), alias)
        question = select_study(study, metric, ROOT)
    else:
        raise InputError(f"{len(names)} names: give one study, or --runs and the names of runs")
    folder = COMPARISONS / (name or question.spec.name + ("" if metric == DEFAULT_METRIC else f"-{metric}"))
    with question.open_evidence() as evidence, tqdm(desc="measuring", unit=" nets", leave=False, disable=None) as bar:
        comparison = compare_runs(evidence, question.spec, CostMeter(timing, lambda net: bar.update()))
        with _lock_comparison(folder):
            write_comparison(comparison, ROOT / folder)
    if study is not None and tracking.store_exists(ROOT):
        errors: list[str] = []
        with collect_errors(errors):
            record_study(study, ROOT, ROOT / folder, tracking.open_store(ROOT))
        for error in errors:
            print_warning(f"{error}; run `losslab sync` later to add the verdict")
    _print_comparison(comparison)
    print_line(f"wrote {folder}/index.html")


@contextmanager
def _lock_comparison(folder: Path) -> Iterator[None]:
    """Let one process at a time write a comparison; wait for another."""
    from filelock import FileLock, Timeout

    from losslab.io.files import make_folder

    lock = FileLock(ROOT / LOCKS / f"{folder.name}.lock")
    make_folder(ROOT / LOCKS)
    try:
        lock.acquire(timeout=LOCK_TIMEOUT_S)
    except Timeout:
        raise InputError(f"another losslab compare is writing {folder}; give this one another --name") from None
    try:
        yield
    finally:
        lock.release()


def _print_comparison(comparison: "Comparison") -> None:
    from losslab.reporting.comparison.markdown import build_cell_table, describe_cells

    for warning in comparison.warnings:
        print_warning(warning)
    headings, rows = build_cell_table(comparison)
    print_table(tuple(headings), [tuple(row) for row in rows])
    print_line(describe_cells(comparison))
    for line in (*comparison.headline, *comparison.changes):
        print_line(line)
