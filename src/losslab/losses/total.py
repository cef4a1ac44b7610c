"""The module behind a loss expression: a weighted sum whose terms can be logged beside it."""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from losslab.errors import InputError
from losslab.losses.base import Loss
from losslab.losses.check import check_options
from losslab.losses.expression import parse_expression
from losslab.losses.registry import LOSSES


class TotalLoss(nn.Module):
    """`Σ weight · term` of an expression; see `losslab.losses.build_loss` for shapes and errors."""

    def __init__(
        self,
        expression: str,
        num_classes: int,
        ignore_index: int | None,
        class_weights: Sequence[float] | None,
        options: dict[str, Any],
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; it must be 1 (binary) or more")
        self.parts = parse_expression(expression)
        self.losses = nn.ModuleDict()
        names = [part.name for part in self.parts]
        for name, chosen in check_options(names, options, num_classes, class_weights).items():
            self.losses[name] = _import_loss(name)(num_classes, ignore_index, **chosen)
        self.set_epoch(0, 1)

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Set the weights of ramped terms for an epoch, counted from 0, of so many; the first one's hold until then."""
        self.weights = {part.name: part.weight_at(epoch, epochs) for part in self.parts}

    @property
    def ramped(self) -> dict[str, float]:
        """The present weights of those terms whose weight changes."""
        return {part.name: self.weights[part.name] for part in self.parts if part.last is not None}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.total(self.terms(logits, target))

    def terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Each term by name, unweighted."""
        return {name: loss(logits, target) for name, loss in self.losses.items()}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()


def _import_loss(name: str) -> type[Loss]:
    module, _, attribute = LOSSES[name].target.partition(":")
    found: type[Loss] = getattr(importlib.import_module(f"losslab.losses.{module}"), attribute)
    return found
