"""Verdicts on the scores of several cells: a ranking, and a judgement of every pair."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from losslab.comparison.looks import HOPELESS, ONE_LOOK, LookPlan, predict_decision
from losslab.comparison.outlook import estimate_images_needed
from losslab.comparison.statistics import (
    ALPHA,
    Blocks,
    Effective,
    Estimate,
    VarianceFloor,
    compute_variance_floor,
    estimate_difference,
    estimate_images_only,
    estimate_mean,
    estimate_seeds_needed,
)
from losslab.formats import format_plural

MIN_SEEDS = 3
"""Seeds that each cell needs: two runs know their spread too poorly; where cells differ in it, claims are often false."""
MIN_UNITS = 5
"""Independent test images, or groups of them, that a pair needs: fewer know their own spread too poorly."""
POINT = 0.01
"""One point, in which differences of scores are given: a hundredth."""


@dataclass(frozen=True)
class IndependentUnits:
    """What the test sets are samples of: images, or groups of images, such as patients or videos."""

    noun: str = "test image"
    effective: Effective = None


SINGLE_IMAGES = IndependentUnits()


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One cell, or one label of an axis."""

    name: str
    mean: float
    seeds: int
    """Number of seeds in the cell that has the fewest."""
    sd: float | None
    """Standard deviation of one run over seeds (of several cells: the root of their mean variance); None with one seed."""
    interval: tuple[float, float] | None
    """95 % interval of the mean; None with one seed."""
    rank: int
    """Rank by the mean; 1 is best."""
    is_leading: bool
    """Whether no other is better, after the adjustment; with one or two seeds nobody leads."""


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """Two cells or labels, the better mean first; differences are in the metric's own direction, so never negative."""

    better: str
    worse: str
    gap: float
    estimate: Estimate | None
    """Difference of the two, adjusted by `share`; None where one seed or one image leaves the variance unknown."""
    images_only: Estimate | None = None
    """Difference of these very nets over the images alone, where a cell has one seed; adjusted by `share`."""
    point: float = POINT
    """Size of one point: 0.01 of a score; 1 where the score is in pixels."""
    share: float = 1.0
    """Share of the level that this pair has among all that are judged together, and at each look."""
    margin: float | None = None
    """Difference, in the unit of the scores, below which two are called equivalent; None: it is not asked."""
    unit: str = SINGLE_IMAGES.noun
    """Noun of the independent units of the test sets."""
    looks: LookPlan = ONE_LOOK
    """When the study is looked at."""
    last_share: float = 1.0
    """What `share` will be at the last look."""

    @property
    def p(self) -> float | None:
        """p-value, adjusted for all pairs that are judged together; over the images alone where there is no estimate."""
        known = self.estimate or self.images_only
        return known.p if known is not None else None

    @property
    def is_real(self) -> bool:
        """Whether the difference may be claimed, and is significant."""
        return self.may_be_claimed and self.p is not None and self.p < ALPHA

    @property
    def is_equivalent(self) -> bool:
        """Whether two one-sided tests, which share the level as differences do, show that they differ by less than the margin."""
        if self.margin is None or self.estimate is None or not self.may_be_claimed:
            return False
        return self.estimate.lies_within(self.margin, self.share)

    @property
    def is_decided(self) -> bool:
        """Whether the difference is real, or the two are equivalent."""
        return self.is_real or self.is_equivalent

    @property
    def chance(self) -> float:
        """Probability that the pair is decided by the last look, as far as can be told now."""
        if self.is_decided or self.estimate is None:
            return float(self.is_decided)
        spread, last = self.estimate.spread, self.looks.last
        taken = [(max(part.variance, part.least), part.count) for part in spread.runs]
        now, later = (sum(variance / max(count, seeds) for variance, count in taken) for seeds in (0, last))
        degrees = spread.degrees * max((last - 1) / (self.seeds - 1), 1.0)
        variances = (max(spread.variance - now, 0.0), now, later)
        return float(predict_decision(self.gap, variances, degrees, ALPHA * self.last_share, self.margin))

    @property
    def is_hopeless(self) -> bool:
        """Whether more seeds will hardly decide it: mostly there are too few test images."""
        return not self.is_decided and self.chance < HOPELESS

    @property
    def may_be_claimed(self) -> bool:
        """Whether there are enough seeds, and independent units, to claim any difference."""
        return self.seeds >= MIN_SEEDS and self.units >= MIN_UNITS

    @property
    def units(self) -> int:
        """Number of independent units, of all test sets; of groups that differ in size the effective number."""
        known = self.estimate or self.images_only
        return sum(part.units for part in known.spread.images) if known is not None else 1

    @property
    def seeds(self) -> int:
        """Number of seeds in the cell that has the fewest."""
        return self.estimate.spread.seeds if self.estimate is not None else 1

    @cached_property
    def seeds_to_see_a_point(self) -> tuple[int | None, int | None]:
        """Fewest and most seeds per cell that show a true point with a power of 80 %; None: no number does, or none is known."""
        if self.estimate is None:
            return None, None
        return estimate_seeds_needed(self.estimate, self.point, ALPHA * self.share)

    @property
    def units_to_see_a_point(self) -> int | None:
        """Test images, or groups, with which these seeds show a true point with a power of 80 %; None: no number is known to."""
        return estimate_images_needed(self.estimate, self.point, ALPHA * self.share) if self.estimate else None

    @property
    def basis(self) -> str:
        """Words that say what the estimate rests on: seeds in the cell that has the fewest, and independent units."""
        return f"{format_plural(self.seeds, 'seed')}, {format_plural(self.units, self.unit)}"


