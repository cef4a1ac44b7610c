"""How far probabilities can be trusted, and what another threshold would give."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losslab.metrics.confusion import Images
from losslab.metrics.images import VOID, Counts, Labels, convert_to_bytes, count_bytes, mask_label
from losslab.metrics.torchmetrics import Metric
from losslab.runtime.parallel import parallel_map

BINS = 15
THRESHOLDS = [step / 100 for step in range(1, 100)]
LEVELS = len(THRESHOLDS) + 1
UNIT = 2**24
"""Confidences are added up as whole multiples of 1/UNIT: as fine as float32 above one half, and in any order the same."""


class CalibrationMetrics(Metric):
    """Expected calibration error, reliability curve and threshold sweep of probabilities.

    Only histograms are kept. The values do not depend on batch size, order or number of processes.

    Args:
        num_classes, ignore_index: as of SegmentationMetrics.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    bins: Tensor
    levels: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_labels, self.ignore_index = max(num_classes, 2), ignore_index
        self.add_state("bins", default=torch.zeros(BINS, 3, dtype=torch.int64), dist_reduce_fx="sum")
        levels = torch.zeros(self.num_labels, 2, LEVELS, dtype=torch.int64)
        self.add_state("levels", default=levels, dist_reduce_fx="sum")

    def update(self, probabilities: Images, target: Images) -> None:
        """Count a batch: float32 `[N, C, H, W]` and int64 `[N, H, W]`, or as many of `[C, H, W]` and `[H, W]`.

        Raises:
            ValueError: not a probability for each class, or what the labels are refused for.
        """
        images, pixels = [], list[tuple[Tensor, Tensor]]()
        for image in probabilities:
            if image.ndim != 3 or len(image) != self.num_labels or not image.is_floating_point():
                raise ValueError(f"probabilities must be float [N, {self.num_labels}, H, W], not {list(image.shape)}")
            confidence, label = image.max(dim=0)
            pixels.append((confidence, label))
            # (0.49, 0.50] becomes 50, and 49 once one is taken off: thresholds 0.01 to 0.49 lie below it.
            images.append((image * 100).ceil_().to(torch.uint8).cpu().numpy())
        pairs = convert_to_bytes([label for _, label in pixels], target, self.num_labels, self.ignore_index)
        confidences = [confidence.cpu().numpy() for confidence, _ in pixels]
        for bins, levels in parallel_map(
            lambda item: _count_image(*item), zip(images, confidences, pairs, strict=True)
        ):
            self.bins = self.bins + torch.from_numpy(bins).to(self.bins.device)
            self.levels = self.levels + torch.from_numpy(levels).to(self.levels.device)

    def compute(self) -> dict[str, Tensor]:
        """`ece` (Guo et al. 2017): Σ over 15 equal bins of the winning class's probability, weighted by pixels, of
        |mean confidence − share right|; per bin `[15]` `pixels`, `confidence` and `accuracy`, NaN in an empty one.

        And for thresholds 0.01 to 0.99, above which a pixel counts as a class, against all others `[C, 99]`: `tp`, `fp`,
        `fn`, `tn` int64, `precision`, `recall`, `dice`, `iou`.
        """
        pixels, right, confidence = self.bins.double().unbind(dim=1)
        confidence, accuracy = confidence / UNIT / pixels, right / pixels
        ece = (pixels * (confidence - accuracy).abs()).nansum() / pixels.sum()
        above = self.levels.flip(-1).cumsum(dim=-1).flip(-1)[..., 1:]
        fp, tp = above.unbind(dim=1)
        negatives, positives = self.levels.sum(dim=-1).unbind(dim=1)
        fn, tn = positives[:, None] - tp, negatives[:, None] - fp
        hit = tp.double()
        return {
            "ece": ece,
            "pixels": self.bins[:, 0],
            "confidence": confidence,
            "accuracy": accuracy,
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "tn": tn,
            # As of label maps: NaN where truth and prediction lack the class, 0 where one of them does.
            "precision": torch.where(hit + fp + fn > 0, hit / (tp + fp).clamp(min=1), math.nan),
            "recall": torch.where(hit + fp + fn > 0, hit / (tp + fn).clamp(min=1), math.nan),
            "dice": 2 * hit / (2 * tp + fp + fn),
            "iou": hit / (tp + fp + fn),
        }


def find_best_threshold(iou: Sequence[float] | Tensor) -> int | None:
    """The place in THRESHOLDS of the best IoU, of several the nearest to 0.5; None where there is no IoU."""
    scores = torch.as_tensor(iou, dtype=torch.float64)
    if scores.isnan().all():
        return None
    best = torch.nonzero(scores == scores.nan_to_num(-1).max()).flatten().tolist()
    middle = THRESHOLDS.index(0.5)
    return int(min(best, key=lambda place: (abs(place - middle), place)))


def _count_image(
    hundredths: Labels, confidence: npt.NDArray[np.float32], pair: tuple[Labels, Labels]
) -> tuple[Counts, Counts]:
    """One image's bins `[15, (pixels, right, confidence)]` and levels `[C, (other, true), LEVELS]`.

    Args:
        hundredths: the probability of each class in hundredths, rounded up, uint8 `[C, H, W]`.
        confidence: of the winning class, float32 `[H, W]`.
        pair: the winning class and the truth, uint8 `[H, W]`, VOID in both where the truth is open.
    """
    guess, truth = pair
    known = np.asarray(truth != VOID, np.uint8)
    chosen = np.minimum((confidence * BINS).astype(np.uint8), BINS - 1)
    bins = np.zeros((BINS, 3), np.int64)
    bins[:, 0] = count_bytes(chosen, known)[:BINS]
    bins[:, 1] = count_bytes(chosen, known & (guess == truth))[:BINS]
    # Sums of whole numbers are exact in float64 below 2^53: in an image of 2^29 pixels.
    whole = np.rint(confidence * UNIT) * known
    bins[:, 2] = np.bincount(chosen.ravel(), weights=whole.ravel(), minlength=BINS).astype(np.int64)
    levels = np.zeros((len(hundredths), 2, LEVELS), np.int64)
    everywhere = None if known.all() else known
    for label, image in enumerate(hundredths):
        true = _level_counts(image, mask_label(truth, label))
        levels[label] = _level_counts(image, everywhere) - true, true
    return bins, levels


def _level_counts(hundredths: Labels, mask: Labels | None) -> Counts:
    """How often each level is there, int64 `[LEVELS]`."""
    counts = count_bytes(hundredths, mask)
    counts[1] += counts[0]  # a probability of 0 is below all thresholds, as is one of 0.01
    return counts[1 : LEVELS + 1]
