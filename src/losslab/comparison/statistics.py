"""Is a difference real? Tests that count both sources of variance: the test images, and the training seeds.

A score is that of a run on an image. Two losses are scored on the same images, so images are paired; another loss is
another trajectory from the same seed, so seeds are not. The variance of a difference of means is therefore estimated as

    s²(A's runs) / S_A + s²(B's runs) / S_B + s²(per-image difference of seed means) / N

with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946). Images of one group, such as a patient or a video, are
not independent: there scores, and N, are those of groups (`losslab.comparison.metrics` shares them out), whose degrees of
freedom are one less than their effective number, (Σn)² / Σn² for n images each (Kish, Survey Sampling, 1965). What image and
seed do together is counted in more than one term, which errs on the side of caution. Two or three runs happen to lie close
together too often, and would then look sure of themselves; so no cell's variance is taken to be below the study's
`VarianceFloor`. Tests over images alone claim differences that another seed would undo; tests over seeds alone do not see that
the test images are a sample.
`benchmarks/verdicts.py` measures all of them.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Scores = npt.NDArray[np.float64]
"""Scores of one cell, `[seeds, images]`."""
Blocks = Sequence[Sequence[Scores]]
"""Scores of what is compared: for each test set (most often there is one) the cells that are averaged, such as a loss on
several nets. Test sets count the same, and so do cells in one."""
Effective = Sequence[float | None] | None
"""Effective number of units of each test set whose units are groups that differ in size; None: the number there is."""

ALPHA = 0.05
MAX_SEEDS = 1000


@dataclass(frozen=True)
class VarianceFloor:
    """The least variance that a cell's runs are taken to have, so that a few runs that happen to agree are not believed."""

    median: float = 0.0
    """Median variance of a study's cells: the floor of a cell's variance."""
    mean: float = 0.0
    """Mean variance of a study's cells without the one that varies most, which a single collapsed run may rule: the floor where
    degrees of freedom are counted, of which a cell that seems to vary little would leave too many."""


NO_FLOOR = VarianceFloor()


@dataclass(frozen=True)
class VariancePart:
    """One source of variance."""

    variance: float
    """Variance of one run, or of one image, times the square of its weight in the mean."""
    careful: float
    """Variance as degrees of freedom count it: never below the floor's mean."""
    count: int
    residual: float = 0.0
    """Part of the variance of images that single runs add to it, at the number of seeds there is."""
    residual_of_one: float = 0.0
    """What that part would be with one seed in each cell."""
    effective: float | None = None
    """Effective number, where groups of images differ in size; None: `count`."""

    @property
    def degrees(self) -> float:
        """Degrees of freedom."""
        return max((self.count if self.effective is None else self.effective) - 1, 1)

    @property
    def units(self) -> int:
        """Number of units that the variance is known from: the effective one, rounded, where groups differ in size."""
        return self.count if self.effective is None else round(self.effective)

    def predict(self, factor: float, seeds: int) -> "VariancePart":
        """Predict the part of images for so many seeds in each cell, if its variance is `factor` times as large."""
        variance = max(factor * self.variance - self.residual, 0.0) + self.residual_of_one / seeds
        return VariancePart(variance, variance, self.count, effective=self.effective)


