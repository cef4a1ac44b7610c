"""Losses that look at one pixel at a time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.errors import InputError, quote
from losslab.losses.base import Batch, Loss, cross_entropy, masked_mean


class CrossEntropy(Loss):
    """Cross entropy: softmax over classes, or binary with one logit; 0 or more.

    `-log p_y`, averaged over valid pixels; with class weights `w` the average is weighted, `Σ w_y l / Σ w_y`, as
    torch's `cross_entropy` has it. Label smoothing ε moves ε of each target's mass evenly over the classes
    (Szegedy et al. 2016, 1512.00567). An absent class adds nothing of its own; predicting it costs the pixels' true
    classes.

    torch's own functions do the arithmetic, with `reduction="none"`: only that is deterministic on CUDA, and it lets
    the mean count valid pixels alone.

    Example:
        >>> loss = CrossEntropy(2, None, label_smoothing=0.0, class_weights=[1.0, 3.0])
        >>> round(loss(torch.tensor([[[[0.0, 9.0]], [[0.0, 0.0]]]]), torch.tensor([[[1, 0]]])).item(), 4)  # ln 2 · 3/4
        0.5199
    """

    weights: Tensor | None

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None,
        *,
        label_smoothing: float,
        class_weights: Sequence[float] | str | None,
    ) -> None:
        super().__init__(num_classes, ignore_index)
        if isinstance(class_weights, str):
            raise InputError(
                f"loss_options.class_weights is {quote(class_weights)}, which needs the pixel counts of prepared data; "
                "losslab.losses.class_weights makes a list from them"
            )
        self.label_smoothing = label_smoothing
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("weights", weights, persistent=False)

    def compute(self, batch: Batch) -> Tensor:
        weights = None if self.weights is None else self.weights.to(batch.logits.dtype)
        logits = batch.logits
        if self.num_classes == 1:  # the softmax of (0, z) is the sigmoid of z
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        loss = F.cross_entropy(
            logits, batch.target, weight=weights, label_smoothing=self.label_smoothing, reduction="none"
        )
        if weights is None:
            return masked_mean(loss, batch.valid)
        total = (weights[batch.target] * batch.valid).sum()
        return (loss * batch.valid).sum() / total.where(total > 0, 1)


class TopKCrossEntropy(Loss):
    """Cross entropy of the hardest `k` % of the batch's valid pixels, at least one; 0 or more.

    From Wu et al. 2016, 1605.06885. Hard means: of high cross entropy now. k = 100 is plain cross entropy. The count is
    rounded up. An absent class adds nothing of its own; predicting it where it is not makes a pixel hard.

    Example:
        >>> logits, target = torch.tensor([[[[0.0, 9.0, 9.0]]]]), torch.tensor([[[1, 1, 1]]])
        >>> round(TopKCrossEntropy(1, None, k=10.0)(logits, target).item(), 4)  # the first pixel's ln 2
        0.6931
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, k: float) -> None:
        super().__init__(num_classes, ignore_index)
        self.k = k

    def compute(self, batch: Batch) -> Tensor:
        # Costs are never negative, so void pixels, at -1, come last and are not among the hardest.
        costs = cross_entropy(batch).where(batch.valid, -1).flatten()
        count = max(math.ceil(int(batch.valid.sum()) * self.k / 100), 1)
        hardest = costs.topk(count, sorted=False).values
        return masked_mean(hardest, hardest >= 0)


class BinaryCrossEntropy(Loss):
    """Binary cross entropy with logits; over several classes, each against the rest; 0 or more.

    `max(z, 0) - z·y + log(1 + e^-|z|)`, averaged over valid pixels and classes. Every class counts at every pixel, so
    an absent class is pushed down everywhere. Label smoothing ε: y becomes y(1-ε) + ε/2 (Szegedy et al. 2016,
    1512.00567).

    Example:
        >>> logits, target = torch.tensor([[[[0.0]], [[-99.0]]]]), torch.tensor([[[0]]])
        >>> round(BinaryCrossEntropy(2, None, label_smoothing=0.0)(logits, target).item(), 4)  # (ln 2 + 0) / 2
        0.3466
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, label_smoothing: float) -> None:
        super().__init__(num_classes, ignore_index)
        self.label_smoothing = label_smoothing

    def compute(self, batch: Batch) -> Tensor:
        smoothed = batch.one_hot() * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = F.binary_cross_entropy_with_logits(batch.logits, smoothed, reduction="none")
        return masked_mean(loss, batch.valid.unsqueeze(1).expand_as(loss))
