"""One net whose weights are the mean of those of several."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from losslab.errors import InputError


def average_weights(nets: Sequence[nn.Module], names: Sequence[str]) -> nn.Module:
    """Build a net whose weights are the mean of those of several, a model soup (Wortsman et al. 2022, 2203.05482).

    The mean is taken in float64. Buffers of whole numbers are those of the first net. What batch norms have counted of
    images is averaged too and means little: see `list_norms`.

    Args:
        nets: at least one; the result is a copy of the first with other weights.
        names: names of the nets, for errors.

    Raises:
        InputError: a net has other tensors, or of other shapes, than the first.

    >>> nets = [nn.Linear(1, 1), nn.Linear(1, 1)]
    >>> _ = [nn.init.constant_(net.weight, value) for net, value in zip(nets, (1.0, 2.0))]
    >>> average_weights(nets, ["a", "b"]).weight.item()
    1.5
    """
    states = [net.state_dict() for net in nets]
    shapes = [{name: tuple(tensor.shape) for name, tensor in state.items()} for state in states]
    for name, own in zip(names[1:], shapes[1:], strict=True):
        if differing := [key for key in shapes[0] | own if shapes[0].get(key) != own.get(key)]:
            key = differing[0]
            one, other = shapes[0].get(key, "nothing"), own.get(key, "nothing")
            raise InputError(
                f"the weights of {names[0]} and {name} cannot be averaged: {key} has shape {one} and {other}; average their "
                "probabilities"
            )
    soup = copy.deepcopy(nets[0])
    soup.load_state_dict({key: _average([state[key] for state in states]) for key in states[0]})
    return soup


def list_norms(net: nn.Module) -> list[_BatchNorm]:
    """List the batch norms that count images, whose statistics are no mean of those of several nets."""
    return [part for part in net.modules() if isinstance(part, _BatchNorm) and part.running_mean is not None]


def _average(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first
    total = first.double()
    for tensor in tensors[1:]:
        total = total + tensor.double().to(total.device)
    return (total / len(tensors)).to(first.dtype)


def reset_norms(norms: Sequence[_BatchNorm]) -> None:
    """Let batch norms forget what they have counted, and take the mean over all batches that they are shown next."""
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()


def check_same_kind(kinds: Sequence[dict[str, object]], names: Sequence[str]) -> None:
    """Raise InputError unless nets of these `arch`, `arch_options` and `encoder` can share their weights."""
    for name, kind in zip(names[1:], kinds[1:], strict=True):
        for key, value in kind.items():
            if value != kinds[0][key]:
                raise InputError(
                    f"the weights of {names[0]} and {name} cannot be averaged: {key} is {kinds[0][key]} and {value}; average "
                    "their probabilities"
                )
