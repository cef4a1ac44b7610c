"""Cheap trials of nets on torch's meta device, which knows shapes but no numbers."""

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
    """Build nets without memory inside this context, and leave torch's random numbers as they are."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), _MetaBuild():
        yield


@contextmanager
def build_on_cpu() -> Iterator[None]:
    """Build real nets inside this context, and leave torch's random numbers as they are."""
    with torch.random.fork_rng(devices=[]):
        yield


def find_fault(net: nn.Module, size: int, training: bool = False) -> str | None:
    """Return why the net cannot turn one image of size x size into logits of that size, or None if it can."""
    reason = None
    for device in ("meta", "cpu"):
        if device == "cpu" and any(parameter.is_meta for parameter in net.parameters()):
            break
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            try:
                # A copy, so that neither cached values nor the counts of batch norm stay behind in the net.
                trial = copy.deepcopy(net).to(device).train(training)
                image = torch.zeros(1, getattr(net, "in_channels", 3), size, size, device=device)
                shape = tuple(trial(image).shape[-2:])
            except Exception as error:
                reason = shorten_error(error)
                if not is_about_meta(error):
                    break
                continue
        return None if shape == (size, size) else f"its logits have {shape[0]}x{shape[1]} pixels"
    return reason


def is_about_meta(reason: str | Exception) -> bool:
    """Return whether an error may come from the meta device, which lacks operations, or from tensors left off it."""
    return "meta" in str(reason).lower()


def shorten_error(error: Exception) -> str:
    r"""Return the message of an error on one line, cut to 200 characters; its type if it has no message.

    >>> shorten_error(ValueError("first line\nsecond line")), shorten_error(ValueError())
    ('first line second line', 'ValueError')
    """
    return textwrap.shorten(str(error), 200, placeholder=" …") or type(error).__name__


class _MetaBuild(TorchFunctionMode):
    """Skip initial weights, and keep on the CPU the numbers that some nets read while they are built."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            return args[0]
        kwargs = kwargs or {}
        if func is torch.linspace:  # rates of stochastic depth, which are read out one by one
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


_DRAWS = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_, torch.Tensor.clamp_}
