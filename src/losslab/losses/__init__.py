"""Losses behind one door: `build_loss(expression, …)` gives a module that is called as `loss(logits, target)`.

Importing this room does not import torch; building a loss does.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from losslab.losses.parsed_loss import parse_loss
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
    overlapping: bool = False,
) -> "TotalLoss":
    """Build the loss that an expression such as `0.5*bce+0.5*dice` or `dice+0.01:0.1*boundary` describes.

    Args:
        expression: names from `available()`, each with an optional positive weight, joined by `+`; a weight `a:b` goes
            linearly from a in the first epoch to b in the last, as `set_epoch(epoch, epochs)` of the result says.
        num_classes: classes, or 1 for binary data (one logit, sigmoid, target in {0, 1}).
        ignore_index: the label whose pixels count nowhere, if any.
        class_weights: one weight per class (two for binary data) for losses that take them, replacing the option.
        options: options of these losses, such as `{"gamma": 3.0}`; each goes to every loss that takes it, and one in a
            loss's own section, such as `{"focal": {"gamma": 3.0}}`, to that loss.
        overlapping: whether a pixel may be of several classes. Each is then binary data with a logit of its own, and a loss
            is its mean over the classes; one that weighs classes against each other is refused.

    Shape:
        logits `[N, C, H, W]` float (C = num_classes), target `[N, H, W]` int64; the result is 0-dim float32 (float64
        for float64 logits, so that gradients can be checked). With `overlapping` the target is `[N, C, H, W]`, 1 where a
        class is and 0 elsewhere.

    Raises:
        InputError: an unknown name or option, a bad weight, class weights that no loss of the expression takes, a loss
            that cannot be of overlapping classes.

    >>> import torch
    >>> loss = build_loss("cross_entropy+dice", num_classes=1, ignore_index=255, options={"smooth": 1.0})
    >>> round(loss(torch.zeros(1, 1, 1, 3), torch.tensor([[[1, 0, 255]]])).item(), 4)
    1.0265
    """
    from losslab.losses.total import TotalLoss

    return TotalLoss(parse_loss(expression, options or {}, class_weights), num_classes, ignore_index, overlapping)
