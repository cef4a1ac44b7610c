"""The tensors that go into a net, and the meaning of its logits."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from losslab.bands import read_bands
from losslab.errors import InputError


class InputScaling(nn.Module):
    """Turn images as their files have them, `[N, H, W, B]` of any type, into a net's input: float32 `[N, B, H, W]`.

    Args:
        description: `mean` and `std` of each band, in units in which a band's range is 0 to 1; `bands`, if not RGB.

    >>> scaling = InputScaling({"mean": [0.0] * 3, "std": [1.0] * 3})
    >>> scaling(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)).shape
    torch.Size([1, 3, 2, 2])
    """

    shift: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, description: Mapping[str, Any]) -> None:
        super().__init__()
        bands = read_bands(description)
        self.clips = bands.clip
        low, high = torch.tensor(bands.low), torch.tensor(bands.high)
        values = {
            "shift": low + torch.tensor(description["mean"]) * (high - low),
            "scale": torch.tensor(description["std"]) * (high - low),
            "low": low,
            "high": high,
        }
        for name, value in values.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        values = images.float()
        if self.clips:
            values = torch.minimum(torch.maximum(values, self.low), self.high)
        return ((values - self.shift) / self.scale).permute(0, 3, 1, 2)


def check_finite(logits: Tensor) -> None:
    """Raise InputError for logits that are NaN or infinite: they would give labels that look like any others.

    >>> check_finite(torch.tensor([0.0, float("nan")]))
    Traceback (most recent call last):
    losslab.errors.InputError: the model's logits are not finite (1 of 2): its weights are damaged or diverged; train it again
    """
    if broken := int((~logits.isfinite()).sum()):
        reason = "its weights are damaged or diverged; train it again"
        raise InputError(f"the model's logits are not finite ({broken} of {logits.numel()}): {reason}")


def to_labels(logits: Tensor, overlapping: bool = False) -> Tensor:
    """Return the class of the largest logit, `[N, C, H, W]` → int64 `[N, H, W]`; of one logit, 1 if it is positive.

    Of overlapping classes, each that has a positive logit is there: int64 `[N, H, W, C]`, 1 and 0.

    >>> to_labels(torch.tensor([-0.5, 2.0]).view(1, 1, 1, 2)).tolist()
    [[[0, 1]]]
    >>> to_labels(torch.tensor([0.5, 2.0]).view(1, 2, 1, 1), overlapping=True).tolist()
    [[[[1, 1]]]]
    """
    if overlapping:
        return (logits > 0).long().permute(0, 2, 3, 1)
    # argmax gives the same, and on a CPU takes six times as long.
    return (logits.squeeze(1) > 0).long() if logits.shape[1] == 1 else logits.max(dim=1).indices


def to_probabilities(logits: Tensor, overlapping: bool = False) -> Tensor:
    """Turn logits `[N, C, H, W]` into probabilities `[N, max(C, 2), H, W]`; one logit is that of class 1 of two.

    Those of overlapping classes are independent: `[N, C, H, W]`.
    """
    if overlapping:
        return logits.sigmoid()
    if logits.shape[1] == 1:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return logits.softmax(dim=1)


def average_logits(several: Iterable[Tensor], overlapping: bool = False) -> Tensor:
    """Return the logits `[N, C, H, W]` whose probabilities are the mean of those of several such logits.

    Probabilities of overlapping classes are independent. Memory holds one of the logits at a time, and a sum. A single one comes
    back as it is. Raises ValueError for none.

    >>> mean = average_logits(torch.logit(torch.tensor(p)).view(1, 1, 1, 1) for p in (0.25, 0.75, 0.8))
    >>> round(torch.sigmoid(mean).item(), 6)
    0.6
    """
    only: Tensor | None = None
    total: Tensor | None = None
    count, has_sigmoid = 0, False
    for logits in several:
        count += 1
        has_sigmoid = overlapping or logits.shape[1] == 1
        both = [F.logsigmoid(-logits), F.logsigmoid(logits)] if has_sigmoid else [logits.log_softmax(dim=1)]
        logs = torch.stack(both)
        only, total = logits, logs if total is None else torch.logaddexp(total, logs)
    if only is None or total is None:
        raise ValueError("there are no logits to average")
    if count == 1:
        return only
    return total[1] - total[0] if has_sigmoid else total[0] - math.log(count)
