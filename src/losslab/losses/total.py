"""The module behind a loss expression: a weighted sum whose terms can be logged beside it."""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from losslab.errors import InputError
from losslab.losses.base import Loss
from losslab.losses.parsed_loss import ParsedLoss
from losslab.losses.registry import LossSpec, find_loss


class TotalLoss(nn.Module):
    """Weighted sum of the losses of a plan; see `losslab.losses.build_loss` for shapes and errors.

    Of overlapping classes each is binary data of its own, with one logit, and a loss is its mean over the classes.

    >>> from losslab.losses.parsed_loss import parse_loss
    >>> loss = TotalLoss(parse_loss("0.5*bce+2:0*dice", {}), num_classes=1, ignore_index=None)
    >>> loss.set_epoch(1, epochs=3); loss.weights
    {'bce': 0.5, 'dice': 1.0}
    """

    def __init__(self, plan: ParsedLoss, num_classes: int, ignore_index: int | None, overlapping: bool = False) -> None:
        super().__init__()
        if num_classes < 1:
            raise InputError(f"num_classes is {num_classes}; it must be 1 (binary) or more")
        plan.check_classes(num_classes, overlapping)
        self.overlapping = num_classes if overlapping else None
        num_classes = 1 if overlapping else num_classes
        self.parts = plan.terms
        self.losses = nn.ModuleDict()
        for name, options in plan.options.items():
            self.losses[name] = _build(find_loss(name), num_classes, ignore_index, options.model_dump())
        self.set_epoch(0, 1)

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Set the weights of ramped terms for an epoch, counted from 0; those of the first hold until then."""
        self.weights = {part.name: part.compute_weight(epoch, epochs) for part in self.parts}

    @property
    def ramped(self) -> dict[str, float]:
        """Present weights of the terms whose weight changes."""
        return {part.name: self.weights[part.name] for part in self.parts if part.last is not None}

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.add_up(self.compute_terms(logits, target))

    def compute_terms(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute each term by name, unweighted; of overlapping classes, its mean over them."""
        if self.overlapping is None:
            return {name: loss(logits, target) for name, loss in self.losses.items()}
        if logits.ndim != 4 or logits.shape[1] != self.overlapping or logits.shape != target.shape:
            wanted = f"[N, {self.overlapping}, H, W] both"
            raise ValueError(f"logits and target must be {wanted}, not {list(logits.shape)} and {list(target.shape)}")
        pairs = [(logits[:, [label]], target[:, label]) for label in range(self.overlapping)]
        return {name: torch.stack([loss(*pair) for pair in pairs]).mean() for name, loss in self.losses.items()}

    def add_up(self, terms: dict[str, Tensor]) -> Tensor:
        """Add up the terms with their present weights."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()


def _build(spec: LossSpec, num_classes: int, ignore_index: int | None, options: dict[str, Any]) -> Loss:
    if spec.kind == "plug-in":
        from losslab.losses.plugin_loss import build_plugin_loss

        return build_plugin_loss(spec.target, num_classes, ignore_index, options)
    module, _, attribute = spec.target.partition(":")
    loss: type[Loss] = getattr(importlib.import_module(f"losslab.losses.{module}"), attribute)
    return loss(num_classes, ignore_index, **options)
