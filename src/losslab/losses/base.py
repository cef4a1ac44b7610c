"""What every loss shares: checked shapes, float32 arithmetic, ignored pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Batch:
    """One step's checked input.

    >>> batch = Batch(torch.zeros(1, 2, 1, 2), torch.tensor([[[1, 0]]]), torch.tensor([[[True, False]]]))
    >>> batch.one_hot().tolist()
    [[[[0.0, 0.0]], [[1.0, 0.0]]]]
    """

    logits: Tensor
    """`[N, C, H, W]`, float32 or float64; 0 at ignored pixels."""
    target: Tensor
    """`[N, H, W]`, int64; 0 at ignored pixels."""
    valid: Tensor
    """`[N, H, W]`, bool: the pixels that are not ignored."""

    def one_hot(self) -> Tensor:
        """Return the target as `[N, C, H, W]` of 0 and 1, 0 at ignored pixels; with one logit, the foreground alone."""
        num_classes = self.logits.shape[1]
        labels = torch.arange(num_classes, device=self.target.device) if num_classes > 1 else self.target.new_ones(1)
        planes = self.target.unsqueeze(1) == labels.view(-1, 1, 1)
        return (planes & self.valid.unsqueeze(1)).to(self.logits.dtype)

    def probabilities(self) -> Tensor:
        """Return `[N, C, H, W]`: sigmoid of one logit, softmax over several; 0 at ignored pixels."""
        p = self.logits.sigmoid() if self.logits.shape[1] == 1 else self.logits.softmax(dim=1)
        return p * self.valid.unsqueeze(1)


class Loss(nn.Module):
    """Base of all losses: a subclass implements `compute(batch)` and may trust its input.

    Losses compute in float32 with autocast off, whatever the model ran in (float64 stays, for gradcheck). Ignored
    pixels are left out of every term and every mean; where nothing is left the loss is 0 with a zero gradient.

    Shape:
        logits float `[N, C, H, W]`, C being 1 for binary data; target int64 `[N, H, W]`; the result is a 0-dim tensor.

    Raises:
        ValueError: shapes, types or labels that do not fit.

    Example:
        >>> class Error(Loss):
        ...     def compute(self, batch: Batch) -> Tensor:
        ...         return masked_mean((batch.probabilities() - batch.one_hot()).abs(), batch.valid.unsqueeze(1))
        >>> Error(1, ignore_index=255)(torch.zeros(1, 1, 1, 2), torch.tensor([[[1, 255]]]))
        tensor(0.5000)
    """

    def __init__(self, num_classes: int, ignore_index: int | None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        batch = self.check(logits, target)
        with torch.autocast(logits.device.type, enabled=False):
            return self.compute(batch)

    def compute(self, batch: Batch) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not define compute(batch)")

    def check(self, logits: Tensor, target: Tensor) -> Batch:
        """Check shapes, types and labels (ValueError: they do not fit), and set ignored pixels aside."""
        if logits.ndim != 4 or logits.shape[1] != self.num_classes or not logits.is_floating_point():
            raise ValueError(f"logits must be float [N, {self.num_classes}, H, W], not {_describe(logits)}")
        n, _, h, w = logits.shape
        if target.shape != (n, h, w) or target.dtype != torch.int64:
            raise ValueError(f"target must be int64 [{n}, {h}, {w}], not {_describe(target)}")
        if self.ignore_index is None:
            valid = torch.ones_like(target, dtype=torch.bool)
        else:
            valid = target != self.ignore_index
            target = target.where(valid, 0)
        # On an accelerator this check would wait for the device every step; prepare guarantees the labels there.
        if target.device.type == "cpu" and target.numel():
            low, high = (int(value) for value in target.aminmax())
            labels = max(self.num_classes, 2)
            if low < 0 or high >= labels:
                raise ValueError(f"target holds labels {low} to {high}; {labels} classes allow 0 to {labels - 1}")
        logits = logits if logits.dtype == torch.float64 else logits.float()
        # Not only multiplied away later: a logit that overflowed under void would still make NaN.
        return Batch(logits.where(valid.unsqueeze(1), 0), target, valid)


def cross_entropy(batch: Batch) -> Tensor:
    """Return `-log p` of each pixel's true class, `[N, H, W]`: softmax over classes, sigmoid with one logit.

    >>> batch = Batch(torch.zeros(1, 4, 1, 1), torch.tensor([[[2]]]), torch.tensor([[[True]]]))
    >>> cross_entropy(batch).exp()
    tensor([[[4.]]])
    """
    if batch.logits.shape[1] == 1:
        z = batch.logits.squeeze(1)
        return F.binary_cross_entropy_with_logits(z, batch.target.to(z.dtype), reduction="none")
    return F.cross_entropy(batch.logits, batch.target, reduction="none")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` where `mask` is set, or 0 with a zero gradient where it is empty.

    >>> masked_mean(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, True, False]))
    tensor(1.5000)
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)


def mean_over_present(per_class: Tensor, present: Tensor) -> Tensor:
    """Average each image's mean over its present classes, `[N, C]`, or `[C]` of a batch; images without any are left out.

    >>> mean_over_present(torch.tensor([[1.0, 9.0], [2.0, 4.0]]), torch.tensor([[True, False], [True, True]]))
    tensor(2.)
    """
    per_image = (per_class * present).sum(-1) / present.sum(-1).clamp(min=1)
    return masked_mean(per_image, present.any(-1))


def bounded_power(x: Tensor, exponent: float, below: float = 1e-6) -> Tensor:
    """Return `x^exponent` for x ≥ 0, a straight line under `below` if the exponent is under 1: gradients are bounded.

    >>> x = torch.tensor([0.0, 4.0], requires_grad=True)
    >>> bounded_power(x, 0.5).sum().backward()
    >>> x.grad.tolist()
    [1000.0, 0.25]
    """
    if exponent >= 1:
        return x.pow(exponent)
    return x.clamp(min=below).pow(exponent).where(x > below, x * below ** (exponent - 1))


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
