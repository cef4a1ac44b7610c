"""Watches for a loss or gradient that is not finite, without making a device wait at every step."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from losslab.errors import DivergedError

PATIENCE = 50
"""Steps that a device may run ahead of the check; on the CPU each is checked at once, before it can reach the weights."""


@dataclass(frozen=True)
class _Seen:
    """What one step left to check; `values` are the terms, their sum and the largest logit, or a gradient's norm."""

    step: int
    what: str
    values: Tensor


class DivergenceWatch:
    """Collects what each step computed, and raises DivergedError for the first that is not finite."""

    def __init__(self, names: list[str], lr: float) -> None:
        self.names, self.lr = names, lr
        self.seen: list[_Seen] = []
        self.epoch, self.phase, self.precision, self.step, self.alone = 0, "train", "32-true", 0, True

    def begin(self, epoch: int, phase: str, trainer: Any) -> None:
        self.epoch, self.phase, self.precision = epoch, phase, str(trainer.precision)
        self.alone = trainer.world_size == 1

    def loss(self, step: int, logits: Tensor, terms: dict[str, Tensor], total: Tensor) -> None:
        """Note a step's terms and sum. Raises DivergedError, here or within some steps."""
        self.step = step
        with torch.no_grad():
            extremes = torch.stack(logits.detach().aminmax()).float()
            values = torch.cat([torch.stack([*terms.values(), total]).detach().float(), extremes])
        self._note(_Seen(step, "loss", values))

    def gradient(self, norm: Tensor) -> None:
        """Note the norm of the gradient of the last step. Raises DivergedError, here or within some steps."""
        self._note(_Seen(self.step, "gradient", norm.detach().reshape(1)))

    def drain(self) -> None:
        """Check what was noted since the last time. Raises DivergedError."""
        seen, self.seen = self.seen, []
        if not seen:
            return
        values: list[float] = torch.cat([item.values for item in seen]).tolist()
        for item in seen:
            own, values = values[: len(item.values)], values[len(item.values) :]
            if not all(map(math.isfinite, own)):
                where = f"epoch {self.epoch + 1}, {self.phase} step {item.step + 1}"
                raise DivergedError(f"{where}: {self._diagnosis(item.what, own)}")

    def _note(self, seen: _Seen) -> None:
        self.seen.append(seen)
        if self.alone:
            due = seen.values.device.type == "cpu" or len(self.seen) >= PATIENCE
        else:  # none of several processes may stop alone, the others would wait for it: the gradient they have in common
            due = seen.what == "gradient" and (seen.values.device.type == "cpu" or len(self.seen) >= 2 * PATIENCE)
        if due:
            self.drain()

    def _diagnosis(self, what: str, values: list[float]) -> str:
        """What is not finite, and what to do about it."""
        if what == "gradient":
            return (
                f"the gradient of {' + '.join(self.names)} is not finite, though the loss is: give milder loss_options, "
                f"or set train.lr below {self.lr:g}"
            )
        *terms, _, low, high = values
        wrong = {name: value for name, value in zip(self.names, terms, strict=True) if not math.isfinite(value)}
        found = ", ".join(f"{name} is {value}" for name, value in wrong.items()) or "the sum of all terms is not finite"
        lower = f"set train.lr below {self.lr:g}"
        if not math.isfinite(low) or not math.isfinite(high):
            other = " or train.precision to bf16-mixed or 32-true" if self.precision == "16-mixed" else ""
            return f"the loss term {found}, as the net's output is not finite: {lower}{other}"
        names = ", ".join(wrong or self.names)
        return (
            f"the loss term {found} on finite output: give {names} a smaller weight or milder loss_options, or {lower}"
        )
