"""Comparison of an exported file's logits with those of the net in torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from losslab.cards import has_overlapping_labels
from losslab.export.formats import NetFunction
from losslab.inference.tensors import InputScaling, check_finite, to_labels
from losslab.io.windows import Values
from losslab.models.segmentation_net import SegmentationNet

Batches = Sequence[Values]
"""Batches of images as their files have them, `[N, H, W, B]`, each of one size."""


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
    net: SegmentationNet, description: Mapping[str, Any], run: NetFunction, batches: Batches
) -> ParityReport:
    """Compare the logits of a file, as `run` computes them, with those of its net in float32 on the CPU.

    Raises InputError if those of its net are not finite.
    """
    scaling, difference, changed, pixels = InputScaling(description), 0.0, 0, 0
    overlapping = has_overlapping_labels(description)
    for images in batches:
        with torch.no_grad():
            expected = net(scaling(torch.from_numpy(images)))
        check_finite(expected)
        got = torch.from_numpy(run(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)))
        if got.shape != expected.shape:
            raise RuntimeError(f"its logits have shape {list(got.shape)}, not {list(expected.shape)}")
        difference = float(np.maximum(difference, float((got - expected).abs().max())))  # NaN stays NaN
        labels, wanted = (to_labels(logits, overlapping) for logits in (got, expected))
        differs = labels != wanted
        changed += int((differs.any(dim=-1) if overlapping else differs).sum())
        pixels += images[..., 0].size
    shapes = tuple("x".join(map(str, images.shape[:3])) for images in batches)
    return ParityReport(difference, changed, pixels, shapes)
