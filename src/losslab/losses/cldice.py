"""clDice: overlap of centre lines."""

import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.losses.base import Batch, Loss, masked_mean


class ClDice(Loss):
    """Soft centre-line Dice: `1 - 2 T_prec T_sens / (T_prec + T_sens)`, averaged over images and classes
    (Shit et al. 2021, 2003.07311).

    `T_prec` is the share of the prediction's soft skeleton that lies in the truth, `T_sens` that of the truth's in the
    prediction, both with `smooth` above and below. Skeletons take `iterations` erosions more than one: at least the radius
    of the thickest tube. One class against the rest, class 0 too (a code that drops channel 0 is ≡ 0 on binary data);
    averaged over classes, while MONAI adds up their counts; with one logit the values agree.

    A class absent from the truth counts: its perfect prediction costs 0, a false positive its skeleton. A flat prediction
    has no skeleton, so a full false positive on an empty mask costs nothing, and skeletons say nothing of width: it goes
    with a region loss, `dice+cldice`. Void pixels erode and dilate nothing.

    Slower than cross entropy: each iteration is an erosion and a dilation of every class.
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, iterations: int, smooth: float) -> None:
        super().__init__(num_classes, ignore_index)
        self.iterations, self.smooth = iterations, smooth

    def compute(self, batch: Batch) -> Tensor:
        p, y, valid = batch.probabilities(), batch.one_hot(), batch.valid.unsqueeze(1)
        skeleton_p = soft_skeleton(p, valid, self.iterations)
        with torch.no_grad():
            skeleton_y = soft_skeleton(y, valid, self.iterations)
        precision = ((skeleton_p * y).sum((2, 3)) + self.smooth) / (skeleton_p.sum((2, 3)) + self.smooth)
        sensitivity = ((skeleton_y * p).sum((2, 3)) + self.smooth) / (skeleton_y.sum((2, 3)) + self.smooth)
        loss = 1 - 2 * precision * sensitivity / (precision + sensitivity)
        return masked_mean(loss, valid.any(-1).any(-1).expand_as(loss))


def soft_skeleton(x: Tensor, valid: Tensor, iterations: int) -> Tensor:
    """What each opening takes away, gathered over erosions; x in 0..1, `[N, C, H, W]`, the skeleton 0 at void pixels."""
    skeleton = (x - _opened(x, valid)).relu()
    for _ in range(iterations):
        x = _eroded(x, valid)
        lost = (x - _opened(x, valid)).relu()
        skeleton = skeleton + (lost - skeleton * lost).relu()
    return skeleton * valid


def _opened(x: Tensor, valid: Tensor) -> Tensor:
    return F.max_pool2d(_eroded(x, valid).masked_fill(~valid, 0), 3, stride=1, padding=1)


def _eroded(x: Tensor, valid: Tensor) -> Tensor:
    """The smallest value of each pixel and its four neighbours; void ones, at 1, are never smaller."""
    negative = -x.masked_fill(~valid, 1)
    return -torch.maximum(
        F.max_pool2d(negative, (3, 1), stride=1, padding=(1, 0)),
        F.max_pool2d(negative, (1, 3), stride=1, padding=(0, 1)),
    )
