"""The size and the operations of each arch, counted on torch's meta device where it can be built there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from losslab.models import build_model
from losslab.models.probe import build_on_cpu, build_on_meta, is_about_meta
from losslab.models.registry import find_arch
from losslab.models.segmentation_net import SegmentationNet
from losslab.models.smp_nets import check_encoder_names, find_obstacle


@dataclass(frozen=True, kw_only=True)
class ArchCost:
    """The parameters and operations of an arch on an encoder."""

    arch: str
    encoder: str | None
    """The requested one, or the first of the arch's own encoders if the two cannot be combined."""
    parameters: int
    gflops: float | None
    """10^9 floating-point operations for one image, forward, two for a multiplication with its addition; counted are
    convolutions, matrix products and attention. None if the net cannot take images of this size."""
    stride: int
    summary: str
    source: str


def measure_arch_cost(
    arch: str,
    size: int,
    num_classes: int,
    encoder: str | None,
    options: Mapping[str, Any] | None = None,
    in_channels: int = 3,
) -> ArchCost:
    """Count an arch's parameters, and its operations on one image of size x size pixels.

    Raises:
        InputError: smp and timm do not know the encoder.

    >>> cost = measure_arch_cost("simple_cnn", 32, 1, None)
    >>> cost.parameters, cost.gflops
    (7217, 0.004)
    """
    spec = find_arch(arch)
    if encoder is not None:
        check_encoder_names(encoder, None)
    if spec.takes_encoder and (encoder is None or find_obstacle(arch, encoder) is not None):
        encoder = spec.encoders[0]
    chosen = encoder if spec.takes_encoder else None
    try:
        with build_on_meta():
            net = build_model(arch, num_classes, chosen, in_channels=in_channels, options=options)
    except RuntimeError as error:
        if not is_about_meta(error):
            raise
        with build_on_cpu():
            net = build_model(arch, num_classes, chosen, in_channels=in_channels, options=options)
    return ArchCost(
        arch=arch,
        encoder=chosen,
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        gflops=_count_gflops(net, size),
        stride=net.stride,
        summary=spec.summary,
        source=spec.source,
    )


def _count_gflops(net: SegmentationNet, size: int) -> float | None:
    device = next(net.parameters()).device
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            net.eval()(torch.zeros(1, net.in_channels, size, size, device=device))
    except (RuntimeError, AssertionError, ValueError):  # some encoders take one size only
        return None
    return round(float(counter.get_total_flops()) / 1e9, 3)