@dataclass(frozen=True)
class VarianceParts:
    """Variances that a mean, or a difference of means, is made of: those of runs, and that of images."""

    runs: tuple[VariancePart, ...]
    """One part for each cell."""
    images: tuple[VariancePart, ...]
    """One part for each test set; of the difference where two are compared."""

    @property
    def variance(self) -> float:
        """Variance of the mean."""
        return sum(part.variance / part.count for part in (*self.runs, *self.images))

    @property
    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom; infinite where nothing varies.

        Where images are groups, never more than theirs: the variance of a few groups is at times estimated so small that the
        degrees of freedom of runs would count, which the true variance does not have.
        """
        parts = [(part.careful / part.count, part.degrees) for part in (*self.runs, *self.images) if part.careful > 0]
        below = sum(variance**2 / freedom for variance, freedom in parts)
        degrees = sum(variance for variance, _ in parts) ** 2 / below if below else math.inf
        if any(part.effective is not None for part in self.images):
            return min(degrees, sum(part.degrees for part in self.images))
        return degrees

    @property
    def seeds(self) -> int:
        """Number of seeds in the cell that has the fewest."""
        return min((part.count for part in self.runs), default=0)


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval; for a difference, also the p-value of there being none."""

    mean: float
    low: float
    high: float
    p: float
    spread: VarianceParts

    def adjust(self, share: float) -> "Estimate":
        """Return it with its share of the level, 0 to 1, where others are judged beside it (Bonferroni).

        The intervals of all hold together with 95 % confidence, and each excludes 0 where its p-value is below 0.05.

        >>> estimate = estimate_mean([[np.array([[0.70, 0.72, 0.74], [0.71, 0.73, 0.75]])]]).adjust(1 / 3)
        >>> print(f"{estimate.low:.2f} to {estimate.high:.2f}")
        0.66 to 0.79
        """
        return _build_estimate(self.mean, self.spread, 1 - ALPHA * share, share)

    def lies_within(self, margin: float, share: float) -> bool:
        """Return whether two one-sided tests at that share of the level show that the mean is closer to 0 than `margin`.

        That is Schuirmann's procedure (J. Pharmacokin. Biopharm. 15, 1987): the interval of confidence 1 − 2·level lies within.

        >>> estimate = estimate_mean([[np.array([[0.70, 0.72, 0.74], [0.71, 0.73, 0.75]]) - 0.725]])
        >>> estimate.lies_within(0.05, 1.0), estimate.lies_within(0.01, 1.0)
        (True, False)
        """
        inner = _build_estimate(self.mean, self.spread, 1 - 2 * ALPHA * share)
        return -margin < inner.low and inner.high < margin


def compute_variance_floor(cells: Iterable[Scores]) -> VarianceFloor:
    """Compute the variance floor of a study from all its cells, each `[seeds, images]`; zero where none has two runs.

    >>> compute_variance_floor([np.array([[0.0, 0.0], [2.0, 2.0]]), np.array([[5.0, 5.0], [5.0, 5.0]])])
    VarianceFloor(median=1.0, mean=0.0)
    """
    known = sorted(_compute_run_variance(scores) for scores in cells if len(scores) > 1)
    return VarianceFloor(float(np.median(known)), float(np.mean(known[:-1] or known))) if known else NO_FLOOR


def estimate_mean(
    blocks: Blocks, floor: VarianceFloor = NO_FLOOR, level: float = 1 - ALPHA, effective: Effective = None
) -> Estimate | None:
    """Estimate the mean over test sets, cells, seeds and images, in the unit of the scores.

    Each cell is `[seeds, images]`; `floor` is that of the study, `level` the confidence of the interval, 0 to 1; `effective`
    is given where images are groups. None: one seed or one image leaves the variance unknown.

    >>> estimate = estimate_mean([[np.array([[0.70, 0.72, 0.74], [0.71, 0.73, 0.75]])]])
    >>> print(f"{estimate.mean:.2f} ({estimate.low:.2f} to {estimate.high:.2f})")
    0.72 (0.68 to 0.77)
    """
    if _is_too_small(blocks):
        return None
    return _estimate(_average_by_image(blocks), _list_run_parts(blocks, floor), level, effective)


def estimate_difference(
    first: Blocks,
    second: Blocks,
    floor: VarianceFloor = NO_FLOOR,
    level: float = 1 - ALPHA,
    effective: Effective = None,
) -> Estimate | None:
    """Estimate the mean of the first less that of the second, in the unit of the scores.

    Both have the same test sets of cells `[seeds, images]`, whose columns are the same images (ValueError: their numbers
    differ); seeds may be others. `floor`, `level`, `effective` and None are those of `estimate_mean`.

    >>> dice, bce = np.array([[0.90, 0.80, 0.85], [0.92, 0.81, 0.86]]), np.array([[0.80, 0.71, 0.74], [0.79, 0.69, 0.75]])
    >>> estimate = estimate_difference([[dice]], [[bce]])
    >>> print(f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f}), p = {estimate.p:.3f}")
    0.110 (0.074 to 0.146), p = 0.006
    """
    by_image = _subtract_by_image(first, second)
    if _is_too_small(first) or _is_too_small(second):
        return None
    runs = _list_run_parts(first, floor) + _list_run_parts(second, floor)
    residuals = [_sum_residuals([*one, *other]) for one, other in zip(first, second, strict=True)]
    return _estimate(by_image, runs, level, effective, residuals)


