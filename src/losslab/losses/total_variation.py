"""Total variation."""

from torch import Tensor

from losslab.losses.base import Batch, Loss


class TotalVariation(Loss):
    """Total variation of the probabilities: `|∇p| = √(∂x² + ∂y²)`, averaged over valid pixels and classes, in 0..√2.

    Differences are forward (Rudin, Osher & Fatemi 1992, doi 10.1016/0167-2789(92)90242-F; in segmentation: 1605.01368).
    A regulariser that does not look at the truth: any constant minimises it, a false positive of one colour costs
    nothing. It goes with a loss that does: `cross_entropy+0.01*total_variation`. Differences to void pixels do not
    count; where p is flat the gradient is 0. Up to three times as slow as cross entropy and sometimes slower:
    differences and a root for every class.

    Example:
        >>> import torch
        >>> logits, target = torch.tensor([[[[-99.0, -99.0, 99.0, 99.0]]]]), torch.zeros(1, 1, 4, dtype=torch.int64)
        >>> TotalVariation(1, None)(logits, target)  # one step of height 1 in four pixels
        tensor(0.2500)
    """

    def compute(self, batch: Batch) -> Tensor:
        p, valid = batch.probabilities(), batch.valid.unsqueeze(1)
        across = p.diff(dim=3) * (valid[..., 1:] & valid[..., :-1])
        down = p.diff(dim=2) * (valid[..., 1:, :] & valid[..., :-1, :])
        # Kept above 1e-8, where the root has a bounded gradient, and none where p is flat.
        square = across[..., :-1, :].square() + down[..., :-1].square()
        inner = square.clamp(min=1e-16).sqrt() * (square > 0)
        total = inner.sum() + across[..., -1, :].abs().sum() + down[..., -1].abs().sum()
        return total / (batch.valid.sum() * p.shape[1]).clamp(min=1)
