"""What goes into a net, and what its logits mean."""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_input(images: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> Tensor:
    """uint8 `[N, H, W, 3]` → normalised float32 `[N, 3, H, W]`, channels_last; mean and std in 0..1 units."""
    scale = torch.as_tensor(std, device=images.device) * 255
    shift = torch.as_tensor(mean, device=images.device) * 255
    return ((images.float() - shift) / scale).permute(0, 3, 1, 2)


def to_labels(logits: Tensor) -> Tensor:
    """Logits `[N, C, H, W]` → int64 `[N, H, W]`: the largest; with one logit, 1 where it is positive."""
    # argmax gives the same, and on a CPU takes six times as long.
    return (logits.squeeze(1) > 0).long() if logits.shape[1] == 1 else logits.max(dim=1).indices


def to_probabilities(logits: Tensor) -> Tensor:
    """Logits `[N, C, H, W]` → the probability of each class `[N, max(C, 2), H, W]`; one logit is of the second of two."""
    if logits.shape[1] == 1:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    return logits.softmax(dim=1)