@dataclass(frozen=True)
class Verdict:
    """What is known of several cells, or labels of an axis: their ranking, and every pair of them."""

    standings: list[Standing]
    """Standings, the best first."""
    pairs: list[JudgedPair]
    """Pairs in the order of standings, those of the best first."""
    best: list[str]
    """The cell that is better than all others, or those that cannot be told apart from the one with the best mean."""

    @property
    def is_decided(self) -> bool:
        """Whether one is better than all others."""
        return len(self.best) == 1 and len(self.standings) > 1

    def clip_intervals(self, low: float, high: float) -> "Verdict":
        """Return it with all intervals cut to what is possible for scores from `low` to `high`, and for their differences."""

        def clip(estimate: Estimate | None) -> Estimate | None:
            return estimate and estimate.clip(low - high, high - low)

        standings = [
            replace(one, interval=one.interval and (max(one.interval[0], low), min(one.interval[1], high)))
            for one in self.standings
        ]
        pairs = [replace(pair, estimate=clip(pair.estimate), images_only=clip(pair.images_only)) for pair in self.pairs]
        return replace(self, standings=standings, pairs=pairs)


def judge(
    subjects: Mapping[str, Blocks],
    higher_is_better: bool = True,
    floor: VarianceFloor | None = None,
    point: float = POINT,
    units: IndependentUnits = SINGLE_IMAGES,
    looks: LookPlan = ONE_LOOK,
    margin: float | None = None,
) -> Verdict:
    """Rank cells, or labels of an axis, and compare every two of them.

    Args:
        subjects: name → its scores: for each test set its cells, each `[seeds, units]`, none NaN; all on the same test sets.
        higher_is_better: False for errors and distances.
        floor: the variance floor of the study; None: computed from the cells given here.
        point: size of one point, in which differences are given; 1 for pixels.
        units: what the columns of the scores are, if not images.
        looks: when the study is looked at, if more than once.
        margin: difference, in the unit of the scores, below which two are called equivalent; None: it is not asked.

    >>> scores = np.random.default_rng(0).normal(0.72, 0.01, (3, 60))
    >>> verdict = judge({"dice": [[scores + 0.08]], "bce": [[scores]]})
    >>> verdict.best, verdict.pairs[0].is_real
    (['dice'], True)
    """
    return judge_all({"": subjects}, higher_is_better, floor, point, units, looks, margin)[""]