def estimate_images_only(
    first: Blocks, second: Blocks, level: float = 1 - ALPHA, effective: Effective = None
) -> Estimate | None:
    """Estimate the difference of these very nets over images alone, as if no other seed could have trained them.

    It is all that can be said with one seed: nothing about losses. Arguments and errors are `estimate_difference`'s.
    None: there is one image.

    >>> estimate = estimate_images_only([[np.array([[0.9, 0.8, 0.85]])]], [[np.array([[0.8, 0.7, 0.76]])]])
    >>> print(f"{estimate.mean:.3f}, p = {estimate.p:.3f}")
    0.097, p = 0.001
    """
    by_image = _subtract_by_image(first, second)
    return None if any(len(images) < 2 for images in by_image) else _estimate(by_image, (), level, effective)


def estimate_seeds_needed(
    estimate: Estimate, difference: float, alpha: float = ALPHA, power: float = 0.8
) -> tuple[int | None, int | None]:
    """Estimate how many seeds in each cell would show a true difference: fewest and most.

    A few seeds know their variance poorly, so it is a range: of variances that lie at the ends of their 80 % intervals. What
    image and run do together shrinks with more seeds; what image and cell do together does not. None: no number of seeds
    is enough, as the test images are too few.

    Args:
        difference: the true difference to be seen, in the unit of the scores.
        alpha: level of the test, 0 to 1.
        power: probability of seeing it, 0 to 1.

    >>> spread = VarianceParts(runs=(VariancePart(1e-4, 1e-4, 3),) * 2, images=(VariancePart(1e-3, 1e-3, 200),))
    >>> estimate_seeds_needed(Estimate(0.01, -0.01, 0.03, 0.3, spread), difference=0.02)
    (4, 18)
    """
    runs, images = estimate.spread.runs, estimate.spread.images
    freedom = [VarianceParts(runs, ()).degrees, float(sum(part.degrees for part in images))]

    def count_seeds(quantile: float) -> int | None:
        of_runs, of_images = (
            1.0 if math.isinf(degrees) else degrees / float(stats.chi2.ppf(quantile, degrees)) for degrees in freedom
        )

        def compute_power(seeds: int) -> float:
            spread = VarianceParts(
                tuple(VariancePart(of_runs * part.variance, of_runs * part.careful, seeds) for part in runs),
                tuple(part.predict(of_images, seeds) for part in images),
            )
            error, degrees = math.sqrt(spread.variance), spread.degrees
            if error == 0:
                return 1.0
            # What image and run do together is in the variance of runs and in that of images; the mean varies with it once.
            once = math.sqrt(
                max(spread.variance - sum(part.residual_of_one / part.count for part in images) / seeds, 0)
            )
            critical = stats.t.ppf(1 - alpha / 2, degrees)
            return float(stats.nct.sf(critical * error / once, degrees, difference / once)) if once else 1.0

        numbers = range(2, MAX_SEEDS + 1)
        place = bisect_left(numbers, power, key=compute_power)
        return numbers[place] if place < len(numbers) else None

    return count_seeds(0.9), count_seeds(0.1)


@dataclass(frozen=True)
class FriedmanTest:
    """Friedman's test over blocks, and the distance of mean ranks from which Nemenyi's test tells cells apart."""

    mean_ranks: list[float]
    """Mean rank of each cell; 1 is best."""
    p: float
    critical_difference: float
    blocks: int


