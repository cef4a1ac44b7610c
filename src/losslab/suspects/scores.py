"""Scores of a mask against the probabilities of a net that never saw it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losslab.cards import IGNORE_INDEX

Labels = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]
MIN_OBJECT_SHARE = 0.01
"""Share of an image that its objects are taken to fill at least: else a few pixels in an empty one would count as many."""
TEMPERATURE = 0.1
"""cleanlab's own choice for its softmin."""
DEFAULT_THRESHOLD = 0.5
"""Threshold of a class that no mask has."""


@dataclass(frozen=True, kw_only=True)
class CheckedMask:
    """A mask, and what a net that never saw it says of each pixel; all are `[H, W]`."""

    given: Labels
    """The mask, 255 where it is void."""
    predicted: Labels
    """The most probable class."""
    claimed: Labels
    """The most probable of the classes that reach their threshold; 255 where none does."""
    trust: Shares
    """The probability of the given class; 1 where the mask is void."""
    certainty: Shares
    """The probability of the claimed class; 0 where there is none."""

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Return which pixels are not void."""
        return np.not_equal(self.given, IGNORE_INDEX)

    @property
    def contradicted(self) -> npt.NDArray[np.bool_]:
        """Return which pixels are claimed for another class than the given one."""
        return self.valid & np.not_equal(self.claimed, IGNORE_INDEX) & np.not_equal(self.claimed, self.given)


@dataclass(frozen=True, kw_only=True)
class MaskScores:
    """Scores of a mask from 0 to 1; all are NaN where it is void everywhere."""

    doubt: float
    """Share of the pixels of objects that are contradicted: what masks are ranked by."""
    softmin: float
    """cleanlab's label quality, low where a mask is doubtful."""
    dice: float
    """Mean Dice of mask and prediction over the classes that either has."""


def compute_trust(given: Labels, probabilities: Shares) -> Shares:
    """Return the probability of the given class `[H, W]` from probabilities `[C, H, W]`; 1 where the mask is void."""
    valid = np.not_equal(given, IGNORE_INDEX)
    labels = np.where(valid, given, 0)[None].astype(np.intp)
    chosen: Shares = np.take_along_axis(probabilities, labels, axis=0)[0]
    return np.asarray(np.where(valid, chosen, 1), np.float32)


def measure_thresholds(parts: Iterable[tuple[Labels, Shares]], classes: int) -> Shares:
    """Measure how sure a net is of each class where it is given: the mean of its probability over those pixels, `[C]`.

    Another class is claimed for a pixel where the net is as sure of it as it is where masks have it. So a net that is never
    sure of a class can claim it too, and one that is always sure must be so. Northcutt, Jiang and Chuang, Confident learning:
    estimating uncertainty in dataset labels, JAIR 70, 2021, arXiv 1911.00068.

    >>> sure = np.array([[0.9, 0.7, 0.0]], np.float32)
    >>> measure_thresholds([(np.array([[0, 0, 255]], np.uint8), np.stack([sure, 1 - sure]))], 2).round(2)
    array([0.8, 0.5], dtype=float32)
    """
    sums, counts = np.zeros(classes), np.zeros(classes)
    for given, probabilities in parts:
        valid = given != IGNORE_INDEX
        counts += np.bincount(given[valid], minlength=classes)
        sums += np.bincount(given[valid], compute_trust(given, probabilities)[valid], minlength=classes)
    means = np.divide(sums, counts, out=np.full(classes, DEFAULT_THRESHOLD), where=counts > 0)
    return np.asarray(means, np.float32)


def compare_probabilities(given: Labels, probabilities: Shares, thresholds: Shares) -> CheckedMask:
    """Compare a mask `[H, W]` with probabilities `[C, H, W]`, of which a class is claimed from its threshold on, `[C]`.

    >>> thresholds, sure = np.array([0.8, 0.8], np.float32), np.array([0.9, 0.7, 0.1, 0.1], np.float32)
    >>> checked = compare_probabilities(np.array([[0, 1, 0, 255]], np.uint8), np.stack([[sure], [1 - sure]]), thresholds)
    >>> checked.claimed.tolist(), checked.contradicted.tolist()
    ([[0, 255, 1, 1]], [[False, False, True, False]])
    """
    reaching = np.where(probabilities >= thresholds[:, None, None], probabilities, 0)
    certainty = reaching.max(axis=0)
    return CheckedMask(
        given=given,
        predicted=probabilities.argmax(axis=0).astype(np.uint8),
        claimed=np.where(certainty > 0, reaching.argmax(axis=0), IGNORE_INDEX).astype(np.uint8),
        trust=compute_trust(given, probabilities),
        certainty=certainty,
    )


def score_mask(checked: CheckedMask, background: int) -> MaskScores:
    """Score a mask.

    `doubt` is the number of contradicted pixels, divided by that of the pixels that are not background in the mask or the
    prediction: a small object that is missing counts as much as a large one.

    Args:
        background: the class with the most pixels in the dataset.
    """
    valid = checked.valid
    count = int(np.count_nonzero(valid))
    if not count:
        return MaskScores(doubt=np.nan, softmin=np.nan, dice=np.nan)
    is_object = valid & ((checked.given != background) | (checked.predicted != background))
    objects = max(float(np.count_nonzero(is_object)), MIN_OBJECT_SHARE * count)
    doubt = float(np.count_nonzero(checked.contradicted)) / objects
    return MaskScores(
        doubt=min(doubt, 1.0),
        softmin=compute_softmin(checked.trust[valid]),
        dice=_compute_dice(checked.given[valid], checked.predicted[valid]),
    )


def compute_softmin(trust: npt.NDArray[np.floating], temperature: float = TEMPERATURE) -> float:
    """Compute cleanlab's score of an image from the probabilities of its given labels: a mean that weighs low ones most.

    The weights are softmax((1 - trust) / temperature). Lad and Mueller, Estimating label quality and errors in semantic
    segmentation data via any model, arXiv 2307.05080; `cleanlab.segmentation.rank.get_label_quality_scores`.

    >>> round(compute_softmin(np.array([1.0, 0.5])), 4)
    0.5033
    """
    values = trust.astype(np.float64)
    weights = np.exp((values.min() - values) / temperature)
    return float((weights * values).sum() / weights.sum())


def _compute_dice(given: Labels, predicted: Labels) -> float:
    sizes = np.bincount(given, minlength=256) + np.bincount(predicted, minlength=256)
    both = np.bincount(given[given == predicted], minlength=256)
    present = sizes > 0
    return float((2 * both[present] / sizes[present]).mean())
