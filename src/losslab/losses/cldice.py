"""clDice: overlap of centre lines."""

import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.losses.base import Batch, Loss, masked_mean


class ClDice(Loss):
    """Soft centre-line Dice: `1 - 2 T_prec T_sens / (T_prec + T_sens)`, averaged over images and classes, in 0..1.

    From Shit et al. 2021, 2003.07311. `T_prec` is the share of the prediction's soft skeleton that lies in the truth,
    `T_sens` that of the truth's in the prediction, both with `smooth` above and below. Skeletons take `iterations`
    erosions more than one: at least the radius of the thickest tube. One class against the rest, class 0 too (a code
    that drops channel 0 is ≡ 0 on binary data); averaged over classes, while MONAI adds up their counts; with one logit
    the values agree.

    A class absent from the truth counts: its perfect prediction costs 0, a false positive its skeleton. A flat
    prediction has no skeleton, so a full false positive on an empty mask costs nothing, and skeletons say nothing of
    width: it goes with a region loss, `dice+cldice`. Void pixels erode and dilate nothing.

    Slower than cross entropy: each iteration is an erosion and a dilation of every class.

    Example:
        >>> target = F.pad(torch.ones(1, 1, 5), (0, 0, 1, 1)).long()  # a line of 5 pixels
        >>> logits = torch.where(torch.arange(5) < 3, 18.0 * target - 9, -9.0).unsqueeze(1)  # 3 of them
        >>> round(ClDice(1, None, iterations=1, smooth=1.0)(logits, target).item(), 3)
        0.2
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
    """Gather what each opening takes away over erosions: the skeleton, 0 at void pixels.

    x is `[N, C, H, W]` in 0..1, `valid` bool `[N, 1, H, W]`.

    >>> bar = F.pad(torch.ones(1, 1, 3, 7), (1, 1, 1, 1))  # 3 rows of 7 pixels, framed
    >>> soft_skeleton(bar, torch.ones(1, 1, 5, 9, dtype=torch.bool), 2).sum(-1).tolist()
    [[[0.0, 0.0, 5.0, 0.0, 0.0]]]
    """
    skeleton = (x - _open(x, valid)).relu()
    for _ in range(iterations):
        x = _erode(x, valid)
        lost = (x - _open(x, valid)).relu()
        skeleton = skeleton + (lost - skeleton * lost).relu()
    return skeleton * valid


def _open(x: Tensor, valid: Tensor) -> Tensor:
    return F.max_pool2d(_erode(x, valid).masked_fill(~valid, 0), 3, stride=1, padding=1)


def _erode(x: Tensor, valid: Tensor) -> Tensor:
    """Return the smallest value of each pixel and its four neighbours; void ones, at 1, are never smaller."""
    negative = -x.masked_fill(~valid, 1)
    return -torch.maximum(
        F.max_pool2d(negative, (3, 1), stride=1, padding=(1, 0)),
        F.max_pool2d(negative, (1, 3), stride=1, padding=(0, 1)),
    )
