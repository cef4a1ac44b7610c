"""A net that a plug-in builds, checked before it is used."""

from typing import Any

import torch
from torch import nn

from losslab.errors import InputError
from losslab.models.registry import ArchSpec
from losslab.plugins.loading import call_plugin, check_options, load_plugin, raise_plugin_error


def build_plugin_net(spec: ArchSpec, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    """Build the net. Raises InputError that names the file for one that fails, or whose logits have another shape."""
    origin, _, attribute = spec.target.rpartition(":")
    build = load_plugin(origin, attribute)
    sizes = {"num_classes": num_classes, "in_channels": in_channels}
    net = call_plugin(build, origin, sizes | check_options(build, origin, options))
    if not isinstance(net, nn.Module):
        raise InputError(f"{origin}: {attribute} returned {type(net).__name__}; a net is a torch.nn.Module")
    side = max(spec.stride, spec.smallest)
    training = net.training
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            logits = net.eval()(torch.zeros(1, in_channels, side, 2 * side))
        except Exception as error:
            raise_plugin_error(error, origin)
    net.train(training)
    expected = (1, num_classes, side, 2 * side)
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != expected:
        got = list(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(
            f"{origin}: {attribute} gave {got} for images {[1, in_channels, side, 2 * side]}; its logits must be "
            f"{list(expected)}, of the size of the images"
        )
    return net
