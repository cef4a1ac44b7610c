"""Metrics of label maps that follow from summed int64 confusion matrices, never from batch means."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from losslab.io.windows import PixelWindows, iterate_strips
from losslab.metrics.torchmetrics import Metric, dim_zero_cat

Images = Tensor | Sequence[Tensor]
"""One batch: a tensor, or one for each image where sizes differ."""
LABEL_TYPES = (torch.int64, torch.uint8)
CLASS_SCORES = ("iou", "dice", "precision", "recall", "hit", "support", "predicted")
CLASS_MEANS = {"miou": "iou", "mdice": "dice", "mprecision": "precision", "mean_accuracy": "recall"}
"""Mean over classes → the score of a class that it is the mean of."""


class SegmentationMetrics(Metric):
    """IoU, Dice, precision, recall and what follows from them, of label maps.

    The values do not depend on batch size, order of batches or number of processes. A class absent from truth and
    prediction is NaN and left out of the mean; one that is in only one of them scores 0.

    Args:
        num_classes: 1 (else ValueError) or more; 1 means binary data, two classes, background (0) and foreground (1).
        ignore_index: the label in the target whose pixels count nowhere.

    >>> metric = SegmentationMetrics(num_classes=2, ignore_index=255)
    >>> metric.update(torch.tensor([[[0, 1, 1, 0]]]), torch.tensor([[[0, 1, 0, 255]]]))
    >>> metric.compute()["iou"]
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    confusion: Tensor
    pixels: list[Tensor]

    def __init__(self, num_classes: int, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; it must be 1 (binary) or more")
        self.is_binary = num_classes == 1
        self.num_labels, self.ignore_index = max(num_classes, 2), ignore_index
        empty = torch.zeros(self.num_labels, self.num_labels, dtype=torch.int64)
        self.add_state("confusion", default=empty, dist_reduce_fx="sum")
        self.add_state("pixels", default=[], dist_reduce_fx="cat")

    def update(self, prediction: Images, target: Images) -> None:
        """Count a batch of int64 or uint8 `[N, H, W]`, or as many `[H, W]`; ValueError: other shapes or labels."""
        if not isinstance(target, Tensor) or not isinstance(prediction, Tensor):
            for guess, truth in zip(prediction, target, strict=True):
                self._count(guess[None], truth[None])
        else:
            self._count(prediction, target)

    def update_windows(self, prediction: PixelWindows, target: PixelWindows) -> None:
        """Count one image, uint8 `[H, W]` each, by strips; ValueError: other sizes, types or labels."""
        check_sizes(prediction, target)
        confusions = torch.zeros_like(self.confusion)[None]
        for strip in iterate_strips(target.height, target.width):
            guess, truth = (torch.from_numpy(strip.read(labels))[None] for labels in (prediction, target))
            counts = count_confusion_per_image(guess, truth, self.num_labels, self.ignore_index)
            confusions += counts.to(confusions.device)
        self._add(confusions)
        self.note_update()

    def _count(self, prediction: Tensor, target: Tensor) -> None:
        self._add(count_confusion_per_image(prediction, target, self.num_labels, self.ignore_index))

    def _add(self, confusions: Tensor) -> None:
        self.confusion = self.confusion + confusions.sum(dim=0)
        hit, truth, guess = confusions.diagonal(dim1=1, dim2=2), confusions.sum(dim=2), confusions.sum(dim=1)
        self.append_rows("pixels", torch.stack([hit, truth, guess], dim=1))

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores of `compute_scores` for the sum of all images, and some that need each image.

        These are `miou_per_image`: the mean over images of their mIoU; `images` int64 `[C]`: how many truths have the
        class; `confusion` int64 `[C, C]`, truth in rows; for binary data `seed_score`: the mean over images of theirs.
        """
        per_image = self.compute_per_image()
        scores = compute_scores(self.confusion) | {
            "miou_per_image": compute_exact_mean(per_image["miou"]),
            "images": (per_image["support"] > 0).sum(dim=0),
            "confusion": self.confusion,
        }
        return scores | ({"seed_score": compute_exact_mean(per_image["seed_score"])} if self.is_binary else {})

    def compute_per_image(self) -> dict[str, Tensor]:
        """Compute all scores but `mcc` for each image in the order they came, `[N]` or per class `[N, C]`."""
        # Three numbers per image and class are kept, not its matrix: memory must not grow with classes squared.
        none = torch.zeros(0, 3, self.num_labels, dtype=torch.int64, device=self.confusion.device)
        pixels = dim_zero_cat(self.pixels) if len(self.pixels) else none
        hit, truth, guess = pixels.unbind(dim=1)
        scores = _compute_pixel_scores(hit, truth, guess)
        if self.is_binary:
            scores["seed_score"] = _compute_seed_score(hit[:, 1], (truth + guess - hit)[:, 1])
        return scores


def count_confusion_per_image(prediction: Tensor, target: Tensor, num_labels: int, ignore_index: int | None) -> Tensor:
    """Count the (truth, prediction) pairs of each image, int64 `[N, C, C]` with truth in rows.

    Both are int64 or uint8 `[N, H, W]`; ValueError: other shapes, types or labels.

    >>> count_confusion_per_image(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[0, 1, 0]]]), 2, None).tolist()
    [[[1, 1], [0, 1]]]
    """
    # Ignored pixels are counted as one more true class, and left out at the end: picking out the others is slower.
    ignored = find_ignored(target, ignore_index)
    check_labels(prediction, target, num_labels, ignored)
    count = len(target)
    image = torch.arange(count, device=target.device).view(-1, 1, 1)
    truth, guess = target.long().masked_fill(ignored, num_labels), prediction.masked_fill(ignored, 0)
    pairs = (image * (num_labels + 1) + truth) * num_labels + guess
    counts = torch.bincount(pairs.flatten(), minlength=count * (num_labels + 1) * num_labels)
    return counts.view(count, num_labels + 1, num_labels)[:, :num_labels]


def check_sizes(prediction: PixelWindows, target: PixelWindows) -> None:
    """Raise ValueError unless both have the same height and width."""
    sizes = [(image.height, image.width) for image in (prediction, target)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"prediction must be {list(sizes[1])}, as target, not {list(sizes[0])}")


def check_labels(prediction: Tensor, target: Tensor, num_labels: int, ignored: Tensor) -> None:
    """Raise ValueError unless both are int64 or uint8 `[N, H, W]` and hold labels alone where they are not `ignored`.

    >>> labels = torch.tensor([[[0, 7]]])
    >>> check_labels(labels, labels, num_labels=2, ignored=find_ignored(labels, 7))
    """
    for name, labels in (("prediction", prediction), ("target", target)):
        if labels.ndim != 3 or labels.shape != target.shape or labels.dtype not in LABEL_TYPES:
            kind = str(labels.dtype).removeprefix("torch.")
            wanted = list(target.shape) if target.ndim == 3 else "[N, H, W]"
            raise ValueError(f"{name} must be int64 {wanted}, not {kind} {list(labels.shape)}")
    for name, labels in (("target", target), ("prediction", prediction)):
        known = labels.masked_fill(ignored, 0)
        low, high = (int(value) for value in known.aminmax()) if known.numel() else (0, 0)
        if low < 0 or high >= num_labels:
            raise ValueError(f"{name} holds labels {low} to {high}; {num_labels} classes allow 0 to {num_labels - 1}")


def find_ignored(target: Tensor, ignore_index: int | None) -> Tensor:
    """Return a mask, bool, of the pixels that count nowhere.

    >>> find_ignored(torch.tensor([[0, 255]]), 255)
    tensor([[False,  True]])
    """
    return torch.zeros_like(target, dtype=torch.bool) if ignore_index is None else target == ignore_index


def compute_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Compute the scores of confusion matrices `[…, C, C]` with truth in rows, float64 in 0..1.

    A class absent from truth and prediction is NaN, and means leave it out; one that is in only one of them has 0
    everywhere.

    For each class `[…, C]`: `iou` TP/(TP+FP+FN), `dice` 2TP/(2TP+FP+FN), `precision` TP/(TP+FP), `recall` TP/(TP+FN),
    `hit` TP, `support` TP+FN, `predicted` TP+FP. `[…]`: their means `miou`, `mdice`, `mprecision`, `mean_accuracy` (of
    recall); `fwiou`, the mean IoU weighted by support; `pixel_accuracy`; `classes_scored`, how many classes are in
    truth or prediction; `mcc` in -1..1, Gorodkin's R_K (2004), Matthews' correlation for two classes, NaN where truth
    or prediction has but one class.

    >>> scores = compute_scores(torch.tensor([[1, 1], [0, 2]]))
    >>> scores["iou"].tolist(), scores["pixel_accuracy"].item()
    ([0.5, 0.6666666666666666], 0.75)
    """
    hit, truth, guess = confusion.diagonal(dim1=-2, dim2=-1), confusion.sum(dim=-1), confusion.sum(dim=-2)
    return compute_count_scores(hit, truth, guess)


