"""One row a loss: values worked by hand, values of other libraries, and where a common rule does not hold for it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gudhi
import numpy as np
import segmentation_models_pytorch as smp
import torch
from monai.losses.cldice import SoftclDiceLoss
from monai.losses.dice import DiceLoss, GeneralizedDiceLoss
from monai.losses.focal_loss import FocalLoss
from monai.losses.hausdorff_loss import HausdorffDTLoss
from monai.losses.tversky import TverskyLoss
from monai.losses.unified_focal_loss import AsymmetricFocalLoss, AsymmetricFocalTverskyLoss
from scipy.ndimage import correlate1d, distance_transform_edt
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

Reference = Callable[[Tensor, Tensor], Any]
ln = math.log


@dataclass(frozen=True)
class Hand:
    """Probabilities `[H][W]` of the foreground (one logit), or `[C][H][W]` of each class, and what they cost."""

    p: Any
    target: list[list[int]]
    expected: float
    options: dict[str, Any] = field(default_factory=dict)
    sigmoid: bool = True

    def logits(self) -> Tensor:
        p = torch.tensor(self.p, dtype=torch.float64)
        z = torch.logit(p, eps=1e-15) if self.sigmoid else p.log()
        return z.reshape(1, -1, *z.shape[-2:])


@dataclass(frozen=True)
class Row:
    hand: list[Hand]
    binary: list[tuple[dict[str, Any], Reference]] = field(default_factory=list)
    multiclass: list[tuple[dict[str, Any], Reference]] = field(default_factory=list)
    perfect: float | None = 0.0
    """What a perfect prediction costs; None: it depends on the truth."""
    sees_flat: bool = True
    """A confident false positive all over an empty mask costs; where not, the docstring says so."""
    push: float = 1e-3
    """The least gradient of such an error, summed over its pixels."""
    fears_wrong: bool = True
    """The opposite of the truth costs more than a guess of 1/2 everywhere."""


def one_hot(target: Tensor, num_classes: int) -> Tensor:
    return F.one_hot(target, num_classes).permute(0, 3, 1, 2)


def two_planes(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    p = logits.sigmoid()
    return torch.cat([1 - p, p], 1), one_hot(target, 2).to(p)


def with_monai(loss: Any) -> Reference:
    """Give a MONAI loss logits, in both forms."""

    def reference(logits: Tensor, target: Tensor) -> Any:
        if logits.shape[1] == 1:
            return loss(logits.sigmoid(), target.unsqueeze(1).to(logits))
        return loss(logits.softmax(1), one_hot(target, logits.shape[1]).to(logits))

    return reference


def hardest_tenth(logits: Tensor, target: Tensor) -> Any:
    costs = np.sort(F.cross_entropy(logits, target, reduction="none").numpy().ravel())[::-1]
    return costs[: math.ceil(costs.size / 10)].mean()


def focal_tversky(logits: Tensor, target: Tensor) -> Any:
    index = TverskyLoss(alpha=0.3, beta=0.7, smooth_nr=0, smooth_dr=0, reduction="none")  # alpha on FP here
    return (with_monai(index)(logits, target) ** 0.75).mean()


def cldice_of_each(logits: Tensor, target: Tensor) -> Any:
    p, y = logits.softmax(1), one_hot(target, logits.shape[1]).to(logits)
    loss = SoftclDiceLoss(smooth=1e-12)
    return np.mean([float(loss(p[:, [c]], y[:, [c]])) for c in range(p.shape[1])])


def mcc(logits: Tensor, target: Tensor) -> Any:
    """Each image and class against the rest, by numpy."""
    p, y = build_planes(logits, target)
    tp, fp, fn, tn = ((a * b).sum((2, 3)) for a, b in ((p, y), (p, 1 - y), (1 - p, y), (1 - p, 1 - y)))
    return (1 - (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))).mean()


def unified_focal_of_many(asymmetric: bool, over: tuple[int, ...]) -> Reference:
    """λ 0.3, δ 0.7, γ 0.25, by numpy; class 0 is the background."""

    def reference(logits: Tensor, target: Tensor) -> Any:
        p, y = build_planes(logits, target)
        cost = -(y * np.log(p)).sum(1)
        true = (y * p).sum(1)
        background = target.numpy() == 0
        eased = np.where(background | (not asymmetric), (1 - true) ** 0.25, 1.0)
        cross_entropy = (np.where(background, 0.3, 0.7) * eased * cost).mean()
        tp, fp, fn = ((a * b).sum(over) for a, b in ((p, y), (p, 1 - y), (1 - p, y)))
        loss = 1 - tp / (tp + 0.7 * fn + 0.3 * fp)
        raised = loss**0.75
        if asymmetric:
            raised[..., 0] = loss[..., 0]
        return 0.3 * cross_entropy + 0.7 * raised.mean()

    return reference


def over_batch(loss: Any) -> Reference:
    """Give a MONAI loss of single images the batch side by side as one."""

    def reference(logits: Tensor, target: Tensor) -> Any:
        wide = torch.cat(list(logits), dim=-1)[None], torch.cat(list(target), dim=-1)[None]
        return with_monai(loss)(*wide)

    return reference


def generalized_dice_of_two(logits: Tensor, target: Tensor) -> Any:
    return GeneralizedDiceLoss(smooth_nr=0, smooth_dr=0)(*two_planes(logits, target))


def unified_focal(logits: Tensor, target: Tensor) -> Any:
    p, y = two_planes(logits, target)
    cross_entropy = 2 * AsymmetricFocalLoss(delta=0.6, gamma=0.5, epsilon=1e-12)(p, y)  # MONAI halves it
    return (cross_entropy + AsymmetricFocalTverskyLoss(delta=0.6, gamma=0.5, epsilon=1e-12)(p, y)) / 2


def boundary(logits: Tensor, target: Tensor) -> Any:
    """Kervadec's own map: outside the distance to the class, inside 1 - the distance to what is not of it."""
    p, y = build_planes(logits, target)
    masks = y.astype(bool)
    phi = np.zeros(masks.shape)
    for place in np.ndindex(*masks.shape[:2]):
        mask = masks[place]
        phi[place] = distance_transform_edt(~mask) * ~mask - (distance_transform_edt(mask) - 1) * mask
    return (phi * p).mean()


