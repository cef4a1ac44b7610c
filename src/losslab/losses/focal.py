"""Focal loss."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.losses.base import Batch, Loss, masked_mean


class Focal(Loss):
    """Focal loss: `-α_t (1 - p_t)^γ log p_t`, averaged over valid pixels (Lin et al. 2017, 1708.02002).

    Softmax over several classes (as MONAI with `use_softmax=True`; smp's is one-against-the-rest), sigmoid with one logit
    (as torchvision's `sigmoid_focal_loss`). `alpha` is None, one weight per class, or with one logit a number in 0..1:
    α for foreground, 1 - α for background. The mean counts pixels, whatever α.

    `(1 - p_t)^γ` is computed as `exp(γ log(1 - p_t))` from logits: the power has no finite gradient at p_t = 1 for γ < 1.
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
        log_p, log_rest = _log_odds(batch)
        loss = -(self.gamma * log_rest).exp() * log_p
        if self.weights is not None:
            loss = loss * self.weights.to(loss.dtype)[batch.target]
        return masked_mean(loss, batch.valid)


def _log_odds(batch: Batch) -> tuple[Tensor, Tensor]:
    """log p_t and log(1 - p_t) of the true class, `[N, H, W]`, finite and with finite gradients for all logits."""
    z = batch.logits
    if z.shape[1] == 1:
        signed = z.squeeze(1) * (2 * batch.target - 1)
        return F.logsigmoid(signed), F.logsigmoid(-signed)
    index = batch.target.unsqueeze(1)
    total = z.logsumexp(dim=1)
    others = z.scatter(1, index, float("-inf")).logsumexp(dim=1)
    return z.gather(1, index).squeeze(1) - total, others - total
