"""Losses that compare regions: the overlap of prediction and truth."""

from typing import Literal

from torch import Tensor

from losslab.losses.base import Batch, Loss, masked_mean


class Dice(Loss):
    """Soft Dice loss: `1 - (2 Σpy + s) / (Σp + Σy + s)`, averaged over images and the classes present in each.

    Sums run over the valid pixels of an image (`reduction_over="image"`) or of the batch. V-Net (Milletari et al. 2016,
    1606.04797) squares p and y in the denominator; this is the plain form that the field compares.

    A class absent from the truth is left out of the mean, as in the metric when it is not predicted either; probability
    given to it is missing from the classes that are there, so a false positive costs. With one logit and no foreground
    the background is what is present, and its Dice is the loss: `Σp / (2N - Σp)` over N pixels, whose gradient 1/2N
    does not vanish, while that of the smoothed formula, s/(Σp+s)², does. Images without a valid pixel do not count.
    """

    def __init__(
        self, num_classes: int, ignore_index: int | None, *, smooth: float, reduction_over: Literal["image", "batch"]
    ) -> None:
        super().__init__(num_classes, ignore_index)
        self.smooth = smooth
        self.over = (2, 3) if reduction_over == "image" else (0, 2, 3)

    def compute(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        per_class, present = self._loss(p, y)
        if self.num_classes == 1:
            valid = batch.valid.unsqueeze(1).to(p.dtype)
            background, any_valid = self._loss(valid - p, valid - y)
            per_class, present = per_class.where(present, background), present | any_valid
        per_image = (per_class * present).sum(-1) / present.sum(-1).clamp(min=1)
        return masked_mean(per_image, present.any(-1))

    def _loss(self, p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and presence, `[N, C]` or for the whole batch `[C]`."""
        overlap, volume, truth = (p * y).sum(self.over), (p + y).sum(self.over), y.sum(self.over)
        present = truth > 0
        return 1 - (2 * overlap + self.smooth) / (volume + self.smooth).where(present, 1), present
