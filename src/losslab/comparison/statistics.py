"""Is a difference real? Tests that count both sources of variance: the test images, and the training seeds.

A score is that of a run on an image. Two losses are scored on the same images, so images are paired; another loss is
another trajectory from the same seed, so seeds are not. The variance of a difference of means is therefore estimated as

    s²(A's runs) / S_A + s²(B's runs) / S_B + s²(per-image difference of seed means) / N

with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946). What image and seed do together is counted in more
than one term, which errs on the side of caution. Two or three runs happen to lie close together too often, and would then
look sure of themselves; so no cell's variance is taken to be below what is `VarianceFloor` in the study. Tests over images alone
claim differences that another seed would undo; tests over seeds alone do not see that the test images are a sample.
`benchmarks/verdicts.py` measures all of them.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

Scores = npt.NDArray[np.float64]
"""Of one cell: `[seeds, images]`."""
Blocks = Sequence[Sequence[Scores]]
"""What is compared: for each test set (most often there is one) the cells that are averaged, such as a loss on several nets.
Test sets count the same, and so do cells in one."""

ALPHA = 0.05
MOST_SEEDS = 1000


@dataclass(frozen=True)
class VarianceFloor:
    """Between the runs of a cell: what is usual in a study, so that a cell whose few runs happen to agree is not believed."""

    variance: float = 0.0
    """No cell's is taken to be less: the median of the cells'."""
    careful: float = 0.0
    """Nor in counting degrees of freedom, of which a cell that seems to vary little would leave too many: their mean."""


NO_FLOOR = VarianceFloor()


@dataclass(frozen=True)
class VariancePart:
    """One source of variance."""

    variance: float
    """Of one run, or image, by its weight in the whole."""
    careful: float
    """As degrees of freedom are counted."""
    count: int


@dataclass(frozen=True)
class VarianceParts:
    """Variances that a mean, or a difference of means, is made of: those of runs, and that of images."""

    runs: tuple[VariancePart, ...]
    """Of each cell."""
    images: tuple[VariancePart, ...]
    """Of each test set (of the difference where two are compared)."""

    @property
    def variance(self) -> float:
        return sum(part.variance / part.count for part in (*self.runs, *self.images))

    @property
    def degrees(self) -> float:
        """Satterthwaite's; infinite where nothing varies."""
        parts = [(part.careful / part.count, part.count - 1) for part in (*self.runs, *self.images) if part.careful > 0]
        below = sum(variance**2 / freedom for variance, freedom in parts)
        return sum(variance for variance, _ in parts) ** 2 / below if below else math.inf

    @property
    def seeds(self) -> int:
        """In the cell that has the fewest."""
        return min((part.count for part in self.runs), default=0)

    def with_seeds(self, seeds: int) -> "VarianceParts":
        """As it would be with so many seeds in each cell."""
        return VarianceParts(tuple(replace(part, count=seeds) for part in self.runs), self.images)


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval; of a difference, also the p-value of there being none."""

    mean: float
    low: float
    high: float
    p: float
    spread: VarianceParts


def compute_variance_floor(cells: Iterable[Scores]) -> VarianceFloor:
    """Of all cells of a study; nothing where none has two runs."""
    known = [_between(scores) for scores in cells if len(scores) > 1]
    return VarianceFloor(float(np.median(known)), float(np.mean(known))) if known else VarianceFloor()


def estimate_mean(blocks: Blocks, usual: VarianceFloor = NO_FLOOR, level: float = 1 - ALPHA) -> Estimate | None:
    """The mean over test sets, cells, seeds and images; None where one seed or one image leaves its variance unknown.

    Args:
        usual: of all cells of the study.
    """
    return None if _too_few(blocks) else _estimate(_by_image(blocks), _runs(blocks, usual), level)


def estimate_difference(
    first: Blocks, second: Blocks, usual: VarianceFloor = NO_FLOOR, level: float = 1 - ALPHA
) -> Estimate | None:
    """Mean of the first less that of the second; both have the same test sets, whose columns are the same images.

    Args:
        usual: of all cells of the study.

    Returns:
        None where one seed or one image leaves the variance unknown.

    Raises:
        ValueError: other numbers of images.
    """
    apart = _apart(first, second)
    if _too_few(first) or _too_few(second):
        return None
    return _estimate(apart, _runs(first, usual) + _runs(second, usual), level)


def estimate_images_only(first: Blocks, second: Blocks, level: float = 1 - ALPHA) -> Estimate | None:
    """As `estimate_difference`, but of these very nets, as if they could not have been trained otherwise.

    It is all that can be said with one seed: nothing about losses. None with one image.
    """
    apart = _apart(first, second)
    return None if any(len(images) < 2 for images in apart) else _estimate(apart, (), level)


def correct_holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """p-values corrected for being several (Holm, Scandinavian Journal of Statistics 6, 1979), in their order.

    Args:
        weights: shares that each may use up of the level, of any sum; None: equal ones.
    """
    weights = weights or [1.0] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda index: p_values[index] / weights[index])
    corrected, highest, left = [0.0] * len(p_values), 0.0, sum(weights)
    for index in order:
        highest = max(highest, min(left / weights[index] * p_values[index], 1.0))
        corrected[index] = highest
        left -= weights[index]
    return corrected


def compute_seeds_needed(found: Estimate, wanted: float, alpha: float = ALPHA, power: float = 0.8) -> int | None:
    """Seeds in each cell with which a true difference of `wanted` would be seen with this power, at these variances.

    None: with no number of seeds, as the test images are too few.
    """
    numbers = range(2, MOST_SEEDS + 1)
    place = bisect_left(numbers, power, key=lambda seeds: _power(found.spread.with_seeds(seeds), wanted, alpha))
    return numbers[place] if place < len(numbers) else None


@dataclass(frozen=True)
class FriedmanTest:
    """Friedman's test over blocks, and the distance of mean ranks from which Nemenyi's test tells cells apart."""

    mean_ranks: list[float]
    """1 is best."""
    p: float
    critical_difference: float
    blocks: int


def rank_cells(table: Scores, alpha: float = ALPHA) -> FriedmanTest:
    """Friedman's test and Nemenyi's critical difference (Demšar, JMLR 7, 2006) of scores `[blocks, cells]`, the higher the
    better; blocks are datasets or folds.

    Raises:
        ValueError: fewer than 3 cells or 2 blocks.
    """
    blocks, cells = table.shape
    if cells < 3 or blocks < 2:
        raise ValueError(f"{cells} cells on {blocks} blocks; Friedman's test needs 3 and 2")
    ranks = stats.rankdata(-table, axis=1)
    p = 1.0 if (ranks == ranks[:, :1]).all() else float(stats.friedmanchisquare(*table.T).pvalue)
    distance = stats.studentized_range.ppf(1 - alpha, cells, np.inf) / math.sqrt(2)
    critical = float(distance * math.sqrt(cells * (cells + 1) / (6 * blocks)))
    return FriedmanTest(ranks.mean(axis=0).tolist(), p, critical, blocks)


def _between(scores: Scores) -> float:
    return float(scores.mean(axis=1).var(ddof=1))


def _too_few(blocks: Blocks) -> bool:
    return any(min(scores.shape) < 2 for cells in blocks for scores in cells)


def _runs(blocks: Blocks, usual: VarianceFloor) -> tuple[VariancePart, ...]:
    found = []
    for cells in blocks:
        weight = 1 / (len(cells) * len(blocks)) ** 2
        for scores in cells:
            own = _between(scores)
            least, careful = max(own, usual.variance), max(own, usual.variance, usual.careful)
            found.append(VariancePart(weight * least, weight * careful, len(scores)))
    return tuple(found)


def _by_image(blocks: Blocks) -> list[Scores]:
    """`[images]` of each test set."""
    return [np.asarray(np.mean([scores.mean(axis=0) for scores in cells], axis=0)) for cells in blocks]


def _apart(first: Blocks, second: Blocks) -> list[Scores]:
    for cells in zip(first, second, strict=True):
        numbers = {scores.shape[1] for group in cells for scores in group}
        if len(numbers) > 1:
            raise ValueError(
                f"scores of {' and '.join(map(str, sorted(numbers)))} images; all must be of the same images"
            )
    return [one - other for one, other in zip(_by_image(first), _by_image(second), strict=True)]


def _estimate(by_image: Sequence[Scores], runs: tuple[VariancePart, ...], level: float) -> Estimate:
    mean = float(np.mean([images.mean() for images in by_image]))
    sets = len(by_image)
    variances = [float(images.var(ddof=1)) / sets**2 for images in by_image]
    of_images = [
        VariancePart(variance, variance, len(images)) for variance, images in zip(variances, by_image, strict=True)
    ]
    spread = VarianceParts(runs, tuple(of_images))
    error = math.sqrt(spread.variance)
    if error == 0:
        return Estimate(mean, mean, mean, 1.0 if mean == 0 else 0.0, spread)
    reach = float(stats.t.ppf((1 + level) / 2, spread.degrees)) * error
    return Estimate(mean, mean - reach, mean + reach, float(2 * stats.t.sf(abs(mean) / error, spread.degrees)), spread)


def _power(spread: VarianceParts, wanted: float, alpha: float) -> float:
    error, degrees = math.sqrt(spread.variance), spread.degrees
    if error == 0:
        return 1.0
    critical = stats.t.ppf(1 - alpha / 2, degrees)
    return float(stats.nct.sf(critical, degrees, wanted / error))
