"""Cells, or the labels of an axis, in their order, and how far each stands out from the others."""

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from losslab.comparison.result import ComparedCell, Comparison
from losslab.comparison.verdicts import Standing, Verdict

Mark = Literal["best", "together", ""]
"""best: distinguishably so, and printed bold; together: cannot be told from the best."""
BEST = "Bold: better than all others, after Holm's correction."
TOGETHER = "† cannot be told from the best mean, after Holm's correction, so nothing is bold."
FEW = "Nothing is bold: with fewer than three seeds no difference can be claimed."
UNJUDGED = "Nothing is bold, as nothing is judged."


@dataclass(frozen=True)
class RankingLine:
    name: str
    rank: int
    mean: float
    sd: float | None
    """Over seeds."""
    seeds: int
    interval: tuple[float, float] | None
    """95 %."""
    mark: Mark


def build_lines(comparison: Comparison) -> list[RankingLine]:
    """A line for each of `comparison.cells`, in their order; without a verdict all that the runs' scores say."""
    if comparison.verdict is None:
        return [_unjudged(cell, rank) for rank, cell in enumerate(comparison.cells, start=1)]
    found = {line.name: line for line in build_verdict_lines(comparison.verdict)}
    return [found[cell.name] for cell in comparison.cells]


def build_verdict_lines(verdict: Verdict) -> list[RankingLine]:
    return [
        RankingLine(one.name, one.rank, one.mean, one.sd, one.seeds, one.interval, _mark(one, verdict))
        for one in verdict.standings
    ]


def build_note(verdict: Verdict | None) -> str:
    """What bold, or its absence, means."""
    if verdict is not None and len(verdict.standings) < 2:
        return ""
    if verdict is None:
        return UNJUDGED
    if not _is_tested(verdict):
        return FEW
    return BEST if verdict.is_decided else TOGETHER


def _mark(standing: Standing, verdict: Verdict) -> Mark:
    if verdict.is_decided:
        return "best" if standing.is_leading and standing.name in verdict.best else ""
    return "together" if _is_tested(verdict) and standing.name in verdict.best else ""


def _is_tested(verdict: Verdict) -> bool:
    """With too few seeds no pair is, and all would be the best together."""
    return any(pair.may_be_claimed for pair in verdict.pairs)


def _unjudged(cell: ComparedCell, rank: int) -> RankingLine:
    scores = [run.score for run in cell.runs if not math.isnan(run.score)]
    mean = statistics.fmean(scores) if scores else math.nan
    return RankingLine(
        cell.name, rank, mean, statistics.stdev(scores) if len(scores) > 1 else None, len(scores), None, ""
    )
