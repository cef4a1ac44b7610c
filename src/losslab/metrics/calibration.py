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

BIN_COUNT = 15
"""Bins of the reliability curve, of equal width over 0..1."""
THRESHOLDS = [step / 100 for step in range(1, 100)]
LEVEL_COUNT = len(THRESHOLDS) + 1
"""Intervals of probability that the thresholds part."""
UNITS_PER_ONE = 2**24
"""Units in which confidences are added up: as fine as float32 above one half, and the same sum in any order."""


class CalibrationMetrics(Metric):
    """Expected calibration error, reliability curve and threshold sweep of probabilities.

    Only histograms are kept. The values do not depend on batch size, order or number of processes. Arguments are those of
    SegmentationMetrics; binary data has two probabilities per pixel.

    >>> metric = CalibrationMetrics(num_classes=2)
    >>> metric.update(torch.tensor([[[[0.1, 0.7]], [[0.9, 0.3]]]]), torch.tensor([[[1, 1]]]))
    >>> round(metric.compute()["ece"].item(), 3)  # (|0.9 - 1| + |0.7 - 0|) / 2
    0.4
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    bins: Tensor
    levels: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_labels, self.ignore_index = max(num_classes, 2), ignore_index
        self.add_state("bins", default=torch.zeros(BIN_COUNT, 3, dtype=torch.int64), dist_reduce_fx="sum")
        levels = torch.zeros(self.num_labels, 2, LEVEL_COUNT, dtype=torch.int64)
        self.add_state("levels", default=levels, dist_reduce_fx="sum")

    def update(self, probabilities: Images, target: Images) -> None:
        """Count float32 `[N, C, H, W]` and int64 `[N, H, W]`, or lists of images; ValueError: other shapes or labels.

        Pixels count one by one, so that an image may come in parts, as some of its rows.
        """
        images, confidences, labels = [], [], []
        for image in probabilities:
            if image.ndim != 3 or len(image) != self.num_labels or not image.is_floating_point():
                raise ValueError(f"probabilities must be float [N, {self.num_labels}, H, W], not {list(image.shape)}")
            confidence, label = image.max(dim=0)
            confidences.append(confidence.cpu().numpy())
            labels.append(label)
            # (0.49, 0.50] becomes 50, and 49 once one is taken off: thresholds 0.01 to 0.49 lie below it.
            images.append((image * 100).ceil_().to(torch.uint8).cpu().numpy())
        pairs = convert_to_bytes(labels, target, self.num_labels, self.ignore_index)
        items = zip(images, confidences, pairs, strict=True)
        for bins, levels in parallel_map(lambda item: _count_image(*item), items):
            self.bins = self.bins + torch.from_numpy(bins).to(self.bins.device)
            self.levels = self.levels + torch.from_numpy(levels).to(self.levels.device)

    def compute(self) -> dict[str, Tensor]:
        """Compute the calibration error with its curve, and the scores at each threshold; shares in 0..1, float64.

        `ece` (Guo et al. 2017, 1706.04599): Σ over 15 equal bins of the winning class's probability, weighted by
        pixels, of |mean confidence − share right|; per bin `[15]` `pixels`, `confidence` and `accuracy`, NaN in an
        empty one.

        For thresholds 0.01 to 0.99, above which a pixel counts as a class, against all others `[C, 99]`: `tp`, `fp`,
        `fn`, `tn` int64, `precision`, `recall`, `dice`, `iou`.
        """
        pixels, right, confidence = self.bins.double().unbind(dim=1)
        confidence, accuracy = confidence / UNITS_PER_ONE / pixels, right / pixels
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
            # As for label maps: NaN where truth and prediction lack the class, 0 where one of them does.
            "precision": torch.where(hit + fp + fn > 0, hit / (tp + fp).clamp(min=1), math.nan),
            "recall": torch.where(hit + fp + fn > 0, hit / (tp + fn).clamp(min=1), math.nan),
            "dice": 2 * hit / (2 * tp + fp + fn),
            "iou": hit / (tp + fp + fn),
        }


def find_best_threshold(iou: Sequence[float] | Tensor) -> int | None:
    """Find the index in THRESHOLDS of the best of 99 IoUs, of several the nearest to 0.5; None where all are NaN.

    >>> THRESHOLDS[find_best_threshold([0.0] * 29 + [0.7] * 3 + [0.0] * 67)]
    0.32
    """
    scores = torch.as_tensor(iou, dtype=torch.float64)
    if scores.isnan().all():
        return None
    best = torch.nonzero(scores == scores.nan_to_num(-1).max()).flatten().tolist()
    middle = THRESHOLDS.index(0.5)
    return int(min(best, key=lambda index: (abs(index - middle), index)))


def _count_image(
    hundredths: Labels, confidence: npt.NDArray[np.float32], pair: tuple[Labels, Labels]
) -> tuple[Counts, Counts]:
    """Count one image's bins `[15, (pixels, right, confidence)]` and levels `[C, (other, true), LEVEL_COUNT]`.

    Arguments are each class's probability in hundredths, rounded up, uint8 `[C, H, W]`; the winning one's, float32
    `[H, W]`; the winning class and the truth, uint8 `[H, W]`, VOID in both at ignored pixels.
    """
    guess, truth = pair
    known = np.asarray(truth != VOID, np.uint8)
    chosen = np.minimum((confidence * BIN_COUNT).astype(np.uint8), BIN_COUNT - 1)
    bins = np.zeros((BIN_COUNT, 3), np.int64)
    bins[:, 0] = count_bytes(chosen, known)[:BIN_COUNT]
    bins[:, 1] = count_bytes(chosen, known & (guess == truth))[:BIN_COUNT]
    # Sums of whole numbers are exact in float64 below 2^53: in an image of 2^29 pixels.
    units = np.rint(confidence * UNITS_PER_ONE) * known
    bins[:, 2] = np.bincount(chosen.ravel(), weights=units.ravel(), minlength=BIN_COUNT).astype(np.int64)
    levels = np.zeros((len(hundredths), 2, LEVEL_COUNT), np.int64)
    everywhere = None if known.all() else known
    for label, image in enumerate(hundredths):
        true = _count_levels(image, mask_label(truth, label))
        levels[label] = _count_levels(image, everywhere) - true, true
    return bins, levels


def _count_levels(hundredths: Labels, mask: Labels | None) -> Counts:
    counts = count_bytes(hundredths, mask)
    counts[1] += counts[0]  # a probability of 0 is below all thresholds, as is one of 0.01
    return counts[1 : LEVEL_COUNT + 1]