def rank_cells(table: Scores, alpha: float = ALPHA) -> FriedmanTest:
    """Compute Friedman's test and Nemenyi's critical difference (Demšar, JMLR 7, 2006).

    The table is of scores `[blocks, cells]`, the higher the better, blocks being datasets or folds; `alpha` is the level
    of Nemenyi's test, 0 to 1. ValueError: fewer than 3 cells or 2 blocks.

    >>> test = rank_cells(np.array([[0.9, 0.8, 0.7], [0.8, 0.6, 0.7], [0.9, 0.8, 0.5], [0.7, 0.6, 0.5]]))
    >>> test.mean_ranks, round(test.p, 3), round(test.critical_difference, 2)
    ([1.0, 2.25, 2.75], 0.039, 1.66)
    """
    blocks, cells = table.shape
    if cells < 3 or blocks < 2:
        raise ValueError(f"{cells} cells on {blocks} blocks; Friedman's test needs 3 and 2")
    ranks = stats.rankdata(-table, axis=1)
    p = 1.0 if (ranks == ranks[:, :1]).all() else float(stats.friedmanchisquare(*table.T).pvalue)
    distance = stats.studentized_range.ppf(1 - alpha, cells, np.inf) / math.sqrt(2)
    critical = float(distance * math.sqrt(cells * (cells + 1) / (6 * blocks)))
    return FriedmanTest(ranks.mean(axis=0).tolist(), p, critical, blocks)


def _compute_run_variance(scores: Scores) -> float:
    return float(scores.mean(axis=1).var(ddof=1))


def _sum_residuals(cells: Sequence[Scores]) -> tuple[float, float]:
    """Sum over cells what image and run do together, in the variance of a difference of means: now, and with one seed.

    Half of the cells are on either side of the difference.
    """
    squares = [
        (scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()) ** 2 for scores in cells
    ]
    weight = (2 / len(cells)) ** 2
    residuals = [weight * float(square.sum()) / (square.shape[0] - 1) / (square.shape[1] - 1) for square in squares]
    return sum(one / len(scores) for one, scores in zip(residuals, cells, strict=True)), sum(residuals)


def _is_too_small(blocks: Blocks) -> bool:
    return any(min(scores.shape) < 2 for cells in blocks for scores in cells)


def _list_run_parts(blocks: Blocks, floor: VarianceFloor) -> tuple[VariancePart, ...]:
    parts = []
    for cells in blocks:
        weight = 1 / (len(cells) * len(blocks)) ** 2
        for scores in cells:
            variance = max(_compute_run_variance(scores), floor.median)
            parts.append(VariancePart(weight * variance, weight * max(variance, floor.mean), len(scores)))
    return tuple(parts)


def _average_by_image(blocks: Blocks) -> list[Scores]:
    """Average cells and seeds: `[images]` of each test set."""
    return [np.asarray(np.mean([scores.mean(axis=0) for scores in cells], axis=0)) for cells in blocks]


def _subtract_by_image(first: Blocks, second: Blocks) -> list[Scores]:
    for cells in zip(first, second, strict=True):
        numbers = {scores.shape[1] for group in cells for scores in group}
        if len(numbers) > 1:
            raise ValueError(
                f"scores of {' and '.join(map(str, sorted(numbers)))} images; all must be of the same images"
            )
    return [one - other for one, other in zip(_average_by_image(first), _average_by_image(second), strict=True)]


def _estimate(
    by_image: Sequence[Scores],
    runs: tuple[VariancePart, ...],
    level: float,
    effective: Effective = None,
    residuals: Sequence[tuple[float, float]] | None = None,
) -> Estimate:
    mean = float(np.mean([images.mean() for images in by_image]))
    parts, sets = [], len(by_image)
    known = zip(by_image, residuals or [(0.0, 0.0)] * sets, effective or [None] * sets, strict=True)
    for images, (now, of_one), number in known:
        variance, weight = float(images.var(ddof=1)) / sets**2, sets**-2
        parts.append(VariancePart(variance, variance, len(images), weight * now, weight * of_one, number))
    spread = VarianceParts(runs, tuple(parts))
    return _build_estimate(mean, spread, level)


def _build_estimate(mean: float, spread: VarianceParts, level: float, share: float = 1.0) -> Estimate:
    error = math.sqrt(spread.variance)
    if error == 0:
        return Estimate(mean, mean, mean, 1.0 if mean == 0 else 0.0, spread)
    # stats.t gives the same bits, many times as slowly.
    reach = float(special.stdtrit(spread.degrees, (1 + level) / 2)) * error
    p = min(float(2 * special.stdtr(spread.degrees, -abs(mean) / error)) / share, 1.0)
    return Estimate(mean, mean - reach, mean + reach, p, spread)
