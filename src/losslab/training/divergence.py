"""Watches for a loss or gradient that is not finite, without making a device wait at every step."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from losslab.errors import DivergedError

MAX_STEPS_AHEAD = 50
"""Steps that a device may run ahead of the check; on the CPU each is checked at once, before it can reach the weights."""


@dataclass(frozen=True)
class _StepValues:
    """What one step left to check."""

    step: int
    kind: Literal["loss", "gradient"]
    values: Tensor
    """The terms, their sum, and the smallest and largest logit; or the norm of the gradient."""


class DivergenceWatch:
    """Collects what each step computed, and raises DivergedError for the first that is not finite."""

    def __init__(self, names: list[str], lr: float) -> None:
        self.names, self.lr = names, lr
        self.noted: list[_StepValues] = []
        self.epoch, self.phase, self.precision, self.step, self.alone = 0, "train", "32-true", 0, True

    def begin(self, epoch: int, phase: str, trainer: Any) -> None:
        self.epoch, self.phase, self.precision = epoch, phase, str(trainer.precision)
        self.alone = trainer.world_size == 1

    def note_loss(self, step: int, logits: Tensor, terms: dict[str, Tensor], total: Tensor) -> None:
        """Note the terms and the sum of a step. Raises DivergedError, here or within some steps."""
        self.step = step
        with torch.no_grad():
            extremes = torch.stack(logits.detach().aminmax()).float()
            values = torch.cat([torch.stack([*terms.values(), total]).detach().float(), extremes])
        self._note(_StepValues(step, "loss", values))

    def note_gradient(self, norm: Tensor) -> None:
        """Note the norm of the gradient of the last step. Raises DivergedError, here or within some steps."""
        self._note(_StepValues(self.step, "gradient", norm.detach().reshape(1)))

    def drain(self) -> None:
        """Check what was noted since the last time. Raises DivergedError."""
        noted, self.noted = self.noted, []
        if not noted:
            return
        values: list[float] = torch.cat([item.values for item in noted]).tolist()
        for item in noted:
            own, values = values[: len(item.values)], values[len(item.values) :]
            if not all(map(math.isfinite, own)):
                where = f"epoch {self.epoch + 1}, {self.phase} step {item.step + 1}"
                raise DivergedError(f"{where}: {self._diagnose(item.kind, own)}")

    def _note(self, item: _StepValues) -> None:
        self.noted.append(item)
        due = item.values.device.type == "cpu" or len(self.noted) >= MAX_STEPS_AHEAD * (1 if self.alone else 2)
        # None of several processes may stop alone, the others would wait for it: the gradient they have in common.
        if due and (self.alone or item.kind == "gradient"):
            self.drain()

    def _diagnose(self, kind: str, values: list[float]) -> str:
        """Say what is not finite, and what to do about it."""
        lower = f"set train.lr below {self.lr:g}"
        if kind == "gradient":
            fault = f"the gradient of {' + '.join(self.names)} is not finite, though the loss is"
            return f"{fault}: set milder loss_options, or {lower}"
        *terms, _, low, high = values
        wrong = {name: value for name, value in zip(self.names, terms, strict=True) if not math.isfinite(value)}
        fault = ", ".join(f"{name} is {value}" for name, value in wrong.items()) or "the sum of all terms is not finite"
        if not math.isfinite(low) or not math.isfinite(high):
            other = " or train.precision to bf16-mixed or 32-true" if self.precision == "16-mixed" else ""
            return f"the loss term {fault} because the net's output is not finite: {lower}{other}"
        remedy = f"give {', '.join(wrong or self.names)} a smaller weight or milder loss_options, or {lower}"
        return f"the loss term {fault} on finite output: {remedy}"
