"""Ranking of cells, or the labels of an axis, which marks the best or those that cannot be told apart from it."""

import math
import statistics
from dataclasses import dataclass
from typing import Literal

from losslab.comparison.result import ComparedCell, Comparison
from losslab.comparison.sentences import describe_margin
from losslab.comparison.verdicts import Standing, Verdict

Mark = Literal["best", "equivalent", "together", ""]
"""best: distinguishably so, and printed bold; equivalent: within the margin of the best mean; together: cannot be told apart."""
SIGNS: dict[Mark, str] = {"equivalent": "≈", "together": "†"}
BEST_NOTE = "Bold: better than all others, adjusted for all pairs."
UNDECIDED_NOTE = "Nothing is bold, as no cell is better than all others."
TOGETHER_NOTE = "† cannot be told apart from the best mean."
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
    marks = {line.mark for line in build_verdict_lines(verdict)}
    notes = [BEST_NOTE if "best" in marks else UNDECIDED_NOTE]
    if "equivalent" in marks:
        notes.append(f"≈ equivalent to the best mean within {describe_margin(verdict.pairs[0])}.")
    return " ".join([*notes, TOGETHER_NOTE] if "together" in marks else notes)


def _find_mark(standing: Standing, verdict: Verdict) -> Mark:
    first = verdict.standings[0].name
    if verdict.is_decided and standing.name == first:
        return "best" if standing.is_leading else ""
    if not _is_tested(verdict):
        return ""
    equal = {pair.worse for pair in verdict.pairs if pair.better == first and pair.is_equivalent}
    if standing.name in equal or (standing.name == first and equal >= set(verdict.best[1:])):
        return "equivalent"
    return "together" if standing.name in verdict.best and not verdict.is_decided else ""


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
