"""Segmentation metrics, all derived from int64 confusion matrices, one per image, added up: never from batch means."""

from typing import Any

import torch
from torch import Tensor

import losslab.quick_torchmetrics  # noqa: F401 — before what imports torchmetrics

from torchmetrics import Metric  # isort: skip
from torchmetrics.utilities import dim_zero_cat  # isort: skip


class SegmentationMetrics(Metric):
    """IoU, Dice and accuracies of label maps.

    The values do not depend on batch size, order of batches or number of processes. A class absent from truth and
    prediction is NaN and left out of the mean; one that is only predicted scores 0.

    Args:
        num_classes: classes; 1 means binary data, counted as two classes, background (0) and foreground (1).
        ignore_index: the label in the target whose pixels count nowhere.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusions: list[Tensor]

    def __init__(self, num_classes: int, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; it must be 1 (binary) or more")
        self.num_labels = max(num_classes, 2)
        self.ignore_index = ignore_index
        self.add_state("confusions", default=[], dist_reduce_fx="cat")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count a batch, both int64 `[N, H, W]`. Raises ValueError for other shapes, types or labels."""
        self.confusions.append(confusion_per_image(prediction, target, self.num_labels, self.ignore_index))

    def compute(self) -> dict[str, Tensor]:
        """All scores, float64, C = classes:

        `miou`, `mdice`, `pixel_accuracy`, `mean_accuracy` and `miou_per_image` (the mean over images of their mIoU)
        0-dim; `iou`, `dice`, `accuracy`, `support` (true pixels) `[C]`; `confusion` int64 `[C, C]`, truth in rows.
        """
        confusion = self.per_image().sum(dim=0)
        scores = scores_of(confusion)
        return {**scores, "miou_per_image": scores_of(self.per_image())["miou"].nanmean(), "confusion": confusion}

    def per_image(self) -> Tensor:
        """One confusion matrix per image in the order they came, int64 `[N, C, C]`."""
        if isinstance(self.confusions, list) and not self.confusions:
            return torch.zeros(0, self.num_labels, self.num_labels, dtype=torch.int64)
        return dim_zero_cat(self.confusions)


def confusion_per_image(prediction: Tensor, target: Tensor, num_labels: int, ignore_index: int | None) -> Tensor:
    """Count (truth, prediction) pairs of each image: int64 `[N, H, W]` twice in, int64 `[N, C, C]` out."""
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.ndim != 3 or labels.shape != target.shape or labels.dtype != torch.int64:
            kind = str(labels.dtype).removeprefix("torch.")
            wanted = list(target.shape) if target.ndim == 3 else "[N, H, W]"
            raise ValueError(f"{name} must be int64 {wanted}, not {kind} {list(labels.shape)}")
    count = len(target)
    # Ignored pixels are counted as one more true class, and left out at the end: picking out the others is slower.
    ignored = torch.zeros_like(target, dtype=torch.bool) if ignore_index is None else target == ignore_index
    guess = prediction.masked_fill(ignored, 0)
    for name, labels in (("target", target.masked_fill(ignored, 0)), ("prediction", guess)):
        low, high = (int(value) for value in labels.aminmax()) if labels.numel() else (0, 0)
        if low < 0 or high >= num_labels:
            raise ValueError(f"{name} holds labels {low} to {high}; {num_labels} classes allow 0 to {num_labels - 1}")
    image = torch.arange(count, device=target.device).view(-1, 1, 1)
    pairs = (image * (num_labels + 1) + target.masked_fill(ignored, num_labels)) * num_labels + guess
    counts = torch.bincount(pairs.flatten(), minlength=count * (num_labels + 1) * num_labels)
    return counts.view(count, num_labels + 1, num_labels)[:, :num_labels]


def scores_of(confusion: Tensor) -> dict[str, Tensor]:
    """Scores of confusion matrices `[…, C, C]`: per class `[…, C]`, their means and pixel accuracy `[…]`, float64.

    IoU = TP/(TP+FP+FN), Dice = 2TP/(2TP+FP+FN), accuracy of a class = TP/(TP+FN); 0/0 is NaN, means leave it out.
    """
    counts = confusion.to(torch.float64)
    hit = counts.diagonal(dim1=-2, dim2=-1)
    truth, guess = counts.sum(dim=-1), counts.sum(dim=-2)
    iou, dice, accuracy = hit / (truth + guess - hit), 2 * hit / (truth + guess), hit / truth
    return {
        "miou": iou.nanmean(dim=-1),
        "mdice": dice.nanmean(dim=-1),
        "pixel_accuracy": hit.sum(dim=-1) / truth.sum(dim=-1),
        "mean_accuracy": accuracy.nanmean(dim=-1),
        "iou": iou,
        "dice": dice,
        "accuracy": accuracy,
        "support": truth,
    }
