"""Focal losses."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.losses.base import Batch, Loss, bounded_power, cross_entropy, masked_mean


class Focal(Loss):
    """Focal loss: `-α_t (1 - p_t)^γ log p_t`, averaged over valid pixels, 0 or more (Lin et al. 2017, 1708.02002).

    Softmax over several classes (as MONAI with `use_softmax=True`; smp's is one-against-the-rest), sigmoid with one
    logit (as torchvision's `sigmoid_focal_loss`). `alpha` is None, one weight per class, or with one logit a number in
    0..1: α for foreground, 1 - α for background. The mean counts pixels, whatever α.

    For γ < 1 the power has no bounded gradient at p_t = 1: where 1 - p_t is below 1e-6 it goes on as a straight line.

    Example:
        >>> logits, target = torch.zeros(1, 1, 1, 1), torch.tensor([[[1]]])
        >>> round(Focal(1, None, gamma=2.0, alpha=None)(logits, target).item(), 4)  # -(1/2)² log(1/2)
        0.1733
    """

    weights: Tensor | None

    def __init__(
        self, num_classes: int, ignore_index: int | None, *, gamma: float, alpha: float | Sequence[float] | None
    ) -> None:
        super().__init__(num_classes, ignore_index)
        self.gamma = gamma
        per_class = [1 - alpha, alpha] if isinstance(alpha, int | float) else alpha
        weights = None if per_class is None else torch.tensor(per_class, dtype=torch.float32)
        self.register_buffer("weights", weights, persistent=False)

    def compute(self, batch: Batch) -> Tensor:
        loss = focal(cross_entropy(batch), self.gamma)
        if self.weights is not None:
            loss = loss * self.weights.to(loss.dtype)[batch.target]
        return masked_mean(loss, batch.valid)


class FocalOvr(Loss):
    """Focal loss of each class against the rest: `-α_t (1 - p_t)^γ log p_t` with sigmoids, 0 or more.

    Averaged over valid pixels and classes (Lin et al. 2017, 1708.02002). With one logit it is `focal`. This is what
    smp's `FocalLoss("multiclass")` computes, there with a power whose gradient is NaN at p_t = 1 for γ < 1. `alpha` is
    α for a class's own pixels and 1 - α for all others, or None. Every class counts at every pixel, so an absent class
    is pushed down everywhere.

    Example:
        >>> logits, target = torch.tensor([[[[0.0]], [[-99.0]]]]), torch.tensor([[[0]]])
        >>> round(FocalOvr(2, None, gamma=2.0, alpha=None)(logits, target).item(), 4)  # the first class's, halved
        0.0866
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, gamma: float, alpha: float | None) -> None:
        super().__init__(num_classes, ignore_index)
        self.gamma, self.alpha = gamma, alpha

    def compute(self, batch: Batch) -> Tensor:
        y = batch.one_hot()
        loss = focal(F.binary_cross_entropy_with_logits(batch.logits, y, reduction="none"), self.gamma)
        if self.alpha is not None:
            loss = loss * (self.alpha * y + (1 - self.alpha) * (1 - y))
        return masked_mean(loss, batch.valid.unsqueeze(1).expand_as(loss))


def focal(cost: Tensor, gamma: float) -> Tensor:
    """Return `(1 - p)^γ · cost` for `cost = -log p`: taken from it, 1 - p keeps the digits that a p near 1 has lost.

    >>> focal(torch.tensor([0.5]).log().neg(), gamma=1.0)
    tensor([0.3466])
    """
    return bounded_power(-torch.expm1(-cost), gamma) * cost
