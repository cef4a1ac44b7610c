"""Matthews correlation."""

from torch import Tensor

from losslab.losses.base import Batch, Loss, mean_over_present
from losslab.losses.region import SumScope

SHARE_FLOOR = 1e-12


class Mcc(Loss):
    """`1 - MCC`, Matthews' correlation of soft counts, each class against the rest; mean over those present, in 0..2.

    MCC is `(TP·TN - FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN))` (Abhishek & Hamarneh 2021, 2010.13454). Counts are shares
    of the valid pixels of an image, or of the batch (`reduction_over="batch"`, what smp's binary MCCLoss does). TP and
    TN get 1e-12 (more would pay for predicting nothing on a small object), and the roots are taken in pairs, so that
    nothing overflows or divides by 0. MCC is not defined where the truth is all one class (0/0, and smoothed a constant
    without a gradient): there the mean error `|p - y|` stands in, so that a false positive on an empty mask costs. An
    absent class of several is left out of the mean; probability given to it is missing from those present.

    Example:
        >>> import torch
        >>> logits, target = torch.tensor([[[[9.0, -9.0, 9.0, -9.0]]]]), torch.tensor([[[1, 0, 0, 1]]])
        >>> Mcc(1, None, reduction_over="image")(logits, target)  # half right, half wrong
        tensor(1.)
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, reduction_over: SumScope) -> None:
        super().__init__(num_classes, ignore_index)
        self.over = (2, 3) if reduction_over == "image" else (0, 2, 3)

    def compute(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        pixels = batch.valid.unsqueeze(1).sum(self.over)
        count = pixels.clamp(min=1)
        truth, volume = y.sum(self.over) / count, p.sum(self.over) / count
        tp = (p * y).sum(self.over) / count
        fp, fn = (volume - tp).clamp(min=0), (truth - tp).clamp(min=0)
        tn = (1 - volume - fn).clamp(min=0) + SHARE_FLOOR
        tp = tp + SHARE_FLOOR
        mcc = (tp * tn - fp * fn) / (((tp + fp) * (tn + fn)).sqrt() * ((tp + fn) * (tn + fp)).sqrt())
        per_class = (fp + fn).where((truth == 0) | (truth == 1), 1 - mcc)
        present = (pixels > 0).expand_as(truth) if self.num_classes == 1 else truth > 0
        return mean_over_present(per_class, present)