def judge_all(
    questions: Mapping[str, Mapping[str, Blocks]],
    higher_is_better: bool = True,
    floor: VarianceFloor | None = None,
    point: float = POINT,
    units: IndependentUnits = SINGLE_IMAGES,
    looks: LookPlan = ONE_LOOK,
    margin: float | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> dict[str, Verdict]:
    """Judge several questions by name together, such as cells and axes, each as `judge` does.

    Intervals and p-values are adjusted for the pairs of all questions (Bonferroni): in 95 of 100 studies all intervals hold
    together, and with them every claim. Each question has an equal share of the level, and so has each of its pairs; with few
    seeds and cells it is a smaller one (`losslab.comparison.looks`). No interval reaches beyond what scores within `limits` allow.

    >>> scores = np.random.default_rng(0).normal(0.8, 0.01, (4, 3, 60))
    >>> subjects = {"a": [[scores[0]]], "b": [[scores[1]]]}
    >>> verdicts = judge_all({"loss": subjects, "net": {"c": [[scores[2]]], "d": [[scores[3]]]}})
    >>> verdicts["loss"].pairs[0].share, judge(subjects).pairs[0].share
    (0.275, 0.55)
    """
    sign = 1 if higher_is_better else -1
    cells = max(map(len, questions.values()), default=0)
    compared = {question: _compare(subjects, sign, floor, point, units) for question, subjects in questions.items()}
    asked = sum(any(pair.p is not None for pair in pairs) for _, pairs in compared.values())
    return {
        question: _build_verdict(standings, _adjust_pairs(pairs, asked, cells, looks, margin)).clip_intervals(*limits)
        for question, (standings, pairs) in compared.items()
    }


def _compare(
    subjects: Mapping[str, Blocks], sign: int, floor: VarianceFloor | None, point: float, units: IndependentUnits
) -> tuple[list[Standing], list[JudgedPair]]:
    """Compare every two subjects, before they are adjusted for each other and before it is known who leads."""
    signed = {name: [[sign * scores for scores in cells] for cells in blocks] for name, blocks in subjects.items()}
    if floor is None:
        floor = compute_variance_floor(scores for blocks in subjects.values() for cells in blocks for scores in cells)
    means = {name: _compute_mean(blocks) for name, blocks in subjects.items()}
    order = sorted(subjects, key=lambda name: (-sign * means[name], name))
    pairs = [_judge_pair(a, b, signed[a], signed[b], floor, point, units) for a, b in itertools.combinations(order, 2)]
    return [
        _build_standing(name, subjects[name], means[name], floor, units, rank)
        for rank, name in enumerate(order, start=1)
    ], pairs


def _build_verdict(standings: list[Standing], pairs: list[JudgedPair]) -> Verdict:
    judged = {name for pair in pairs if pair.may_be_claimed for name in (pair.better, pair.worse)}
    leading = judged - {pair.worse for pair in pairs if pair.is_real}
    first = standings[0].name
    unclear = [pair.worse for pair in pairs if pair.better == first and not pair.is_real]
    marked = [replace(standing, is_leading=standing.name in leading) for standing in standings]
    return Verdict(marked, pairs, [first, *unclear])


def _compute_mean(blocks: Blocks) -> float:
    return float(np.mean([np.mean([scores.mean() for scores in cells]) for cells in blocks]))


def _judge_pair(
    a: str, b: str, first: Blocks, second: Blocks, floor: VarianceFloor, point: float, units: IndependentUnits
) -> JudgedPair:
    estimate = estimate_difference(first, second, floor, effective=units.effective)
    images_only = estimate_images_only(first, second, effective=units.effective) if estimate is None else None
    return JudgedPair(
        better=a,
        worse=b,
        gap=_compute_mean(first) - _compute_mean(second),
        estimate=estimate,
        images_only=images_only,
        point=point,
        unit=units.noun,
    )


def _adjust_pairs(
    pairs: Sequence[JudgedPair], questions: int, cells: int, looks: LookPlan, margin: float | None
) -> list[JudgedPair]:
    """Give each pair that can be tested its share of the level, of which each of the questions has as much.

    With one seed the level is that of the images alone, which needs no calibration.
    """
    testable = sum(pair.p is not None for pair in pairs)
    adjusted = []
    for pair in pairs:
        whole = 1 / testable / questions if pair.p is not None else 1.0
        share = whole * (looks.compute_factor(cells, pair.seeds) if pair.estimate is not None else 1.0)
        last_share = whole * looks.compute_factor(cells, max(pair.seeds, looks.last))
        known = {name: getattr(pair, name) for name in ("estimate", "images_only")}
        changes = {name: estimate.adjust(share) for name, estimate in known.items() if estimate is not None}
        changes |= {"share": share, "last_share": last_share, "margin": margin, "looks": looks}
        adjusted.append(replace(pair, **changes))
    return adjusted


def _build_standing(
    name: str, blocks: Blocks, mean: float, floor: VarianceFloor, units: IndependentUnits, rank: int
) -> Standing:
    cells = [scores.mean(axis=1) for cells in blocks for scores in cells]
    fewest = min(len(runs) for runs in cells)
    estimate = estimate_mean(blocks, floor, effective=units.effective)
    return Standing(
        name=name,
        mean=mean,
        seeds=fewest,
        sd=float(np.sqrt(np.mean([runs.var(ddof=1) for runs in cells]))) if fewest > 1 else None,
        interval=(estimate.low, estimate.high) if estimate is not None else None,
        rank=rank,
        is_leading=False,
    )
