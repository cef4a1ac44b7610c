"""Is a difference real? Tests that count both sources of variance: the test images, and the training seeds.

A score is that of a run on an image. Two losses are scored on the same images, so images are paired; another loss is
another trajectory from the same seed, so seeds are not. Scores follow a mixed model: each cell adds its mean, its effect on each
image, the effect of each run, and a residual, which is what image and run do together. The variance of a difference of means is

    s²(A's runs) / S_A + s²(B's runs) / S_B + (s²(per-image difference of seed means) − r) / N

where r is the residuals' part of the second variance, which the runs' have too: r²(A) / S_A + r²(B) / S_B, by the mean squares of
a crossed analysis of variance (Searle, Casella and McCulloch, Variance Components, 1992). Degrees of freedom are Satterthwaite's
(Biometrics Bulletin 2, 1946), of the variances as they are found. Images of one group, such as a patient or a video, are
not independent: there scores, and N, are those of groups (`losslab.comparison.metrics` shares them out), whose degrees of
freedom are one less than their effective number, (Σn)² / Σn² for n images each (Kish, Survey Sampling, 1965). Two or three runs
happen to lie close together too often, and would then look sure of themselves; so no cell's variance is taken to be below the
study's `VarianceFloor`. What is left of that fault is met by the levels (`losslab.comparison.looks`), which are calibrated by
simulation. Tests over images alone claim differences that another seed
would undo; tests over seeds alone do not see that the test images are a sample. `benchmarks/verdicts.py` measures all of them.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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


MEDIAN_SHARE = 0.5
"""Part of the median variance of a study's cells below which no cell's is taken to be."""


@dataclass(frozen=True)
class VarianceFloor:
    """The least variance that a cell's runs are taken to have, so that a few runs that happen to agree are not believed."""

    median: float = 0.0
    """Half the median variance of a study's cells: the floor of a cell's variance."""
    mean: float = 0.0
    """Mean variance of a study's cells without the one that varies most, which a single collapsed run may rule: the floor where
    degrees of freedom are counted, of which a cell that seems to vary little would leave too many."""


NO_FLOOR = VarianceFloor()


@dataclass(frozen=True)
class VariancePart:
    """One source of variance."""

    variance: float
    """Variance of one run, or of one image, times the square of its weight in the mean."""
    count: int
    least: float = 0.0
    """Variance that the runs of a cell are taken to have at least."""
    careful: float = 0.0
    """Variance that they are taken to have at least where degrees of freedom are counted."""
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
        residual = self.residual_of_one / seeds
        variance = max(factor * self.variance - self.residual, 0.0) + residual
        return VariancePart(variance, self.count, residual=residual, effective=self.effective)


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
        return self._combine()[0]

    @property
    def degrees(self) -> float:
        """Satterthwaite's degrees of freedom; infinite where nothing varies.

        Where images are groups, never more than theirs: the variance of a few groups is at times estimated so small that the
        degrees of freedom of runs would count, which the true variance does not have.
        """
        degrees = self._combine()[1]
        if any(part.effective is not None for part in self.images):
            return min(degrees, sum(part.degrees for part in self.images))
        return degrees

    @property
    def seeds(self) -> int:
        """Number of seeds in the cell that has the fewest."""
        return min((part.count for part in self.runs), default=0)

    def _combine(self) -> tuple[float, float]:
        def list_values(parts: Sequence[VariancePart], *names: str) -> list[Scores]:
            return [np.array([getattr(part, name) for part in parts], dtype=np.float64) for name in names]

        runs = list_values(self.runs, "variance", "least", "careful", "count")
        images = list_values(self.images, "variance", "residual", "count", "degrees")
        variance, degrees = combine_variances(runs, images)
        return float(variance), float(degrees)