def hausdorff(alpha: float) -> Reference:
    def reference(logits: Tensor, target: Tensor) -> Any:
        diagonal = math.hypot(*target.shape[1:])
        return with_monai(HausdorffDTLoss(alpha, include_background=True))(logits, target) / diagonal**alpha

    return reference


def local_mean(x: Any, window: int, sigma: float) -> Any:
    offsets = np.arange(window) - window // 2
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    for axis in (-2, -1):
        x = correlate1d(x, weights, axis=axis, mode="constant")
    return x


def build_planes(logits: Tensor, target: Tensor) -> tuple[Any, Any]:
    if logits.shape[1] == 1:
        return logits.sigmoid().numpy(), target.unsqueeze(1).numpy().astype(float)
    return logits.softmax(1).numpy(), one_hot(target, logits.shape[1]).numpy().astype(float)


def ssim(logits: Tensor, target: Tensor) -> Any:
    p, y = build_planes(logits, target)
    total = local_mean(np.ones_like(p), 11, 1.5)
    mean_p, mean_y, pp, yy, py = (local_mean(x, 11, 1.5) / total for x in (p, y, p * p, y * y, p * y))
    top = (2 * mean_p * mean_y + 1e-4) * (2 * (py - mean_p * mean_y) + 9e-4)
    bottom = (mean_p**2 + mean_y**2 + 1e-4) * (pp - mean_p**2 + yy - mean_y**2 + 9e-4)
    return 1 - (top / bottom).mean()


