"""Losses that compare regions: the overlap of prediction and truth."""

from typing import Any, Literal

import torch
from torch import Tensor

from losslab.losses.base import Batch, Loss, bounded_power, masked_mean, mean_over_present

SumScope = Literal["image", "batch"]


class _Overlap(Loss):
    """The mean of a loss of (TP, FP, FN), over images and the classes present in each.

    Sums run over the valid pixels of an image (`reduction_over="image"`) or of the batch. A class absent from the truth
    is left out of the mean, as in the metric when it is not predicted either; probability given to it is missing from
    the classes that are there, so a false positive costs. With one logit and no foreground the background is what is
    present, and its loss counts: its gradient does not vanish, while that of a smoothed overlap with nothing does
    (s/(Σp+s)² for Dice). Images without a valid pixel do not count. MONAI's and smp's forms give the same where every
    class is present; they know no void pixels, and average over absent classes.
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, smooth: float, reduction_over: SumScope) -> None:
        super().__init__(num_classes, ignore_index)
        self.smooth = smooth
        self.over = (2, 3) if reduction_over == "image" else (0, 2, 3)

    def compute_per_class(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define compute_per_class(tp, fp, fn)")

    def tversky_index(self, tp: Tensor, fp: Tensor, fn: Tensor, on_fp: float, on_fn: float) -> Tensor:
        return (tp + self.smooth) / (tp + on_fp * fp + on_fn * fn + self.smooth)

    def compute(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        tp, volume, truth = (p * y).sum(self.over), p.sum(self.over), y.sum(self.over)
        present = truth > 0
        per_class = self._compute_where_present(tp, volume, truth, present)
        if self.num_classes == 1:
            pixels = batch.valid.unsqueeze(1).sum(self.over)
            outside = (pixels - volume, pixels - truth)
            background = self._compute_where_present(pixels - volume - truth + tp, *outside, pixels > 0)
            per_class, present = per_class.where(present, background), pixels > 0
        return mean_over_present(per_class, present)

    def _compute_where_present(self, tp: Tensor, volume: Tensor, truth: Tensor, present: Tensor) -> Tensor:
        # Elsewhere all counts become those of one right pixel: finite, with no gradient.
        tp, volume, truth = (count.where(present, 1) for count in (tp, volume, truth))
        return self.compute_per_class(tp, (volume - tp).clamp(min=0), (truth - tp).clamp(min=0))


class Dice(_Overlap):
    """Soft Dice loss: `1 - (2 Σpy + s) / (Σp + Σy + s)`, averaged over images and the classes present in each, in 0..1.

    V-Net (Milletari et al. 2016, 1606.04797) squares p and y in the denominator; this is the plain form that the field
    compares. A class absent from the truth is left out of the mean; smp's DiceLoss zeroes it and still divides by
    the number of all.

    Example:
        >>> logits, target = torch.tensor([[[[0.0, 0.0]]]]), torch.tensor([[[1, 0]]])
        >>> Dice(1, None, smooth=0.0, reduction_over="image")(logits, target)  # TP, FP and FN are 1/2
        tensor(0.5000)
    """

    def compute_per_class(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return 1 - (2 * tp + self.smooth) / (2 * tp + fp + fn + self.smooth)


class Jaccard(_Overlap):
    """Soft Jaccard (IoU) loss: `1 - (TP + s) / (TP + FP + FN + s)`, averaged as Dice is, in 0..1.

    From Rahman & Wang 2016, doi 10.1007/978-3-319-50835-1_22. A class absent from the truth is left out of the mean.

    Example:
        >>> logits, target = torch.tensor([[[[0.0, 0.0]]]]), torch.tensor([[[1, 0]]])
        >>> Jaccard(1, None, smooth=0.0, reduction_over="image")(logits, target)  # TP, FP and FN are 1/2
        tensor(0.6667)
    """

    def compute_per_class(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return 1 - self.tversky_index(tp, fp, fn, 1, 1)


class Tversky(_Overlap):
    """Tversky loss: `1 - (TP + s) / (TP + α FP + β FN + s)`, averaged as Dice is, in 0..1.

    From Salehi et al. 2017, 1706.05721. α < β forgives false positives. α = β = 1/2 is Dice. A class absent from the
    truth is left out of the mean.

    Example:
        >>> logits, target = torch.tensor([[[[9.0, 9.0]]]]), torch.tensor([[[1, 0]]])
        >>> loss = Tversky(1, None, alpha=0.25, beta=0.75, smooth=0.0, reduction_over="image")
        >>> round(loss(logits, target).item(), 3)  # one hit, one false positive
        0.2
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, alpha: float, beta: float, **region: Any) -> None:
        super().__init__(num_classes, ignore_index, **region)
        self.alpha, self.beta = alpha, beta

    def compute_per_class(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return 1 - self.tversky_index(tp, fp, fn, self.alpha, self.beta)


class FocalTversky(Tversky):
    """Focal Tversky loss: `(1 - TI)^(1/γ)` with `TI = (TP + s) / (TP + α FN + β FP + s)`, averaged as Dice is, in 0..1.

    As in its paper (Abraham & Khan 2019, 1810.07842), and unlike Tversky's, α weights false *negatives*. The root has
    an infinite gradient at TI = 1: below 1e-6 it goes on as a straight line. A class absent from the truth is left out
    of the mean.

    Example:
        >>> logits, target = torch.tensor([[[[9.0, 9.0]]]]), torch.tensor([[[1, 0]]])
        >>> loss = FocalTversky(1, None, alpha=0.75, beta=0.25, gamma=2.0, smooth=0.0, reduction_over="image")
        >>> round(loss(logits, target).item(), 3)  # the root of 0.2
        0.447
    """

    def __init__(
        self, num_classes: int, ignore_index: int | None, *, alpha: float, beta: float, gamma: float, **region: Any
    ) -> None:
        super().__init__(num_classes, ignore_index, alpha=beta, beta=alpha, **region)
        self.gamma = gamma

    def compute_per_class(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return bounded_power(super().compute_per_class(tp, fp, fn).clamp(min=0), 1 / self.gamma)


class GeneralizedDice(Loss):
    """Generalised Dice loss: `1 - 2 Σ_c w_c Σpy / Σ_c w_c (Σp + Σy)`, `w_c = 1/(Σy)²`, averaged over images, in 0..1.

    From Sudre et al. 2017, 1707.03237. With one logit background and foreground are its two classes. Sums run over an
    image or, with `reduction_over="batch"`, the batch. The weight of an absent class would be infinite: it takes the
    largest of those present, as MONAI does, so that a false positive on it costs. Weights are divided by the largest,
    so that `smooth` is in pixels of the smallest class; with smooth = 0 the value is MONAI's, which knows no void
    pixels.

    Example:
        >>> logits, target = torch.tensor([[[[0.0, 0.0]]]]), torch.tensor([[[1, 0]]])
        >>> GeneralizedDice(1, None, smooth=0.0, reduction_over="image")(logits, target)
        tensor(0.5000)
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, smooth: float, reduction_over: SumScope) -> None:
        super().__init__(num_classes, ignore_index)
        self.smooth = smooth
        self.over = (2, 3) if reduction_over == "image" else (0, 2, 3)

    def compute(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        tp, volume, truth = (p * y).sum(self.over), p.sum(self.over), y.sum(self.over)
        if self.num_classes == 1:
            pixels = batch.valid.unsqueeze(1).sum(self.over)
            tp = torch.cat([pixels - volume - truth + tp, tp], dim=-1)
            volume, truth = (torch.cat([pixels - count, count], dim=-1) for count in (volume, truth))
        present = truth > 0
        smallest = truth.where(present, torch.inf).amin(-1, keepdim=True)
        any_present = present.any(-1)
        weights = (smallest / truth).square().where(present, 1).where(any_present.unsqueeze(-1), 0)
        overlap = 2 * (weights * tp).sum(-1) + self.smooth
        total = (weights * (volume + truth)).sum(-1) + self.smooth
        return masked_mean(1 - overlap / total.where(any_present, 1), any_present)
