"""From the scores of several cells to what may be said of them: a ranking, every pair, and sentences."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from losslab.comparison.statistics import (
    ALPHA,
    Blocks,
    Estimate,
    VarianceFloor,
    compute_seeds_needed,
    compute_variance_floor,
    correct_holm,
    estimate_difference,
    estimate_images_only,
    estimate_mean,
)

LEAST_SEEDS = 3
"""In each cell: two runs know their own spread too poorly, and where cells differ in it, claims are false too often."""
POINT = 0.01
"""Differences of scores are told in points, hundredths."""


@dataclass(frozen=True)
class Standing:
    """One cell, or one label of an axis."""

    name: str
    mean: float
    seeds: int
    """Of the cell that has the fewest."""
    sd: float | None
    """Over seeds, of one run (of several cells: the root of their mean variance); None with one seed."""
    interval: tuple[float, float] | None
    """95 %; None with one seed."""
    rank: int
    """1 is best, by the mean."""
    is_leading: bool
    """No other is better, after Holm's correction; with one or two seeds nobody leads."""


@dataclass(frozen=True)
class JudgedPair:
    """Two of them, the one with the better mean first; differences are in the metric's own direction, so never negative."""

    better: str
    worse: str
    gap: float
    estimate: Estimate | None
    """Of better less worse; None where one seed or one image leaves the variance unknown."""
    p: float | None
    """After Holm's correction over all pairs that are told together; of the images alone where there is no estimate."""
    of_these_nets: Estimate | None
    """With one seed in a cell: over the images alone, so of these very nets."""
    point: float = POINT
    """What one point is: 0.01 of a score; 1 where the score is in pixels."""
    share: float = 1.0
    """Of the level, that the correction leaves to this pair at its strictest."""

    @property
    def is_real(self) -> bool:
        return self.may_be_claimed and self.p is not None and self.p < ALPHA

    @property
    def may_be_claimed(self) -> bool:
        return self.seeds >= LEAST_SEEDS

    @property
    def seeds(self) -> int:
        return self.estimate.spread.seeds if self.estimate is not None else 1

    @property
    def seeds_to_see_a_point(self) -> int | None:
        """Seeds in each cell that show a true difference of a point with a power of 80 %, after the correction at its
        strictest; None: no number does.
        """
        return (
            compute_seeds_needed(self.estimate, self.point, ALPHA * self.share) if self.estimate is not None else None
        )


@dataclass(frozen=True)
class Verdict:
    standings: list[Standing]
    """The best first."""
    pairs: list[JudgedPair]
    """The best cell's first, in the order of standings."""
    best: list[str]
    """The cell that is better than all others, or those that cannot be told from the one with the best mean."""

    @property
    def is_decided(self) -> bool:
        return len(self.best) == 1 and len(self.standings) > 1


def judge(
    subjects: Mapping[str, Blocks],
    higher_is_better: bool = True,
    usual: VarianceFloor | None = None,
    point: float = POINT,
) -> Verdict:
    """Rank cells, or labels of an axis, and compare every two of them.

    Args:
        subjects: name → its scores, none of which is NaN; all on the same test sets.
        usual: between runs; None: of the cells given here.
        point: what differences are told in; 1 for pixels.
    """
    return judge_all({"": subjects}, higher_is_better, usual, point)[""]


def judge_all(
    questions: Mapping[str, Mapping[str, Blocks]],
    higher_is_better: bool = True,
    usual: VarianceFloor | None = None,
    point: float = POINT,
) -> dict[str, Verdict]:
    """As `judge`, of several things that are told together, such as cells and axes: p-values are corrected for all their
    pairs, so that a claim among all of them is false in 5 of 100 studies at most. Each question has as much of that.
    """
    sign = 1 if higher_is_better else -1
    found = {question: _compared(subjects, sign, usual, point) for question, subjects in questions.items()}
    pairs = iter(_corrected([of_question for _, of_question in found.values()]))
    return {
        question: _verdict(standings, [next(pairs) for _ in of_question])
        for question, (standings, of_question) in found.items()
    }


def _compared(
    subjects: Mapping[str, Blocks], sign: int, usual: VarianceFloor | None, point: float
) -> tuple[list[Standing], list[JudgedPair]]:
    """Before p-values are corrected, and before it is known who leads."""
    signed = {name: [[sign * scores for scores in cells] for cells in blocks] for name, blocks in subjects.items()}
    if usual is None:
        usual = compute_variance_floor(scores for blocks in subjects.values() for cells in blocks for scores in cells)
    means = {name: _mean(blocks) for name, blocks in subjects.items()}
    order = sorted(subjects, key=lambda name: (-sign * means[name], name))
    pairs = [_pair(a, b, signed[a], signed[b], usual, point) for a, b in itertools.combinations(order, 2)]
    return [
        _standing(name, subjects[name], means[name], usual, rank) for rank, name in enumerate(order, start=1)
    ], pairs


