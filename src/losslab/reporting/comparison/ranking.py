"""Ranking of cells, or the labels of an axis, which marks the best or those that cannot be told apart from it."""

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from losslab.comparison.result import ComparedCell, Comparison
from losslab.comparison.verdicts import Standing, Verdict

Mark = Literal["best", "together", ""]
"""best: distinguishably so, and printed bold; together: cannot be told apart from the best."""
BEST_NOTE = "Bold: better than all others, adjusted for all pairs."
TOGETHER_NOTE = "† cannot be told apart from the best mean, so nothing is bold."
FEW_SEEDS_NOTE = (
    "Nothing is bold: with fewer than three seeds, or five test images or groups, no difference can be claimed."
)
UNJUDGED_NOTE = "Nothing is bold because nothing could be tested."


@dataclass(frozen=True, kw_only=True)
class RankingLine:
    """One cell, or one label of an axis."""

    name: str
    rank: int
    mean: float
    sd: float | None
    """Standard deviation over seeds."""
    seeds: int
    interval: tuple[float, float] | None
    """95 % interval of the mean."""
    mark: Mark


def build_lines(comparison: Comparison) -> list[RankingLine]:
    """Build a line for each of `comparison.cells`, in their order; without a verdict from the runs' scores alone."""
    if comparison.verdict is None:
        return [_build_unjudged_line(cell, rank) for rank, cell in enumerate(comparison.cells, start=1)]
    lines = {line.name: line for line in build_verdict_lines(comparison.verdict)}
    return [lines[cell.name] for cell in comparison.cells]


def build_verdict_lines(verdict: Verdict) -> list[RankingLine]:
    return [
        RankingLine(
            name=one.name,
            rank=one.rank,
            mean=one.mean,
            sd=one.sd,
            seeds=one.seeds,
            interval=one.interval,
            mark=_find_mark(one, verdict),
        )
        for one in verdict.standings
    ]


def build_note(verdict: Verdict | None) -> str:
    """Build the note that says what bold, or its absence, means."""
    if verdict is not None and len(verdict.standings) < 2:
        return ""
    if verdict is None:
        return UNJUDGED_NOTE
    if not _is_tested(verdict):
        return FEW_SEEDS_NOTE
    return BEST_NOTE if verdict.is_decided else TOGETHER_NOTE


def _find_mark(standing: Standing, verdict: Verdict) -> Mark:
    if verdict.is_decided:
        return "best" if standing.is_leading and standing.name in verdict.best else ""
    return "together" if _is_tested(verdict) and standing.name in verdict.best else ""


def _is_tested(verdict: Verdict) -> bool:
    """Find whether any pair has enough seeds; else all would be marked as the best together."""
    return any(pair.may_be_claimed for pair in verdict.pairs)


def _build_unjudged_line(cell: ComparedCell, rank: int) -> RankingLine:
    scores = [run.score for run in cell.runs if not math.isnan(run.score)]
    mean = statistics.fmean(scores) if scores else math.nan
    return RankingLine(
        name=cell.name,
        rank=rank,
        mean=mean,
        sd=statistics.stdev(scores) if len(scores) > 1 else None,
        seeds=len(scores),
        interval=None,
        mark="",
    )
