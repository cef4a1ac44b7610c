"""The U-Nets (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597) that seed 1 writes out, both without batch norm."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS, UPWARDS = (64, 128, 256, 512), (512, 256, 128, 64, 64)
"""Channels of the encoder's stages, and those into and out of the decoder's."""


class VanillaUNet(nn.Module):
    """Images float `[N, in_channels, H, W]`, H and W multiples of 16 → logits `[N, num_classes, H, W]`."""

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            _build_stage(before, after, after) for before, after in pairwise((in_channels, *WIDTHS))
        )
        self.bottleneck = _build_stage(512, 1024, 512)
        self.decoder = nn.ModuleList(_build_stage(2 * before, before, after) for before, after in pairwise(UPWARDS))
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


class StridedUNet(nn.Module):
    """VanillaUNet with strided convolutions for pooling, and transposed ones for upsampling.

    Its skips are taken after the downsampling, so none has the image's own resolution. Shapes are VanillaUNet's.
    """

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(_build_down(before, after) for before, after in pairwise((in_channels, *WIDTHS)))
        self.bottleneck = _build_stage(512, 1024, 512)
        self.decoder = nn.ModuleList(_build_up(2 * before, before, after) for before, after in pairwise(UPWARDS))
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


def _build_stage(in_channels: int, between: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(*_convolve(in_channels, between), *_convolve(between, out_channels))


def _build_down(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(*_convolve(in_channels, channels), nn.Conv2d(channels, channels, 2, stride=2), nn.ReLU())


def _build_up(in_channels: int, between: int, out_channels: int) -> nn.Sequential:
    transposed = nn.ConvTranspose2d(in_channels, between, 2, stride=2)
    return nn.Sequential(transposed, nn.ReLU(), *_convolve(between, out_channels))


def _convolve(in_channels: int, out_channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU()