def compute_count_scores(hit: Tensor, truth: Tensor, guess: Tensor) -> dict[str, Tensor]:
    """Compute the scores of `compute_scores` from the hit, true and predicted pixels of each class, int64 `[…, C]`.

    >>> compute_count_scores(torch.tensor([1, 2]), torch.tensor([2, 2]), torch.tensor([1, 3]))["miou"]
    tensor(0.5833, dtype=torch.float64)
    """
    return _compute_pixel_scores(hit, truth, guess) | {"mcc": _compute_mcc(hit, truth, guess)}


def count_overlapping(logits: Tensor, target: Tensor, ignore_index: int | None) -> Tensor:
    """Count the pixels of each class, int64 `[C, 2, 2]`: truth in rows, not there and there.

    Logits are float `[N, C, H, W]`, the target is int64 of the same shape.

    >>> count_overlapping(torch.tensor([[[[2.0, -1.0]]]]), torch.tensor([[[[1, 0]]]]), None).tolist()
    [[[1, 0], [0, 1]]]
    """
    pairs = zip((logits > 0).long().unbind(dim=1), target.unbind(dim=1), strict=True)
    return torch.stack([count_confusion_per_image(guess, truth, 2, ignore_index).sum(dim=0) for guess, truth in pairs])


def compute_overlapping_scores(confusion: Tensor) -> dict[str, Tensor]:
    """Compute the scores of `compute_scores` of overlapping classes from `[C, 2, 2]` counts, truth in rows.

    Each class is scored against the rest of the image. Pixel accuracy and MCC, which need each pixel to be of one class, are
    left out.

    >>> compute_overlapping_scores(torch.tensor([[[1, 1], [0, 2]]]))["miou"]
    tensor(0.6667, dtype=torch.float64)
    """
    binary = compute_scores(confusion)
    scores = {key: binary[key][:, 1] for key in CLASS_SCORES}
    scores |= {mean: scores[key].nanmean() for mean, key in CLASS_MEANS.items()}
    total = scores["support"].sum()
    return scores | {
        "fwiou": (scores["support"] * scores["iou"]).nansum() / total,
        "classes_scored": (~scores["iou"].isnan()).sum(),
    }