def correlation(logits: Tensor, target: Tensor, beta: float = 0.1, c0: float = 0.01) -> Any:
    """Pixel by pixel, as the paper has it."""
    p, y = build_planes(logits, target)
    cross_entropy = (
        F.binary_cross_entropy_with_logits(logits, target.unsqueeze(1).to(logits), reduction="none")[:, 0]
        if logits.shape[1] == 1
        else F.cross_entropy(logits, target, reduction="none")
    )
    weights = np.exp(-0.5 * (np.array([-1, 0, 1]) / 1.5) ** 2)
    top = bottom = 0.0
    for image in range(len(p)):
        errors = np.zeros(p.shape[1:])
        for c, i, j in np.ndindex(*errors.shape):
            rows, columns = (slice(max(k - 1, 0), k + 2) for k in (i, j))
            inside = [weights[max(1 - k, 0) : 3 - max(k + 2 - n, 0)] for k, n in zip((i, j), p.shape[2:], strict=True)]
            share = np.outer(*inside) / np.outer(*inside).sum()
            normal = []
            for x in (y[image, c], p[image, c]):
                mean = (share * x[rows, columns]).sum()
                deviation = math.sqrt(max((share * (x[rows, columns] - mean) ** 2).sum(), 1e-6))
                normal.append((x[i, j] - mean + c0) / (deviation + c0))
            errors[c, i, j] = abs(normal[0] - normal[1])
        hard = errors > beta * errors.max()
        top += (errors * hard * cross_entropy[image].numpy()).sum()
        bottom += hard.sum()
    return top / bottom


def topology(logits: Tensor, target: Tensor) -> Any:
    """Match optimally by the Hungarian method: each feature may go to the diagonal instead."""
    costs = []
    for p, y in zip(*(planes.reshape(-1, *planes.shape[2:]) for planes in build_planes(logits, target)), strict=True):
        cost = (p.max() - y.max()) ** 2
        for dimension in (0, 1):
            shown, wanted = (finite_diagram(plane, dimension) for plane in (p, y))
            m, n = len(shown), len(wanted)
            square = np.zeros((m + n, m + n))
            square[:m, :n] = ((shown[:, None] - wanted[None]) ** 2).sum(-1)
            square[:m, n:] = ((shown[:, 1] - shown[:, 0]) ** 2 / 2)[:, None]
            square[m:, :n] = ((wanted[:, 1] - wanted[:, 0]) ** 2 / 2)[None]
            cost += square[linear_sum_assignment(square)].sum()
        costs.append(cost)
    return np.mean(costs)


def finite_diagram(plane: Any, dimension: int) -> Any:
    cubes = gudhi.CubicalComplex(top_dimensional_cells=1 - plane)
    cubes.compute_persistence()
    points = cubes.persistence_intervals_in_dimension(dimension).reshape(-1, 2)
    return points[np.isfinite(points).all(1)]


def steepness(logits: Tensor, target: Tensor) -> Any:
    p = np.pad(build_planes(logits, target)[0], ((0, 0), (0, 0), (0, 1), (0, 1)), mode="edge")
    return np.hypot(p[..., :-1, 1:] - p[..., :-1, :-1], p[..., 1:, :-1] - p[..., :-1, :-1]).mean()


def both(reference: Reference, options: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"binary": [(options or {}, reference)], "multiclass": [(options or {}, reference)]}


# Two pixels: p of the foreground 0.8 and 0.4, truth 1 and 0; so TP 0.8, FP 0.4, FN 0.2, TN 0.6.
PAIR: dict[str, Any] = {"p": [[0.8, 0.4]], "target": [[1, 0]]}
# Three classes, two pixels of class 0 and 1, given 1/2 and 1/4.
THREE: dict[str, Any] = {
    "p": [[[0.5, 0.5]], [[0.25, 0.25]], [[0.25, 0.25]]],
    "target": [[0, 1]],
    "sigmoid": False,
}
STRAIGHT = {"smooth": 0.0}
BATCH = {"reduction_over": "batch"}
MILD = {"weight": 0.3, "delta": 0.7, "gamma": 0.25}
WIDE = {"window": 3, "sigma": 1e6}
"""A window in which both pixels of a pair weigh the same."""

