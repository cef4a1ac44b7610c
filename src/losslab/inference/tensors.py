"""The tensors that go into a net, and the meaning of its logits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from losslab.errors import InputError


def to_input(images: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> Tensor:
    """Normalise images uint8 `[N, H, W, 3]` to float32 `[N, 3, H, W]`, channels_last; mean and std in 0..1 units."""
    scale = torch.as_tensor(std, device=images.device) * 255
    shift = torch.as_tensor(mean, device=images.device) * 255
    return ((images.float() - shift) / scale).permute(0, 3, 1, 2)


def check_finite(logits: Tensor) -> None:
    """Raise InputError for logits that are NaN or infinite: they would give labels that look like any others.

    >>> check_finite(torch.tensor([0.0, float("nan")]))
    Traceback (most recent call last):
    losslab.errors.InputError: the model's logits are not finite (1 of 2): its weights are damaged or diverged; train it again
    """
    if broken := int((~logits.isfinite()).sum()):
        reason = "its weights are damaged or diverged; train it again"
        raise InputError(f"the model's logits are not finite ({broken} of {logits.numel()}): {reason}")


def to_labels(logits: Tensor) -> Tensor:
    """Return the class of the largest logit, `[N, C, H, W]` → int64 `[N, H, W]`; of one logit, 1 if it is positive.

    >>> to_labels(torch.tensor([-0.5, 2.0]).view(1, 1, 1, 2)).tolist()
    [[[0, 1]]]
    """
    # argmax gives the same, and on a CPU takes six times as long.
    return (logits.squeeze(1) > 0).long() if logits.shape[1] == 1 else logits.max(dim=1).indices


def to_probabilities(logits: Tensor) -> Tensor:
    """Turn logits `[N, C, H, W]` into probabilities `[N, max(C, 2), H, W]`; one logit is that of class 1 of two."""
    if logits.shape[1] == 1:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return logits.softmax(dim=1)
