"""Scores of a mask against the probabilities of a net that never saw it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losslab.cards import IGNORE_INDEX

Labels = npt.NDArray[np.uint8]
Shares = npt.NDArray[np.float32]
FLOOR = 0.05
"""Probability below which a class that is given counts as no less probable: one pixel must not decide."""
MIN_OBJECT_SHARE = 0.01
"""Share of an image that its objects are taken to fill at least: else a few pixels in an empty one would count as many."""
TEMPERATURE = 0.1
"""cleanlab's own choice for its softmin."""
MARGIN = 0.5
"""Difference of two probabilities from which on a pixel is contradicted: that of another class, and that of the given one."""


@dataclass(frozen=True, kw_only=True)
class CheckedMask:
    """A mask, and what a net that never saw it says of each pixel; all are `[H, W]`."""

    given: Labels
    """The mask, 255 where it is void."""
    predicted: Labels
    """The most probable class."""
    trust: Shares
    """The probability of the given class; 1 where the mask is void."""
    certainty: Shares
    """The probability of the predicted class."""
    surprise: Shares
    """How much less probable the given class is than the net expects of a right mask, in nats; 0 where the mask is void."""

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Return which pixels are not void."""
        return np.not_equal(self.given, IGNORE_INDEX)

    @property
    def contradicted(self) -> npt.NDArray[np.bool_]:
        """Return which pixels have another class that is more probable than the given one by MARGIN."""
        return np.asarray(self.valid & (self.certainty - self.trust > MARGIN))


@dataclass(frozen=True, kw_only=True)
class MaskScores:
    """Scores of a mask; all are NaN where it is void everywhere."""

    surprise: float
    """What masks are ranked by, see `score_mask`; about 0 if the mask is right, whatever the net finds hard."""
    softmin: float
    """cleanlab's label quality, 0 to 1, low where a mask is doubtful."""
    dice: float
    """Mean Dice of mask and prediction over the classes that either has."""
    contradicted: float
    """Share of the pixels that are contradicted."""


def compare_probabilities(given: Labels, probabilities: Shares) -> CheckedMask:
    """Compare a mask `[H, W]` with probabilities `[C, H, W]`.

    The surprise of a pixel is -log p(given) - H, where H = -sum of p log p over the classes is what that is on average if the
    probabilities are right: so a border of which a net is unsure surprises nobody.

    >>> checked = compare_probabilities(np.array([[0, 1, 255]], np.uint8), np.array([[[0.9] * 3], [[0.1] * 3]], np.float32))
    >>> checked.predicted.tolist(), [round(value, 2) for value in checked.surprise[0].tolist()]
    ([[0, 0, 0]], [-0.22, 1.98, 0.0])
    """
    valid = given != IGNORE_INDEX
    labels = np.where(valid, given, 0)[None].astype(np.intp)
    trust = np.where(valid, np.take_along_axis(probabilities, labels, axis=0)[0], np.float32(1))
    entropy = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=0)
    surprise = np.where(valid, -np.log(np.maximum(trust, FLOOR)) - entropy, 0)
    return CheckedMask(
        given=given,
        predicted=probabilities.argmax(axis=0).astype(np.uint8),
        trust=trust.astype(np.float32),
        certainty=probabilities.max(axis=0),
        surprise=surprise.astype(np.float32),
    )


def score_mask(checked: CheckedMask, background: int) -> MaskScores:
    """Score a mask.

    `surprise` is the sum over its pixels, divided by the number of pixels that are not background in the mask or the
    prediction: a small object that is missing counts as much as a large one.

    Args:
        background: the class with the most pixels in the dataset.
    """
    valid = checked.valid
    count = int(np.count_nonzero(valid))
    if not count:
        return MaskScores(surprise=np.nan, softmin=np.nan, dice=np.nan, contradicted=np.nan)
    objects = np.count_nonzero(valid & ((checked.given != background) | (checked.predicted != background)))
    return MaskScores(
        surprise=float(checked.surprise.sum(dtype=np.float64) / max(objects, MIN_OBJECT_SHARE * count)),
        softmin=compute_softmin(checked.trust[valid]),
        dice=_compute_dice(checked.given[valid], checked.predicted[valid]),
        contradicted=float(np.count_nonzero(checked.contradicted) / count),
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
