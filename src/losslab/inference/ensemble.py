"""Several nets that answer as one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from losslab.cards import has_overlapping_labels
from losslab.inference.tensors import average_logits


class EnsembleNet(nn.Module):
    """Nets as one: its logits are those of the mean of their probabilities, of one net after the other.

    Args:
        nets: at least one, such as `SegmentationNet`s; `stride` and `smallest` become such that all take an image.
        descriptions: of each net, in which `mean` and `std` of the bands may differ. Images come normalised by those of
            the first, and each net sees them normalised by its own.

    >>> twice = EnsembleNet([nn.Sequential(nn.Conv2d(3, 2, 1))] * 2, [{"mean": [0.5] * 3, "std": [0.2] * 3}] * 2)
    >>> twice(torch.zeros(1, 3, 4, 4)).shape
    torch.Size([1, 2, 4, 4])
    """

    def __init__(self, nets: Sequence[nn.Module], descriptions: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)
        self.stride = math.lcm(*(getattr(net, "stride", 1) for net in nets))
        self.smallest = max(getattr(net, "smallest", 1) for net in nets)
        self.in_channels = len(descriptions[0]["mean"])
        self.overlapping = has_overlapping_labels(descriptions[0])
        first, *_ = ends = [
            [torch.tensor(each[key], dtype=torch.float64) for key in ("mean", "std")] for each in descriptions
        ]
        self.is_same = [all(map(torch.equal, first, own)) for own in ends]
        for number, (mean, std) in enumerate(ends):
            scale, shift = first[1] / std, (first[0] - mean) / std
            self.register_buffer(f"scale_{number}", scale.float().view(1, -1, 1, 1), persistent=False)
            self.register_buffer(f"shift_{number}", shift.float().view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        several = (net(self._normalise(images, number)).float() for number, net in enumerate(self.nets))
        return average_logits(several, self.overlapping)

    def _normalise(self, images: Tensor, number: int) -> Tensor:
        if self.is_same[number]:
            return images
        return images * self.get_buffer(f"scale_{number}") + self.get_buffer(f"shift_{number}")
