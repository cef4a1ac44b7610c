"""The second U-Net of seed 1: strided convolutions for pooling, transposed ones for upsampling, no batch norm.

Its skips are taken after the downsampling, so none has the image's own resolution.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


class StridedUNet(nn.Module):
    """Images float `[N, in_channels, H, W]`, H and W multiples of 16 → logits `[N, num_classes, H, W]`."""

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        downwards, upwards = (in_channels, 64, 128, 256, 512), (512, 256, 128, 64, 64)
        self.encoder = nn.ModuleList(_build_down(before, after) for before, after in pairwise(downwards))
        self.bottleneck = nn.Sequential(
            nn.Conv2d(512, 1024, 3, padding=1), nn.ReLU(), nn.Conv2d(1024, 512, 3, padding=1), nn.ReLU()
        )
        self.decoder = nn.ModuleList(_build_up(2 * before, before, after) for before, after in pairwise(upwards))
        self.output = nn.Conv2d(64, num_classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features, skips = images, []
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        features = self.bottleneck(features)
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            features = stage(torch.cat([features, skip], dim=1))
        logits: Tensor = self.output(features)
        return logits


def _build_down(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 2, stride=2),
        nn.ReLU(),
    )


def _build_up(in_channels: int, between: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, between, 2, stride=2),
        nn.ReLU(),
        nn.Conv2d(between, out_channels, 3, padding=1),
        nn.ReLU(),
    )