ROWS = {
    "cross_entropy": Row(
        hand=[Hand(**THREE, expected=(ln(2) + ln(4)) / 2), Hand(**PAIR, expected=-(ln(0.8) + ln(0.6)) / 2)],
        binary=[
            ({}, lambda z, y: F.binary_cross_entropy_with_logits(z, y.unsqueeze(1).to(z))),
            (
                {"class_weights": [1.0, 5.0], "label_smoothing": 0.2},
                lambda z, y: F.cross_entropy(
                    torch.cat([0 * z, z], 1), y, torch.tensor([1.0, 5.0], dtype=z.dtype), label_smoothing=0.2
                ),
            ),
            (
                {"class_weights": [1.0, 3.0]},
                lambda z, y: F.cross_entropy(torch.cat([-z, z], 1) / 2, y, torch.tensor([1.0, 3.0], dtype=z.dtype)),
            ),
        ],
        multiclass=[
            ({}, F.cross_entropy),
            ({"label_smoothing": 0.2}, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2)),
            (
                {"class_weights": [1.0, 2.0, 0.5]},
                lambda z, y: F.cross_entropy(z, y, torch.tensor([1.0, 2.0, 0.5], dtype=z.dtype)),
            ),
        ],
    ),
    "bce": Row(
        hand=[Hand(**PAIR, expected=-(ln(0.8) + ln(0.6)) / 2)],
        binary=[
            ({}, lambda z, y: F.binary_cross_entropy_with_logits(z, y.unsqueeze(1).to(z))),
            (
                {"label_smoothing": 0.2},
                lambda z, y: F.binary_cross_entropy_with_logits(z, 0.1 + 0.8 * y.unsqueeze(1).to(z)),
            ),
        ],
        multiclass=[({}, lambda z, y: F.binary_cross_entropy_with_logits(z, one_hot(y, 3).to(z)))],
    ),
    "focal": Row(
        hand=[Hand(**THREE, expected=(0.25 * ln(2) + 0.5625 * ln(4)) / 2)],
        binary=[
            ({}, lambda z, y: sigmoid_focal_loss(z, y.unsqueeze(1).to(z), alpha=-1, gamma=2, reduction="mean")),
            (
                {"gamma": 1.5, "alpha": 0.25},
                lambda z, y: sigmoid_focal_loss(z, y.unsqueeze(1).to(z), alpha=0.25, gamma=1.5, reduction="mean"),
            ),
            ({"gamma": 0.5}, lambda z, y: sigmoid_focal_loss(z, y.unsqueeze(1).to(z), -1, 0.5, reduction="mean")),
        ],
        multiclass=[
            # MONAI divides by the pixels of every class; only the true one's plane is not 0.
            ({}, lambda z, y: 3 * FocalLoss(use_softmax=True, gamma=2)(z, one_hot(y, 3).to(z))),
            ({"gamma": 0.0}, F.cross_entropy),
            ({"alpha": [2.0, 2.0, 2.0], "gamma": 0.0}, lambda z, y: 2 * F.cross_entropy(z, y)),
        ],
    ),
    "focal_ovr": Row(
        hand=[
            Hand(
                p=[[[0.8]], [[0.5]], [[0.4]]],
                target=[[0]],
                expected=-(0.2**2 * ln(0.8) + 0.5**2 * ln(0.5) + 0.4**2 * ln(0.6)) / 3,
            )
        ],
        binary=[({}, lambda z, y: smp.losses.FocalLoss("binary")(z, y))],
        multiclass=[
            ({}, lambda z, y: smp.losses.FocalLoss("multiclass")(z, y)),
            ({"alpha": 0.25, "gamma": 3.0}, lambda z, y: smp.losses.FocalLoss("multiclass", 0.25, 3.0)(z, y)),
        ],
    ),
    "topk_cross_entropy": Row(
        hand=[
            Hand(p=[[0.9, 0.5, 0.25, 0.8]], target=[[1, 1, 1, 1]], options={"k": 50.0}, expected=(ln(2) + ln(4)) / 2),
            Hand(**PAIR, options={"k": 100.0}, expected=-(ln(0.8) + ln(0.6)) / 2),
        ],
        multiclass=[({}, hardest_tenth)],
    ),
    "dice": Row(
        hand=[Hand(**PAIR, options=STRAIGHT, expected=1 - 1.6 / 2.2)],
        **both(with_monai(DiceLoss(smooth_nr=0, smooth_dr=0)), STRAIGHT),
    ),
    "generalized_dice": Row(
        # Foreground: TP 0.8, volumes 1.3 + 1, weight 1; background: TP 1.5, volumes 1.7 + 2, weight 1/4.
        hand=[
            Hand(
                p=[[0.8, 0.4, 0.1]],
                target=[[1, 0, 0]],
                options=STRAIGHT,
                expected=1 - 2 * (0.8 + 1.5 / 4) / (2.3 + 3.7 / 4),
            )
        ],
        binary=[(STRAIGHT, generalized_dice_of_two)],
        multiclass=[
            (STRAIGHT, with_monai(GeneralizedDiceLoss(smooth_nr=0, smooth_dr=0))),
            (STRAIGHT | BATCH, over_batch(GeneralizedDiceLoss(smooth_nr=0, smooth_dr=0))),
        ],
    ),
    "jaccard": Row(
        hand=[Hand(**PAIR, options=STRAIGHT, expected=1 - 0.8 / 1.4)],
        **both(with_monai(DiceLoss(jaccard=True, smooth_nr=0, smooth_dr=0)), STRAIGHT),
    ),
    "tversky": Row(
        hand=[Hand(**PAIR, options=STRAIGHT, expected=1 - 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2))],
        **both(with_monai(TverskyLoss(alpha=0.3, beta=0.7, smooth_nr=0, smooth_dr=0)), STRAIGHT),
    ),
    "focal_tversky": Row(
        hand=[Hand(**PAIR, options=STRAIGHT, expected=(1 - 0.8 / (0.8 + 0.7 * 0.2 + 0.3 * 0.4)) ** 0.75)],
        **both(focal_tversky, STRAIGHT),
    ),
    "lovasz": Row(
        hand=[
            # Logits 0.5 (true) and 0.2 (false): errors 0.5 and 1.2. The worse first takes the Jaccard loss to 1/2, then to 1.
            Hand(
                p=torch.tensor([[0.5, 0.2]]).double().sigmoid().tolist(),
                target=[[1, 0]],
                expected=0.5 * 1.2 + 0.5 * 0.5,
            ),
            # Class 0: errors 1/2 (its own pixel) and 1/2; class 1: 3/4 (its own) and 1/4; class 2 is absent.
            # Class 0: 1/2 · 1. Class 1: its own pixel first takes all there is: 3/4 · 1 + 1/4 · 0.
            Hand(**THREE, expected=(0.5 + 0.75) / 2),
        ],
        binary=[
            ({}, lambda z, y: smp.losses.LovaszLoss("binary", per_image=True)(z.float(), y)),
            ({"reduction_over": "batch"}, lambda z, y: smp.losses.LovaszLoss("binary")(z.float(), y)),
        ],
        multiclass=[
            ({}, lambda z, y: smp.losses.LovaszLoss("multiclass", per_image=True)(z.float(), y)),
            ({"reduction_over": "batch"}, lambda z, y: smp.losses.LovaszLoss("multiclass")(z.float(), y)),
        ],
    ),
    "mcc": Row(
        hand=[Hand(**PAIR, expected=1 - (0.8 * 0.6 - 0.4 * 0.2) / math.sqrt(1.2 * 1.0 * 1.0 * 0.8))],
        binary=[(BATCH, lambda z, y: smp.losses.MCCLoss(eps=0)(z.sigmoid(), y)), ({}, mcc)],
        multiclass=[({}, mcc)],
    ),
    "unified_focal": Row(
        hand=[
            Hand(
                **PAIR,
                options=STRAIGHT,
                expected=(
                    (-0.6 * ln(0.8) - 0.4 * 0.4**0.5 * ln(0.6)) / 2
                    + ((1 - 0.6 / (0.6 + 0.6 * 0.4 + 0.4 * 0.2)) + (1 - 0.8 / (0.8 + 0.6 * 0.2 + 0.4 * 0.4)) ** 0.5) / 2
                )
                / 2,
            ),
            Hand(
                **PAIR,
                options=STRAIGHT | {"asymmetric": False, "weight": 1.0},
                expected=-(0.6 * 0.2**0.5 * ln(0.8) + 0.4 * 0.4**0.5 * ln(0.6)) / 2,
            ),
        ],
        binary=[(STRAIGHT, unified_focal)],
        multiclass=[
            (STRAIGHT | MILD, unified_focal_of_many(True, (2, 3))),
            (STRAIGHT | MILD | {"asymmetric": False}, unified_focal_of_many(False, (2, 3))),
            (STRAIGHT | MILD | BATCH, unified_focal_of_many(True, (0, 2, 3))),
        ],
    ),
    "boundary": Row(
        # Distances 2, 1 outside, 0 on the class's border, -1, -2 inside.
        hand=[
            Hand(
                p=[[0.1, 0.3, 0.8, 0.7, 0.9]],
                target=[[0, 0, 1, 1, 1]],
                expected=(2 * 0.1 + 0.3 + 0 * 0.8 - 0.7 - 2 * 0.9) / 5,
            )
        ],
        **both(boundary),
        perfect=None,
        sees_flat=False,
    ),
    "hausdorff": Row(
        # Predicted 0 1 1 1 1: distances to its border 1 1 2 3 4, to the true one 2 1 1 2 3; the diagonal is √26.
        hand=[
            Hand(
                p=[[0.1, 0.7, 0.8, 0.9, 0.9]],
                target=[[0, 0, 1, 1, 1]],
                expected=(0.01 * 5 + 0.49 * 2 + 0.04 * 5 + 0.01 * 13 + 0.01 * 25) / 26 / 5,
            )
        ],
        binary=[({}, hausdorff(2.0)), ({"alpha": 1.0}, hausdorff(1.0))],
        multiclass=[({}, hausdorff(2.0)), ({"alpha": 0.5}, hausdorff(0.5))],
        sees_flat=False,
    ),
    "correlation": Row(
        # μ 1/2 and 0.6, σ 1/2 and 0.2: e is 0 at the first pixel and counts at the second alone.
        hand=[Hand(**PAIR, options=WIDE, expected=-ln(0.6) * abs(-0.49 / 0.51 + 0.19 / 0.21))],
        binary=[({}, correlation), ({"beta": 0.5, "c": 0.1}, lambda z, y: correlation(z, y, 0.5, 0.1))],
        multiclass=[({}, correlation)],
        sees_flat=False,
    ),
    "ssim": Row(
        # μ 0.6 and 1/2, σ² 0.04 and 1/4, covariance 0.4 - 0.3.
        hand=[
            Hand(
                **PAIR,
                options=WIDE,
                expected=1 - (2 * 0.3 + 1e-4) * (0.2 + 9e-4) / ((0.36 + 0.25 + 1e-4) * (0.04 + 0.25 + 9e-4)),
            )
        ],
        **both(ssim),
        push=1e-5,
    ),
    "cldice": Row(
        # A line is its own skeleton; the prediction lies in it and covers 3.7 of its 5 pixels.
        hand=[
            Hand(
                p=[[0.0] * 5, [0.9, 0.9, 0.1, 0.9, 0.9], [0.0] * 5],
                target=[[0] * 5, [1] * 5, [0] * 5],
                expected=1 - 2 * (4.7 / 6) / (1 + 4.7 / 6),
            )
        ],
        binary=[
            ({}, with_monai(SoftclDiceLoss(smooth=1e-12))),
            (
                {"iterations": 1, "smooth": 0.1},
                with_monai(SoftclDiceLoss(1, smooth_nr=0.1, smooth_dr=0.1, smooth=1e-12)),
            ),
        ],
        multiclass=[({}, cldice_of_each)],
        sees_flat=False,
    ),
    "topology": Row(
        # Components of 1 - p: born 0.1 for good, (0.2, 0.9), (0.4, 0.8); of the truth: 0 for good, (0, 1). The second is
        # matched: 0.2² + 0.1²; the third goes to the diagonal: 0.4²/2.
        hand=[Hand(p=[[0.9, 0.1, 0.6, 0.2, 0.8]], target=[[1, 0, 0, 0, 1]], expected=0.01 + 0.05 + 0.08)],
        **both(topology),
        fears_wrong=False,
    ),
    "total_variation": Row(
        hand=[Hand(p=[[0.2, 0.5], [0.6, 0.6]], target=[[0, 0], [0, 0]], expected=(0.5 + 0.1) / 4)],
        **both(steepness),
        perfect=None,
        sees_flat=False,
        fears_wrong=False,
    ),
}
