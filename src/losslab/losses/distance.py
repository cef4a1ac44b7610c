"""Losses that weigh errors by their distance to a border."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losslab.losses.base import Batch, Loss, masked_mean

Mask = npt.NDArray[np.bool_]
Distances = npt.NDArray[np.float32]


class Boundary(Loss):
    """Boundary loss: `φ·p` averaged over valid pixels and classes, φ the signed distance to the border of the truth in
    pixels, negative inside: 0 on the class's own border pixels, 1 on those next to it (Kervadec et al. 2019, 1812.07032).

    Unscaled and legitimately negative: its minimum depends on the truth, so it compares with nothing but itself. A class
    that is empty, or fills the image, has no border and a map of zeros: a false positive there costs nothing. Therefore,
    and because it starts flat, it goes with a region loss, its weight ramped: `dice+0.01:0.1*boundary`.

    Maps are computed from the target that the loss is given, so after augmentation; void pixels belong to no side.
    OpenCV's exact Euclidean transform makes them, on the CPU: slower than cross entropy.
    """

    def compute(self, batch: Batch) -> Tensor:
        p = batch.probabilities()
        return masked_mean(
            compute_distance_maps(batch.one_hot(), batch.valid, signed_distance) * p, _each_class(batch.valid, p)
        )


class Hausdorff(Loss):
    """Hausdorff distance loss: `(p - y)² (d_p^α + d_y^α)` averaged over valid pixels and classes, d the distances to the
    borders of the prediction (p > 1/2) and of the truth (Karimi & Salcudean 2019, 1904.10030, eq. 8).

    Distances are divided by the image's diagonal, and come from detached p. The value is MONAI's `HausdorffDTLoss` over
    diagonal^α, which knows no void pixels. A mask that is empty, or fills the image, has no border and a map of zeros, so
    a flat false positive on an empty mask costs nothing: it goes with a region loss, `dice+hausdorff`.

    OpenCV's exact Euclidean transform, on the CPU, for every class of truth and prediction: slower than cross entropy.
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, alpha: float) -> None:
        super().__init__(num_classes, ignore_index)
        self.alpha = alpha

    def compute(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        diagonal = float(np.hypot(*batch.target.shape[1:]))
        fields = [compute_distance_maps(mask, batch.valid, border_distance) / diagonal for mask in (p.detach(), y)]
        weights = fields[0] ** self.alpha + fields[1] ** self.alpha
        return masked_mean((p - y).square() * weights, _each_class(batch.valid, p))


def compute_distance_maps(masks: Tensor, valid: Tensor, distance: Callable[[Mask, Mask], Distances]) -> Tensor:
    """One map for each plane of `masks` (`[N, C, H, W]`, inside where > 1/2), 0 where it has no border or pixels are void."""
    inside = ((masks > 0.5) & valid.unsqueeze(1)).cpu().numpy()
    allowed = valid.cpu().numpy()
    result = np.zeros(inside.shape, np.float32)

    def fill(place: tuple[int, int]) -> None:
        plane, outside = inside[place], allowed[place[0]] & ~inside[place]
        if plane.any() and outside.any():
            result[place] = distance(plane, outside) * allowed[place[0]]

    with ThreadPoolExecutor() as pool:  # OpenCV lets other threads run
        list(pool.map(fill, np.ndindex(*inside.shape[:2])))
    return torch.from_numpy(result).to(masks)


def signed_distance(inside: Mask, outside: Mask) -> Distances:
    """Kervadec's φ: `1 - distance` to the nearest pixel outside for those inside, the distance to the nearest inside else."""
    return np.where(inside, 1 - _distance_to(outside), _distance_to(inside))


def border_distance(inside: Mask, outside: Mask) -> Distances:
    """The distance of each pixel to the nearest one of the other side."""
    return np.where(inside, _distance_to(outside), _distance_to(inside))


def _distance_to(mask: Mask) -> Distances:
    result = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(result, np.float32)


def _each_class(valid: Tensor, p: Tensor) -> Tensor:
    return valid.unsqueeze(1).expand_as(p)
