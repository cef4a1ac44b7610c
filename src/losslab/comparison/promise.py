"""What more seeds promise: how many a pair would need until it is decided, and whether any number could decide it."""

import math
from dataclasses import replace

from scipy import special

from losslab.comparison.statistics import ALPHA, MAX_SEEDS, Estimate, VarianceParts
from losslab.comparison.verdicts import JudgedPair

DRIFT_QUANTILE = 0.9
"""Upper end of the 80 % interval that the mean is taken to stay in when seeds are added without end."""
MAX_PREDICTED = 100
"""Greatest number of seeds that is predicted."""


def predict_seeds_to_decide(pair: JudgedPair) -> int | None:
    """Predict with how many seeds per cell a pair is decided, if mean and variances stay; None: not with a hundred."""
    if pair.estimate is None:
        return None
    mean = pair.estimate.mean
    numbers = range(pair.seeds + 1, MAX_PREDICTED + 1)
    return next((seeds for seeds in numbers if _would_decide(pair, mean, mean, seeds)), None)


def is_limited_by_images(pair: JudgedPair) -> bool:
    """Return whether even endlessly many seeds would probably not decide a pair, as its test images are too few.

    The mean may move by what its runs leave open, within an interval of 80 %; what image and run do together shrinks. If then
    it could be neither far enough from 0 nor close enough to it, seeds are of no use.
    """
    if pair.estimate is None:
        return True
    runs = VarianceParts(pair.estimate.spread.runs, ())
    quantile = math.inf if math.isinf(runs.degrees) else float(special.stdtrit(runs.degrees, DRIFT_QUANTILE))
    drift = quantile * math.sqrt(runs.variance) if runs.variance else 0.0
    gap = abs(pair.estimate.mean)
    return not _would_decide(pair, gap + drift, max(gap - drift, 0.0), MAX_SEEDS)


def _would_decide(pair: JudgedPair, far: float, near: float, seeds: int) -> bool:
    """Return whether so many seeds would show a mean that is `far` to be real, or one that is `near` to be equivalent."""
    assert pair.estimate is not None
    spread = pair.estimate.spread
    more = VarianceParts(
        tuple(replace(part, count=max(part.count, seeds)) for part in spread.runs),
        tuple(part.predict(1.0, seeds) for part in spread.images),
    )
    predicted = Estimate(far, far, far, 1.0, more)
    if predicted.adjust(pair.share).p < ALPHA:
        return True
    return pair.margin is not None and replace(predicted, mean=near).lies_within(pair.margin, pair.share)
