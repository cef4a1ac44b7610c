"""Lovász losses."""

from typing import Literal

import torch
from torch import Tensor

from losslab.losses.base import Batch, Loss, mean_over_present
from losslab.losses.region import SumScope


class Lovasz(Loss):
    """Lovász-Softmax, and with one logit the Lovász hinge: the convex extension of the Jaccard loss.

    From Yu & Blaschko 2015, 1512.07797, and Berman et al. 2018, 1705.08790; in 0..1, the hinge 0 or more. Errors,
    `|y-p|` or the hinge's `1 - z(2y - 1)`, are sorted, each weighted by what it adds to the Jaccard loss. Averaged over
    images and the classes present in each (`classes="present"`; "all" counts absent ones too, whose loss is their
    largest error), or computed over the batch (`reduction_over="batch"`). A false positive of an absent class is an
    error of those present; an empty mask under the hinge costs its largest error, so one pixel at a time is pushed.
    Weak from scratch: good after, or with, cross entropy.

    Slower than cross entropy: it sorts the pixels of every class, stably and in float32. The weights come from sums of
    integers, which CUDA adds up deterministically. smp's softmax form ignores `from_logits`.

    Example:
        >>> logits, target = torch.tensor([[[[0.5, 0.2]]]]), torch.tensor([[[1, 0]]])
        >>> round(Lovasz(1, None, classes="present", reduction_over="image")(logits, target).item(), 4)
        0.85
    """

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None,
        *,
        classes: Literal["present", "all"],
        reduction_over: SumScope,
    ) -> None:
        super().__init__(num_classes, ignore_index)
        self.all_classes = classes == "all" or num_classes == 1
        self.over_batch = reduction_over == "batch"

    def compute(self, batch: Batch) -> Tensor:
        y = batch.one_hot()
        errors = 1 - batch.logits * (2 * y - 1) if self.num_classes == 1 else (y - batch.probabilities()).abs()
        valid = batch.valid.unsqueeze(1).expand_as(errors)
        errors, truth = self._flatten(errors.masked_fill(~valid, -torch.inf)), self._flatten(y > 0)
        errors, order = errors.sort(dim=-1, descending=True, stable=True)
        per_class = (errors.relu() * _compute_jaccard_steps(truth.gather(-1, order)).to(errors.dtype)).sum(-1)
        return mean_over_present(per_class, (self._flatten(valid) if self.all_classes else truth).any(-1))

    def _flatten(self, planes: Tensor) -> Tensor:
        """Flatten `[N, C, H, W]` to `[N, C, HW]`, or to `[1, C, NHW]` over the batch."""
        if self.over_batch:
            planes = planes.transpose(0, 1).unsqueeze(0)
        return planes.flatten(2)


def _compute_jaccard_steps(truth: Tensor) -> Tensor:
    """Compute how much each pixel, in order of falling error, adds to the Jaccard loss of those before it."""
    total = truth.sum(-1, keepdim=True)
    jaccard = 1 - (total - truth.cumsum(-1)).double() / (total + (~truth).cumsum(-1))
    return jaccard.diff(dim=-1, prepend=torch.zeros_like(jaccard[..., :1]))