def _verdict(standings: list[Standing], pairs: list[JudgedPair]) -> Verdict:
    judged = {name for pair in pairs if pair.may_be_claimed for name in (pair.better, pair.worse)}
    leading = judged - {pair.worse for pair in pairs if pair.is_real}
    first = standings[0].name
    unclear = [pair.worse for pair in pairs if pair.better == first and not pair.is_real]
    told = [replace(standing, is_leading=standing.name in leading) for standing in standings]
    return Verdict(told, pairs, [first, *unclear])


def write_sentence(pair: JudgedPair) -> str:
    """What may be said of two."""
    apart = f"{pair.gap / pair.point:.1f} {_unit(pair)}s"
    if pair.estimate is None or pair.p is None:
        if pair.of_these_nets is None or pair.p is None:
            return f"{pair.better} and {pair.worse}: one test image, so nothing can be said."
        here = "differ" if pair.p < ALPHA else "cannot be told apart"
        return (
            f"{pair.better} is {apart} better than {pair.worse}, with one seed: these two nets {here} on such "
            f"images ({_interval(pair.of_these_nets, pair.point)}); whether another seed would turn it round, one seed cannot tell."
        )
    if not pair.may_be_claimed:
        told = f"{pair.seeds} seeds ({_interval(pair.estimate, pair.point)})"
        return f"{pair.better} is {apart} better than {pair.worse} with {told}: too few to claim a difference, which takes 3."
    told = f"{_interval(pair.estimate, pair.point)}, p {_p(pair.p)} after Holm"
    if pair.is_real:
        return f"{pair.better} beats {pair.worse} by {apart} ({told})."
    return f"{pair.better} and {pair.worse} cannot be told apart with {pair.seeds} seeds ({told}); {_outlook(pair)}."


def _outlook(pair: JudgedPair) -> str:
    needed, one = pair.seeds_to_see_a_point, f"1 {_unit(pair)}"
    if needed is None:
        return f"no number of seeds would show {one} on so few test images"
    if needed <= pair.seeds:
        return f"a true difference of {one} would probably have been seen"
    return f"about {needed - pair.seeds} more would be needed to see {one}"


def _unit(pair: JudgedPair) -> str:
    return "pixel" if pair.point == 1 else "point"


def _mean(blocks: Blocks) -> float:
    return float(np.mean([np.mean([scores.mean() for scores in cells]) for cells in blocks]))


def _pair(a: str, b: str, first: Blocks, second: Blocks, usual: VarianceFloor, point: float) -> JudgedPair:
    estimate, gap = estimate_difference(first, second, usual), _mean(first) - _mean(second)
    if estimate is None:
        nets = estimate_images_only(first, second)
        return JudgedPair(a, b, gap, None, nets.p if nets is not None else None, nets, point)
    return JudgedPair(a, b, gap, estimate, estimate.p, None, point)


def _corrected(questions: Sequence[Sequence[JudgedPair]]) -> list[JudgedPair]:
    asked = [[pair for pair in pairs if pair.p is not None] for pairs in questions]
    shares = [1 / len(pairs) / sum(map(bool, asked)) for pairs in asked for _ in pairs]
    p_values = correct_holm([pair.p for pairs in asked for pair in pairs if pair.p is not None], shares)
    told = iter(zip(p_values, shares, strict=True))
    found = []
    for pair in (pair for pairs in questions for pair in pairs):
        p, share = next(told) if pair.p is not None else (None, 1.0)
        found.append(replace(pair, p=p, share=share))
    return found


def _standing(name: str, blocks: Blocks, mean: float, usual: VarianceFloor, rank: int) -> Standing:
    cells = [scores.mean(axis=1) for cells in blocks for scores in cells]
    fewest = min(len(runs) for runs in cells)
    found = estimate_mean(blocks, usual)
    return Standing(
        name,
        mean,
        fewest,
        float(np.sqrt(np.mean([runs.var(ddof=1) for runs in cells]))) if fewest > 1 else None,
        (found.low, found.high) if found is not None else None,
        rank,
        is_leading=False,
    )


def _interval(estimate: Estimate, points: float) -> str:
    return f"95 % CI {estimate.low / points:.1f} to {estimate.high / points:.1f}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"