def _compute_seed_score(intersection: Tensor, union: Tensor) -> Tensor:
    """Compute the seeds' thresholded score: ⌈clamp(20·(IoU − 0.5), 0, 10)⌉ / 10, float64; 1 where the union is empty.

    In whole numbers, so that an IoU of exactly 0.55 is not rounded up by a float's last digit.
    """
    steps = -((10 * union - 20 * intersection) // union.clamp(min=1))  # the ceiling of 20·(I/U) − 10
    return torch.where(union == 0, 10, steps.clamp(0, 10)).to(torch.float64) / 10


def compute_exact_mean(values: Tensor) -> Tensor:
    """Average a 1-d tensor without its NaNs, float64, to the same bits in whatever order values come; NaN for none.

    >>> compute_exact_mean(torch.tensor([1.0, float("nan"), 2.0]))
    tensor(1.5000, dtype=torch.float64)
    """
    known = values[~values.isnan()].tolist()
    return torch.tensor(math.fsum(known) / len(known) if known else math.nan, dtype=torch.float64)


def _compute_pixel_scores(hit: Tensor, truth: Tensor, guess: Tensor) -> dict[str, Tensor]:
    """Compute scores from the hit, true and predicted pixels of each class, int64 `[…, C]`."""
    both = truth + guess
    hit, truth, guess = (counts.to(torch.float64) for counts in (hit, truth, guess))
    iou, dice = hit / (both - hit), 2 * hit / both
    # Never found though it is there, or found though it is not: 0. Only 0/0 for want of any pixel is NaN.
    precision, recall = (torch.where(both > 0, hit / counts.clamp(min=1), math.nan) for counts in (guess, truth))
    total = truth.sum(dim=-1)
    return {
        "miou": iou.nanmean(dim=-1),
        "mdice": dice.nanmean(dim=-1),
        "mprecision": precision.nanmean(dim=-1),
        "mean_accuracy": recall.nanmean(dim=-1),
        "fwiou": (truth * iou).nansum(dim=-1) / total,
        "pixel_accuracy": hit.sum(dim=-1) / total,
        "classes_scored": (both > 0).sum(dim=-1),
        "iou": iou,
        "dice": dice,
        "precision": precision,
        "recall": recall,
        "hit": hit,
        "support": truth,
        "predicted": guess,
    }


def _compute_mcc(hit: Tensor, truth: Tensor, guess: Tensor) -> Tensor:
    hit, truth, guess = (counts.to(torch.float64) for counts in (hit, truth, guess))
    # In shares of all pixels, for the products of counts go beyond what floats tell apart.
    total = truth.sum(dim=-1, keepdim=True)
    truth, guess, right = truth / total, guess / total, hit.sum(dim=-1) / total.squeeze(-1)
    covariance = right - (truth * guess).sum(dim=-1)
    spread = (1 - truth.square().sum(dim=-1)) * (1 - guess.square().sum(dim=-1))
    alone = ((truth == 1).any(dim=-1)) | ((guess == 1).any(dim=-1))
    return torch.where(alone, math.nan, covariance / spread.sqrt())
