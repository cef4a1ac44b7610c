"""Total variation."""

import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.losses.base import Batch, Loss, masked_mean


class TotalVariation(Loss):
    """Total variation of the probabilities: `|∇p| = √(∂x² + ∂y²)` by forward differences, averaged over valid pixels and
    classes (Rudin, Osher & Fatemi 1992, doi 10.1016/0167-2789(92)90242-F; in segmentation: 1605.01368).

    A regulariser that does not look at the truth: any constant minimises it, a false positive of one colour costs
    nothing. It goes with a loss that does: `cross_entropy+0.01*total_variation`. Differences to void pixels do not count;
    where p is flat the root has the gradient 0.
    """

    def compute(self, batch: Batch) -> Tensor:
        p, valid = batch.probabilities(), batch.valid.unsqueeze(1)
        across = F.pad(p.diff(dim=3) * (valid[..., 1:] & valid[..., :-1]), (0, 1))
        down = F.pad(p.diff(dim=2) * (valid[..., 1:, :] & valid[..., :-1, :]), (0, 0, 0, 1))
        square = across.square() + down.square()
        rises = square > 0
        steepness = torch.where(rises, square.where(rises, 1).sqrt(), 0)
        return masked_mean(steepness, valid.expand_as(p))
