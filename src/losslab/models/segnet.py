"""SegNet (Badrinarayanan, Kendall and Cipolla 2015, arXiv 1511.00561) as seed 1 writes it out."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (256, 256, 256), (128, 128, 128), (64, 64, 64), (64, 64))
"""Channels of each stage's convolutions; the seed's decoder narrows at a stage's first, the paper's at its last."""


class SegNet(nn.Module):
    """Images float `[N, in_channels, H, W]`, H and W multiples of 32 → logits `[N, num_classes, H, W]`."""

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        ends = [in_channels, *(stage[-1] for stage in (*ENCODER, *DECODER))]
        stages = [_build_stage(*around) for around in zip(ends, (*ENCODER, *DECODER), strict=False)]
        self.encoder = nn.ModuleList(stages[: len(ENCODER)])
        self.decoder = nn.ModuleList(stages[len(ENCODER) :])
        self.output = nn.Conv2d(ends[-1], num_classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features, places_by_stage = images, []
        for stage in self.encoder:
            features, places = F.max_pool2d(stage(features), 2, return_indices=True)
            places_by_stage.append(places)
        for stage, places in zip(self.decoder, reversed(places_by_stage), strict=True):
            features = stage(unpool(features, places))
        logits: Tensor = self.output(features)
        return logits


def unpool(features: Tensor, places: Tensor) -> Tensor:
    """Put each value back where `max_pool2d(..., 2, return_indices=True)` took it from, with zeros elsewhere.

    `F.max_unpool2d` does the same, but refuses to run with deterministic algorithms. Windows that do not overlap name
    no place twice, so the order of writing cannot matter.

    Shape: features and places `[N, C, H, W]` → `[N, C, 2H, 2W]`.

    >>> unpool(torch.tensor([[[[5.0]]]]), torch.tensor([[[[2]]]])).tolist()
    [[[[0.0, 0.0], [5.0, 0.0]]]]
    """
    images, channels, height, width = features.shape
    grid = features.new_zeros(images, channels, 4 * height * width)
    grid = grid.scatter(2, places.flatten(2), features.flatten(2))
    unpooled = grid.view(images, channels, 2 * height, 2 * width)
    channels_last = features.is_contiguous(memory_format=torch.channels_last)
    return unpooled.contiguous(memory_format=torch.channels_last) if channels_last else unpooled


def _build_stage(in_channels: int, channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise((in_channels, *channels)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)
