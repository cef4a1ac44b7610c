"""The line of a loss's own file at which a pass over it goes wrong."""

from collections.abc import Callable, Iterator
from functools import partial
from inspect import currentframe
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

Finder = Callable[["Call"], bool | None]
"""Says whether a call is the one looked for; None: only if there is no better one."""


class Call:
    """A call of torch: what it took, before and after, and what it returned."""

    def __init__(self, arguments: Any) -> None:
        self.given = list(_list_tensors(arguments))
        self.copies = [tensor.detach().clone() for tensor in self.given]
        self.random_state = torch.get_rng_state()
        self.returned: list[Tensor] = []


class CallTracer(TorchFunctionMode):
    """Watches the calls of torch that a file makes, directly or through others, and keeps the line that a finder wants.

    Use it as a context, around a forward and a backward pass; `line` holds the answer then, or None.
    """

    def __init__(self, file: Path, finder: Finder) -> None:
        super().__init__()
        self.file, self.finder = str(file), finder
        self.line: int | None = None
        self._is_certain = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        line = self._find_line()
        if line is None or self._is_certain:
            return func(*args, **(kwargs or {}))
        call = Call((args, kwargs))
        result = func(*args, **(kwargs or {}))
        call.returned = list(_list_tensors(result))
        answer = self.finder(call)
        if answer or (answer is None and self.line is None):
            self.line, self._is_certain = line, bool(answer)
        for tensor in call.given:
            if self.finder is find_not_finite and tensor.requires_grad:
                tensor.register_hook(partial(self._watch, line))  # type: ignore[no-untyped-call]
        return result

    def _watch(self, line: int, gradient: Tensor) -> None:
        """Keep the line of the first call through which a gradient that is not finite goes back."""
        if not self._is_certain and not gradient.isfinite().all():
            self.line, self._is_certain = line, True

    def _find_line(self) -> int | None:
        frame = currentframe()
        while frame is not None:
            if frame.f_code.co_filename == self.file:
                return int(frame.f_lineno)
            frame = frame.f_back
        return None


def find_changed(call: Call) -> bool:
    """Find the call that changes what it took."""
    return any(not torch.equal(now, before) for now, before in zip(call.given, call.copies, strict=True))


def find_cut(call: Call) -> bool | None:
    """Find the call that returns what it took without its gradient, or else one that makes something new without."""
    if not call.given or not call.given[0].requires_grad or not call.returned or call.returned[0].requires_grad:
        return False
    return call.returned[0].data_ptr() == call.given[0].data_ptr() or None


def find_not_finite(call: Call) -> bool:
    """Find the call that makes a number which is not finite from such as are."""
    return all(tensor.isfinite().all() for tensor in call.copies) and not all(
        tensor.isfinite().all() for tensor in call.returned
    )


def find_random(call: Call) -> bool:
    """Find the call that draws random numbers."""
    return not torch.equal(torch.get_rng_state(), call.random_state)


def _list_tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _list_tensors(each)
