"""Trying nets out without paying for them: on torch's meta device, which knows shapes but no numbers."""

import copy
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


@contextmanager
def build_on_meta() -> Iterator[None]:
    """Nets built within have no memory, and draw nothing from the random numbers of those that have."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _MetaBuild():
        yield


@contextmanager
def build_on_cpu() -> Iterator[None]:
    """Nets built within are real, but draw nothing from the random numbers of others."""
    with torch.random.fork_rng(devices=[]):
        yield


def find_fault(net: nn.Module, size: int, training: bool = False) -> str | None:
    """Why the net cannot turn one image of size x size into logits of that size; None where it can.

    The net stays as it is: a copy is tried, so that neither what it caches nor what batch norm counts is left behind.
    """
    reason = None
    for device in ("meta", "cpu"):
        if device == "cpu" and any(parameter.is_meta for parameter in net.parameters()):
            break
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            try:
                trial = copy.deepcopy(net).to(device).train(training)
                shape = tuple(trial(torch.zeros(1, 3, size, size, device=device)).shape[-2:])
            except Exception as error:
                reason = shorten_error(error)
                if not is_about_meta(error):
                    break
                continue
        return None if shape == (size, size) else f"its logits have {shape[0]}x{shape[1]} pixels"
    return reason


def is_about_meta(reason: str | Exception) -> bool:
    """Whether an error may be of the meta device, which lacks operations, or of tensors that no move to it found."""
    return "meta" in str(reason).lower()


def shorten_error(error: Exception) -> str:
    """What an error says, as the start of one line; its type where it says nothing."""
    return textwrap.shorten(str(error), 200, placeholder=" …") or type(error).__name__


class _MetaBuild(TorchFunctionMode):
    """Lets nets be built on the meta device that read numbers while they are, and spares them initial weights."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            return args[0]
        kwargs = kwargs or {}
        if func is torch.linspace:  # rates of stochastic depth, which are read out one by one
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


_DRAWS = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_, torch.Tensor.clamp_}
