"""Comparisons of runs for notebooks: a headline, a table, and what may be said of two cells."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from losslab.api.runs import Run, open_project
from losslab.comparison.compare import compare_runs
from losslab.comparison.cost import CostMeter
from losslab.comparison.result import Comparison
from losslab.comparison.selection import select_runs, select_study
from losslab.comparison.verdicts import JudgedPair
from losslab.errors import InputError, quote, suggest_name
from losslab.experiments.finished_runs import WORKSPACE
from losslab.experiments.run_finder import RunFinder, RunRecord
from losslab.formats import format_list
from losslab.reporting.comparison.csv_tables import build_cell_rows
from losslab.reporting.comparison.markdown import BoldText, build_cell_table, describe_cells
from losslab.study.state import find_study

ROOT = Path()


@dataclass(frozen=True, repr=False)
class ComparisonVerdict:
    """What `compare` found. A notebook shows it as a table, and `print` its headline."""

    comparison: Comparison
    """All that is known, as plain data; the files of its gallery are gone."""

    def __repr__(self) -> str:
        return self.headline

    @property
    def headline(self) -> str:
        """What to take home, in one to three lines."""
        return "\n".join(self.comparison.headline)

    @property
    def warnings(self) -> list[str]:
        """What to know before believing it."""
        return list(self.comparison.warnings)

    @property
    def table(self) -> list[dict[str, Any]]:
        """Rows for the cells, the best first: `cell`, its labels, `mean`, `sd`, `low` and `high` (95 %), `seeds`, costs."""
        return [dict(row) for row in build_cell_rows(self.comparison)]

    @property
    def p_value(self) -> float | None:
        """The adjusted p-value of the difference of two cells; None where none may be claimed, as with two seeds.

        Raises InputError if there are not two cells.
        """
        pair = self._get_only_pair()
        return pair.p if pair is not None and pair.may_be_claimed else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The adjusted 95 % interval by which the first of two cells is better; None where it is unknown, as with one seed.

        It is in units of the metric, 0.01 for one point of IoU. Raises InputError if there are not two cells.
        """
        pair = self._get_only_pair()
        return (pair.estimate.low, pair.estimate.high) if pair is not None and pair.estimate is not None else None

    def find_pair(self, one: str, other: str) -> JudgedPair | None:
        """Find what is known of two cells, in any order: `gap`, `p`, `is_real`; None where the metric is not judged.

        Raises InputError if there are no such cells.
        """
        names = [cell.name for cell in self.comparison.cells]
        for name in (one, other):
            if name not in names:
                raise InputError(
                    f"no such cell: {quote(name)}; there are {format_list(names)}{suggest_name(name, names)}"
                )
        if one == other:
            raise InputError(f"{one}: name two different cells")
        pairs = self.comparison.verdict.pairs if self.comparison.verdict is not None else []
        return next((pair for pair in pairs if {pair.better, pair.worse} == {one, other}), None)

    def _get_only_pair(self) -> JudgedPair | None:
        names = [cell.name for cell in self.comparison.cells]
        if len(names) != 2:
            raise InputError(f"{len(names)} cells: name two with find_pair(one, other), of {format_list(names)}")
        return self.find_pair(*names)

    def _repr_html_(self) -> str:
        headings, rows = build_cell_table(self.comparison)
        first, *rest = self.comparison.headline
        lines = [
            f"<b>{escape(first)}</b>",
            *map(escape, [*rest, *self.comparison.changes]),
            *(f"⚠ {escape(line)}" for line in self.warnings),
        ]
        table = "".join(f"<tr>{''.join(map(_format_cell, row))}</tr>" for row in rows)
        return (
            f"<p>{'<br>'.join(lines)}</p><table><thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in headings)}</tr>"
            f"</thead><tbody>{table}</tbody></table><p><small>{escape(describe_cells(self.comparison))}</small></p>"
        )


def compare(runs: str | Iterable[str | Run], metric: str = "miou", timing: bool = False) -> ComparisonVerdict:
    """Compare runs on the same test set, as `losslab compare` does; those that differ only in the seed are one cell.

    Args:
        runs: names as `load_run` takes them, or runs; or the name of a study, whose finished runs are compared.
        metric: any score of scores.json, or `iou_`, `dice_`, `recall_` or `precision_` and a class.
        timing: time each net on this machine, a few seconds each.

    Raises:
        InputError: there are fewer than two runs, one is unknown, or they cannot be compared; the message says why.
    """
    with open_project():
        if isinstance(runs, str):
            selection = select_study(find_study(runs, ROOT), metric, ROOT)
        else:
            given, finder = [runs] if isinstance(runs, Run) else list(runs), RunFinder(ROOT)
            if len(given) < 2:
                raise InputError(f"compare takes two runs or more, or the name of a study, and not {len(given)}")
            selection = select_runs([_find_record(each, finder) for each in given], metric, ROOT)
        with selection.open_evidence() as evidence:
            return ComparisonVerdict(compare_runs(evidence, selection.spec, CostMeter(timing)))


def _find_record(run: object, finder: RunFinder) -> RunRecord:
    """Return the record of a run. Raises InputError if it is the workspace's, which has changed since it was loaded."""
    if isinstance(run, str):
        return finder.find(run)
    if not isinstance(run, Run):
        raise InputError(f"compare: {quote(run)} is neither a run nor the name of one")
    if run.record.name == WORKSPACE and finder.find(WORKSPACE).lock != run.record.lock:
        raise InputError("the workspace has another run than when it was loaded: load it again")
    return run.record


def _format_cell(text: str) -> str:
    return f"<td><b>{escape(text)}</b></td>" if isinstance(text, BoldText) else f"<td>{escape(text)}</td>"
