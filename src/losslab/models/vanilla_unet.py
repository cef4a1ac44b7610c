"""U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597) as seed 1 writes it out: no batch norm."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VanillaUNet(nn.Module):
    """Images float `[N, in_channels, H, W]`, H and W multiples of 16 → logits `[N, num_classes, H, W]`."""

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        downwards, upwards = (in_channels, 64, 128, 256, 512), (512, 256, 128, 64, 64)
        self.encoder = nn.ModuleList(_build_stage(before, after, after) for before, after in pairwise(downwards))
        self.bottleneck = _build_stage(512, 1024, 512)
        self.decoder = nn.ModuleList(_build_stage(2 * before, before, after) for before, after in pairwise(upwards))
        self.output = nn.Conv2d(64, num_classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features, skips = images, []
        for stage in self.encoder:
            skips.append(stage(features))
            features = F.max_pool2d(skips[-1], 2)
        features = self.bottleneck(features)
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            features = stage(torch.cat([F.interpolate(features, scale_factor=2), skip], dim=1))
        logits: Tensor = self.output(features)
        return logits


def _build_stage(in_channels: int, between: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, between, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(between, out_channels, 3, padding=1),
        nn.ReLU(),
    )
