"""Losses behind one door: `build_loss(expression, …)` gives a module that is called as `loss(logits, target)`.

Importing this room does not import torch; building a loss does.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from losslab.losses.registry import available

if TYPE_CHECKING:
    from losslab.losses.total import TotalLoss

__all__ = ["available", "build_loss"]


def build_loss(
    expression: str,
    num_classes: int,
    ignore_index: int | None = None,
    class_weights: Sequence[float] | None = None,
    options: dict[str, Any] | None = None,
) -> "TotalLoss":
    """Build the loss that an expression such as `0.5*bce+0.5*dice` or `dice+0.01:0.1*boundary` describes.

    Args:
        expression: names out of `available()`, each with an optional positive weight, joined by `+`; a weight `a:b` goes
            linearly from a in the first epoch to b in the last, as `set_epoch(epoch, epochs)` of the result says.
        num_classes: classes, or 1 for binary data (one logit, sigmoid, target in {0, 1}).
        ignore_index: the label whose pixels count nowhere, if any.
        class_weights: one weight per class (two for binary data) for the losses that take them, instead of the option.
        options: options of the losses named, such as `{"gamma": 3.0}`; each goes to every loss that takes it, one in a
            section of the name of a loss, such as `{"focal": {"gamma": 3.0}}`, to that one.

    Shape:
        logits `[N, C, H, W]` float (C = num_classes), target `[N, H, W]` int64; the result is 0-dim float32 (float64
        for float64 logits, so that gradients can be checked).

    Raises:
        InputError: an unknown name or option, a bad weight, class weights that no loss of the expression takes.
    """
    from losslab.losses.total import TotalLoss

    return TotalLoss(expression, num_classes, ignore_index, class_weights, options or {})
