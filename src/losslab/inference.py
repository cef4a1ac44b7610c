"""From images to label maps with a trained net."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from losslab.devices import autocast


def to_input(images: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> Tensor:
    """uint8 `[N, H, W, 3]` → normalised float32 `[N, 3, H, W]`, channels_last; mean and std in 0..1 units."""
    scale = torch.as_tensor(std, device=images.device) * 255
    shift = torch.as_tensor(mean, device=images.device) * 255
    return ((images.float() - shift) / scale).permute(0, 3, 1, 2)


def to_labels(logits: Tensor) -> Tensor:
    """Logits `[N, C, H, W]` → int64 `[N, H, W]`: the largest; with one logit, 1 where it is positive."""
    return (logits.squeeze(1) > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)


def predict(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    mean: Sequence[float],
    std: Sequence[float],
    precision: str,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (prediction, target), both int64 `[N, H, W]` on the CPU, for batches of uint8 `[N, H, W, 3]` images."""
    net = net.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    for images, target in batches:
        with torch.inference_mode(), autocast(precision, device):
            logits = net(to_input(images.to(device), mean, std))
        yield to_labels(logits.float()).cpu(), target.long()
