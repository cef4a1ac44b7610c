"""What would show a difference that is not seen yet: how many test images, with the seeds that there are."""

import math
from bisect import bisect_left
from dataclasses import replace

from scipy import stats

from losslab.comparison.statistics import ALPHA, Estimate, VariancePart, VarianceParts

MAX_GROWTH = 1000
"""Times the test images that there are, up to which it is looked how many would do."""
STEPS = 400
"""Numbers of images that are tried, each the same share more than the one before."""


def estimate_images_needed(
    estimate: Estimate, difference: float, alpha: float = ALPHA, power: float = 0.8
) -> int | None:
    """Estimate how many test images, or independent groups of them, would show a true difference with the seeds there are.

    None: no number does, as the seeds are too few.

    Args:
        difference: the true difference to be seen, in the unit of the scores.
        alpha: level of the test, 0 to 1.
        power: probability of seeing it, 0 to 1.

    >>> spread = VarianceParts(runs=(VariancePart(1e-5, 3),) * 2, images=(VariancePart(4e-2, 100),))
    >>> estimate = Estimate(0.01, -0.03, 0.05, 0.6, spread)
    >>> estimate_images_needed(estimate, difference=0.02), estimate_images_needed(estimate, difference=0.005)
    (928, None)
    """
    spread = estimate.spread
    units = sum(part.units for part in spread.images)
    # What image and run do together is in the variance of runs too, where it shrinks with more images.
    together = sum(part.residual_of_one / part.count for part in spread.images) / max(len(spread.runs), 1)

    def compute_power(growth: float) -> float:
        runs = tuple(_shrink(part, together * (1 - 1 / growth)) for part in spread.runs)
        grown = VarianceParts(runs, tuple(_grow(part, growth) for part in spread.images))
        error, degrees = math.sqrt(grown.variance), grown.degrees
        if error == 0:
            return 1.0
        critical = float(stats.t.ppf(1 - alpha / 2, degrees))
        return float(stats.nct.sf(critical, degrees, difference / error))

    growths = [MAX_GROWTH ** (step / STEPS) for step in range(STEPS + 1)]
    place = bisect_left(growths, power, key=compute_power)
    return round(growths[place] * units) if place < len(growths) else None


def _shrink(part: VariancePart, less: float) -> VariancePart:
    """Return the variance of runs without so much of it, of which the least that it is taken to be loses the same share."""
    kept = max(1 - less / part.variance, 0.0) if part.variance > 0 else 1.0
    return replace(part, variance=kept * part.variance, least=kept * part.least, careful=kept * part.careful)


def _grow(part: VariancePart, growth: float) -> VariancePart:
    """Return the variance of images, or groups, as it would be with more of them."""
    effective = None if part.effective is None else part.effective * growth
    return replace(part, count=round(part.count * growth), effective=effective)
