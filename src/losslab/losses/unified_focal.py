"""Unified focal loss."""

import torch
from torch import Tensor

from losslab.losses.base import Batch, Loss, bounded_power, cross_entropy, masked_mean, mean_over_present
from losslab.losses.focal import focal
from losslab.losses.region import SumScope


class UnifiedFocal(Loss):
    """Unified focal loss: `λ · focal cross entropy + (1 - λ) · focal Tversky`, 0 or more.

    From Yeung et al. 2022, 2102.04525. Cross entropy: `δ_c (1 - p_t)^γ · -log p_t`, averaged over pixels, δ_c = δ for
    foreground, 1 - δ for background. Tversky: `(1 - TI_c)^(1-γ)`, `TI = TP / (TP + δ FN + (1-δ) FP)`, averaged over
    classes. `asymmetric` (the paper's best) turns easy pixels down in the background alone and raises the foreground's
    Tversky alone; otherwise both classes get both. Background is class 0, every other class is foreground; data without
    a background want `asymmetric: false`. `weight` is λ. `reduction_over` is Tversky's; cross entropy is averaged over
    all valid pixels.

    Of Tversky's classes those present count, so an empty mask is carried by the background and by cross entropy.
    MONAI's clamp equals its smooth, which makes a perfect empty mask cost 1, and it halves the cross entropy of the
    authors' code. Slower than cross entropy: it is two losses.

    Example:
        >>> options = {"weight": 0.5, "delta": 0.6, "gamma": 0.5, "asymmetric": True, "smooth": 0.0}
        >>> loss = UnifiedFocal(1, None, **options, reduction_over="image")
        >>> round(loss(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 0]]])).item(), 3)
        0.455
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None,
        *,
        weight: float,
        delta: float,
        gamma: float,
        asymmetric: bool,
        smooth: float,
        reduction_over: SumScope,
    ) -> None:
        super().__init__(num_classes, ignore_index)
        self.weight, self.delta, self.gamma, self.asymmetric, self.smooth = weight, delta, gamma, asymmetric, smooth
        self.over = (2, 3) if reduction_over == "image" else (0, 2, 3)

    def compute(self, batch: Batch) -> Tensor:
        return self.weight * self._compute_cross_entropy(batch) + (1 - self.weight) * self._compute_tversky(batch)

    def _compute_cross_entropy(self, batch: Batch) -> Tensor:
        cost, foreground = cross_entropy(batch), batch.target > 0
        eased = focal(cost, self.gamma)
        if self.asymmetric:
            eased = cost.where(foreground, eased)
        return masked_mean(eased * torch.where(foreground, self.delta, 1 - self.delta).to(cost.dtype), batch.valid)

    def _compute_tversky(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        if self.num_classes == 1:
            valid = batch.valid.unsqueeze(1).to(p.dtype)
            p, y = torch.cat([valid - p, p], dim=1), torch.cat([valid - y, y], dim=1)
        tp, truth = (p * y).sum(self.over), y.sum(self.over)
        fp, fn = (p.sum(self.over) - tp).clamp(min=0), (truth - tp).clamp(min=0)
        present = truth > 0
        bottom = tp + self.delta * fn + (1 - self.delta) * fp + self.smooth
        loss = (1 - (tp + self.smooth) / bottom.where(present, 1)).clamp(min=0)
        raised = bounded_power(loss, 1 - self.gamma)
        if self.asymmetric:
            raised = torch.cat([loss[..., :1], raised[..., 1:]], dim=-1)
        return mean_over_present(raised, present)
