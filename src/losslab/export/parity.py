"""Comparison of an exported file's logits with those of the net in torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from losslab.data.images.decode import Pixels
from losslab.export.formats import NetFunction
from losslab.inference.tensors import InputScaling, check_finite, to_labels
from losslab.models.segmentation_net import SegmentationNet

Batches = Sequence[Pixels]
"""Batches of images uint8 `[N, H, W, 3]`, each of one size."""


@dataclass(frozen=True)
class ParityReport:
    difference: float
    """Largest absolute difference between two logits; NaN if one of them is NaN."""
    changed: int
    """Number of pixels with another label."""
    pixels: int
    shapes: tuple[str, ...]
    """Shapes of the batches, as N x H x W."""


def measure_parity(
    net: SegmentationNet, mean: Sequence[float], std: Sequence[float], run: NetFunction, batches: Batches
) -> ParityReport:
    """Compare the logits of a file, as `run` computes them, with those of its net in float32 on the CPU.

    Raises InputError if those of its net are not finite.
    """
    difference, changed, pixels = 0.0, 0, 0
    for images in batches:
        with torch.no_grad():
            expected = net(InputScaling({"mean": mean, "std": std})(torch.from_numpy(images)))
        check_finite(expected)
        got = torch.from_numpy(run(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)))
        if got.shape != expected.shape:
            raise RuntimeError(f"its logits have shape {list(got.shape)}, not {list(expected.shape)}")
        difference = float(np.maximum(difference, float((got - expected).abs().max())))  # NaN stays NaN
        changed += int((to_labels(got) != to_labels(expected)).sum())
        pixels += images[..., 0].size
    shapes = tuple("x".join(map(str, images.shape[:3])) for images in batches)
    return ParityReport(difference, changed, pixels, shapes)
