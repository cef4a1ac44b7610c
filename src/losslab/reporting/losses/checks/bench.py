"""A loss under test, built for one logit and for three classes, and small batches to test it on."""

import inspect
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from losslab.errors import InputError, shorten
from losslab.losses import build_loss
from losslab.losses.plugin_loss import PluginLoss
from losslab.losses.registry import find_loss
from losslab.losses.total import TotalLoss
from losslab.reporting.losses.checks.tracing import CallTracer, Finder

VOID = 255
"""The label that is ignored."""
MARGIN = 12.0
"""Logit of a confident prediction: near certainty, and short of where probabilities round to 0 or 1."""


Verdict = Literal["pass", "note", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check has found."""

    verdict: Verdict | Literal["blind"]
    """The verdict; blind: a note for a loss that has a partner, which sees what it does not, else FAIL."""
    text: str
    line: int | None = None
    """Line of the loss's own file; None: that of its definition."""


class Bench:
    """A loss under test: built for each number of classes that it is defined for, and the place of its code.

    >>> bench = Bench("dice")
    >>> bench.counts, bench.file.name
    ((1, 3), 'region.py')
    """

    def __init__(self, name: str, options: dict[str, Any] | None = None) -> None:
        """Build the loss. Raises InputError for an unknown name or option, and where no number of classes can be used."""
        self.spec = find_loss(name)
        self.options = options or {}
        self.losses: dict[int, TotalLoss] = {}
        self.undefined: dict[int, str] = {}
        """Number of classes → why the loss refuses it."""
        for num_classes in (1, 3):
            try:
                loss = self.build(num_classes)
            except InputError as error:
                self.undefined[num_classes] = str(error)
                continue
            try:
                loss(*draw_batch(num_classes))
            except Exception as error:  # any other is a fault, which the checks describe
                raised = error.__cause__ if isinstance(error, InputError) else error
                if isinstance(raised, ValueError):
                    self.undefined[num_classes] = str(error)
                    continue
            self.losses[num_classes] = loss
        if not self.losses:
            raise InputError(self.undefined[3])
        self.counts = tuple(self.losses)
        self.code = get_code(next(iter(self.losses.values())).losses[name])
        self.file = Path(inspect.getsourcefile(inspect.unwrap(self.code)) or "")

    def build(self, num_classes: int) -> TotalLoss:
        return build_loss(self.spec.name, num_classes, VOID, options=self.options)

    def differentiate(self, num_classes: int, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Compute value and gradient. Raises RuntimeError where no gradient reaches the logits."""
        value, gradient = self.try_to_differentiate(num_classes, logits, target)
        if gradient is None:
            raise RuntimeError("no gradient reaches the logits")
        return value, gradient

    def try_to_differentiate(self, num_classes: int, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Compute value and gradient; None in its place where none reaches the logits."""
        leaf = logits.detach().clone().requires_grad_()
        value = self.losses[num_classes](leaf, target)
        gradient = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
        return value.detach(), gradient

    def compute(self, num_classes: int, logits: Tensor, target: Tensor) -> float:
        with torch.no_grad():
            return float(self.losses[num_classes](logits, target))

    def ignore_some(self, num_classes: int, target: Tensor) -> Tensor:
        """Return a target with a few ignored pixels; the same one if the loss fails on such, which has a check of its own."""
        ignored = target.clone()
        ignored[0, 0, :2] = VOID
        try:
            self.compute(num_classes, draw_batch(num_classes, len(target), target.shape[-1])[0], ignored)
        except Exception:
            return target
        return ignored

    def get_place(self, line: int | None = None) -> str:
        """Return `file:line`: that of the definition where there is no line."""
        is_own = self.spec.kind == "plug-in"
        origin = self.spec.target.rpartition(":")[0] if is_own else f"losslab/losses/{self.file.name}"
        return f"{origin}:{line or inspect.getsourcelines(self.code)[1]}"

    def find_line(self, error: Exception) -> int | None:
        """Return the last line of the loss's file that an error came through."""
        frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
        return next((frame.lineno for frame in reversed(frames) if frame.filename == str(self.file)), None)

    def trace(self, num_classes: int, logits: Tensor, target: Tensor, finder: Finder) -> int | None:
        """Return the line of the loss's file at which a finder sees what it looks for, in a forward and backward pass."""
        leaf = logits.detach().clone().requires_grad_()
        tracer = CallTracer(self.file, finder)
        with suppress(Exception), tracer:  # what is wrong is known by now; only the line is looked for
            self.losses[num_classes](leaf, target).backward()
        return tracer.line


def get_code(loss: nn.Module) -> Any:
    """Return the function or class that a loss is written as."""
    return loss.function if isinstance(loss, PluginLoss) else type(loss)


def describe_fault(error: BaseException) -> str:
    """Say in part of a line what a loss raised: what losslab says of it, else type and text."""
    text = " ".join(str(error).split())
    return shorten((text if isinstance(error, InputError) else f"{type(error).__name__}: {text}").rstrip("."))


def describe_not_finite(value: Tensor, gradient: Tensor) -> str | None:
    """Say in part of a line which of value and gradient is not finite; None if both are."""
    if not value.isfinite():
        return f"the value is {value:g}"
    return None if gradient.isfinite().all() else "the gradient is not finite"


def name_form(num_classes: int) -> str:
    """Name a number of classes in a sentence; 1 is binary data."""
    return "with one logit" if num_classes == 1 else f"for {num_classes} classes"


def draw_batch(
    num_classes: int, n: int = 2, side_px: int = 6, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Draw random logits `[n, C, side, side]` and labels `[n, side, side]`; C is 1 for binary data.

    >>> draw_batch(1)[1].unique().tolist()
    [0, 1]
    """
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(n, num_classes, side_px, side_px, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(0, max(num_classes, 2), (n, side_px, side_px), generator=generator)


def build_right_logits(target: Tensor, num_classes: int, margin: float = MARGIN) -> Tensor:
    """Build logits that predict the target with confidence: ± the margin, float64."""
    if num_classes == 1:
        return (target.unsqueeze(1).double() * 2 - 1) * margin
    return (F.one_hot(target, num_classes).permute(0, 3, 1, 2).double() * 2 - 1) * margin


def build_wrong_logits(right: Tensor) -> Tensor:
    """Turn right logits into those of another class at each pixel."""
    return -right if right.shape[1] == 1 else right.roll(1, dims=1)