def combine_variances(runs: Sequence[Scores], images: Sequence[Scores]) -> tuple[Scores, Scores]:
    """Combine the variances that a mean is made of: the variance of the mean `[…]`, and its degrees of freedom `[…]`.

    Args:
        runs: variance of one run, the least that it is taken to be, the same for degrees of freedom, and number of runs, of
            each cell `[cells, …]`.
        images: variance of one image, residuals' part of it, number of images, and degrees of freedom, of each test set
            `[sets, …]`.

    >>> runs, images = np.array([[4e-4, 1e-4], [1e-4, 1e-4], [1e-4, 2e-4], [3, 3]]), np.array([[1e-3], [2e-4], [60], [59]])
    >>> variance, degrees = combine_variances(runs, images)
    >>> print(f"{variance:.5f}, {degrees:.1f}")
    0.00018, 3.3
    """
    found, least, careful, seeds = runs
    of_images, residual, count, freedom = images
    by_cell, taken = found / seeds, np.maximum(found, least)
    of_cells = (np.maximum(taken, careful) / seeds).sum(axis=0)
    total_images = (np.maximum(of_images - residual, 0) / count).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = (by_cell**2 / (seeds - 1)).sum(axis=0)
        fewest = seeds.min(axis=0, initial=np.inf) - 1
        of_runs = np.where(below > 0, by_cell.sum(axis=0) ** 2 / below, fewest)
        uncertain = of_cells**2 / of_runs + ((of_images / count) ** 2 / freedom).sum(axis=0)
        degrees = np.where(uncertain > 0, (of_cells + total_images) ** 2 / uncertain, np.inf)
    variance = (taken / seeds).sum(axis=0) + total_images
    return variance, degrees


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

    def clip(self, low: float, high: float) -> "Estimate":
        """Return it with its interval cut to the values that are possible."""
        return replace(self, low=max(self.low, low), high=min(self.high, high))

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
    VarianceFloor(median=0.5, mean=0.0)
    """
    known = sorted(_compute_run_variance(scores) for scores in cells if len(scores) > 1)
    if not known:
        return NO_FLOOR
    return VarianceFloor(MEDIAN_SHARE * float(np.median(known)), float(np.mean(known[:-1] or known)))


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
    residuals = [_sum_residuals(cells, len(cells)) for cells in blocks]
    return _estimate(_average_by_image(blocks), _list_run_parts(blocks, floor), level, effective, residuals)


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
    0.110 (0.063 to 0.157), p = 0.015
    """
    by_image = _subtract_by_image(first, second)
    if _is_too_small(first) or _is_too_small(second):
        return None
    runs = _list_run_parts(first, floor) + _list_run_parts(second, floor)
    residuals = [_sum_residuals([*one, *other], len(one)) for one, other in zip(first, second, strict=True)]
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

    >>> spread = VarianceParts(runs=(VariancePart(1e-4, 3),) * 2, images=(VariancePart(1e-3, 200),))
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
                tuple(
                    VariancePart(of_runs * max(part.variance, part.least), seeds, careful=part.careful) for part in runs
                ),
                tuple(part.predict(of_images, seeds) for part in images),
            )
            error, degrees = math.sqrt(spread.variance), spread.degrees
            if error == 0:
                return 1.0
            return float(stats.nct.sf(stats.t.ppf(1 - alpha / 2, degrees), degrees, difference / error))

        numbers = range(2, MAX_SEEDS + 1)
        place = bisect_left(numbers, power, key=compute_power)
        return numbers[place] if place < len(numbers) else None

    return count_seeds(0.9), count_seeds(0.1)


def _compute_run_variance(scores: Scores) -> float:
    return float(scores.mean(axis=1).var(ddof=1))


def _sum_residuals(cells: Sequence[Scores], averaged: int) -> tuple[float, float]:
    """Sum over cells, of which so many are averaged, what residuals add to an image's variance: now, and with one seed."""
    residuals = [_compute_residual_variance(scores) / averaged**2 for scores in cells]
    return sum(one / len(scores) for one, scores in zip(residuals, cells, strict=True)), sum(residuals)


def _compute_residual_variance(scores: Scores) -> float:
    """Compute the variance of what image and run do together, from a cell's scores `[seeds, images]`."""
    left = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    return float((left**2).sum() / (scores.shape[0] - 1) / (scores.shape[1] - 1))


def _is_too_small(blocks: Blocks) -> bool:
    return any(min(scores.shape) < 2 for cells in blocks for scores in cells)


def _list_run_parts(blocks: Blocks, floor: VarianceFloor) -> tuple[VariancePart, ...]:
    parts = []
    for cells in blocks:
        weight = 1 / (len(cells) * len(blocks)) ** 2
        for scores in cells:
            variance = weight * _compute_run_variance(scores)
            # Runs vary at least as much as their residuals make them.
            careful = weight * max(floor.mean, _compute_residual_variance(scores) / scores.shape[1])
            parts.append(VariancePart(variance, len(scores), weight * floor.median, careful))
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
        parts.append(
            VariancePart(
                variance,
                len(images),
                residual=weight * now,
                residual_of_one=weight * of_one,
                effective=number,
            )
        )
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
