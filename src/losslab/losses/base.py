"""What every loss shares: checked shapes, float32 arithmetic, ignored pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Batch:
    """One step's input, checked. `target` holds 0 where `valid` is False."""

    logits: Tensor
    """`[N, C, H, W]`, float32 or float64."""
    target: Tensor
    """`[N, H, W]`, int64."""
    valid: Tensor
    """`[N, H, W]`, bool: the pixels that are not ignored."""

    def one_hot(self) -> Tensor:
        """`[N, C, H, W]` in the logits' dtype, zero at ignored pixels; with one logit, the foreground alone."""
        num_classes = self.logits.shape[1]
        labels = torch.arange(num_classes, device=self.target.device) if num_classes > 1 else self.target.new_ones(1)
        planes = self.target.unsqueeze(1) == labels.view(-1, 1, 1)
        return (planes & self.valid.unsqueeze(1)).to(self.logits.dtype)

    def probabilities(self) -> Tensor:
        """`[N, C, H, W]`: sigmoid of one logit, softmax over several; zero at ignored pixels."""
        p = self.logits.sigmoid() if self.logits.shape[1] == 1 else self.logits.softmax(dim=1)
        return p * self.valid.unsqueeze(1)


class Loss(nn.Module):
    """Base of all losses: subclasses implement `compute` and may trust their input.

    Computes in float32 with autocast off, whatever the model ran in (float64 stays, for gradcheck). Ignored pixels are
    out of every term and every mean; where nothing is left the loss is 0 with a zero gradient.
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
        """Raise ValueError for shapes, types or labels that do not fit; set ignored pixels aside."""
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
    """`-log p` of each pixel's true class, `[N, H, W]`: softmax over classes, sigmoid with one logit."""
    if batch.logits.shape[1] == 1:
        z = batch.logits.squeeze(1)
        return F.binary_cross_entropy_with_logits(z, batch.target.to(z.dtype), reduction="none")
    return F.cross_entropy(batch.logits, batch.target, reduction="none")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` where `mask`, 0 with a zero gradient where the mask is empty. Both of one shape."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def mean_over_present(per_class: Tensor, present: Tensor) -> Tensor:
    """The mean over images of each one's mean over the classes that count in it; `[N, C]` both, `[C]` for a whole batch."""
    per_image = (per_class * present).sum(-1) / present.sum(-1).clamp(min=1)
    return masked_mean(per_image, present.any(-1))


def bounded_power(x: Tensor, exponent: float, below: float = 1e-6) -> Tensor:
    """`x^exponent` for x ≥ 0; an exponent under 1 has no bounded gradient at 0: below `below` it is a straight line."""
    if exponent >= 1:
        return x.pow(exponent)
    return x.clamp(min=below).pow(exponent).where(x > below, x * below ** (exponent - 1))


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
