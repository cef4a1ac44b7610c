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
    """Boundary loss: `φ·p` averaged over valid pixels and classes, φ the signed distance to the true border.

    φ is in pixels and negative inside: 0 on the class's own border pixels, 1 on those next to it (Kervadec et al. 2019,
    1812.07032). The loss is unscaled and legitimately negative: its minimum depends on the truth, so it compares with
    nothing but itself. A class that is empty, or fills the image, has no border and a map of zeros: a false positive
    there costs nothing. Therefore, and because it starts flat, it goes with a region loss, its weight ramped:
    `dice+0.01:0.1*boundary`.

    Maps are computed from the target that the loss is given, so after augmentation; void pixels belong to no side.
    OpenCV's exact Euclidean transform makes them, on the CPU: slower than cross entropy.

    Example:
        >>> logits, target = torch.tensor([[[[9.0, -9.0, -9.0, 9.0]]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> Boundary(1, None)(logits, target)  # distances -1, 0, 1, 2
        tensor(0.2500)
    """

    def compute(self, batch: Batch) -> Tensor:
        p = batch.probabilities()
        phi = compute_distance_maps(batch.one_hot(), batch.valid, signed_distance)
        return masked_mean(phi * p, batch.valid.unsqueeze(1).expand_as(p))


class Hausdorff(Loss):
    """Hausdorff distance loss: `(p - y)² (d_p^α + d_y^α)` averaged over valid pixels and classes, in 0..2.

    d are the distances to the borders of the prediction (p > 1/2) and of the truth (Karimi & Salcudean 2019,
    1904.10030, eq. 8). Distances are divided by the diagonal of the box that holds the image's valid pixels, and
    come from detached p. The value is MONAI's `HausdorffDTLoss` over diagonal^α, which knows no void pixels. A mask
    that is empty, or fills the image, has no border and a map of zeros, so a flat false positive on an empty mask
    costs nothing: it goes with a region loss, `dice+hausdorff`.

    OpenCV's exact Euclidean transform, on the CPU, for every class of truth and prediction: slower than cross entropy.

    Example:
        >>> logits, target = torch.tensor([[[[9.0, -9.0, -9.0, 9.0]]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(Hausdorff(1, None, alpha=2.0)(logits, target).item(), 3)
        0.103
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, alpha: float) -> None:
        super().__init__(num_classes, ignore_index)
        self.alpha = alpha

    def compute(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        diagonals = _measure_diagonals(batch.valid).to(p).view(-1, 1, 1, 1)
        fields = [compute_distance_maps(mask, batch.valid, border_distance) / diagonals for mask in (p.detach(), y)]
        weights = fields[0] ** self.alpha + fields[1] ** self.alpha
        return masked_mean((p - y).square() * weights, batch.valid.unsqueeze(1).expand_as(p))


def compute_distance_maps(masks: Tensor, valid: Tensor, distance: Callable[[Mask, Mask], Distances]) -> Tensor:
    """Compute a map of distances, in pixels, for each plane of `masks`; 0 where it has no border or pixels are void.

    `masks` are `[N, C, H, W]`, inside where above 1/2; `valid` is bool `[N, H, W]`; `distance` is one of the two below.

    >>> masks, valid = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]]), torch.ones(1, 1, 4, dtype=torch.bool)
    >>> compute_distance_maps(masks, valid, signed_distance)
    tensor([[[[-1.,  0.,  1.,  2.]]]])
    """
    inside = ((masks > 0.5) & valid.unsqueeze(1)).cpu().numpy()
    allowed = valid.cpu().numpy()
    result = np.zeros(inside.shape, np.float32)

    def fill(index: tuple[int, int]) -> None:
        plane, outside = inside[index], allowed[index[0]] & ~inside[index]
        if plane.any() and outside.any():
            result[index] = distance(plane, outside) * allowed[index[0]]

    with ThreadPoolExecutor() as pool:  # OpenCV lets other threads run
        list(pool.map(fill, np.ndindex(*inside.shape[:2])))
    return torch.from_numpy(result).to(masks)


def signed_distance(inside: Mask, outside: Mask) -> Distances:
    """Return Kervadec's φ, `[H, W]` in pixels.

    Inside it is 1 - the distance to the nearest pixel outside, elsewhere the distance to the nearest pixel inside.

    >>> signed_distance(np.array([[True, True, False]]), np.array([[False, False, True]]))
    array([[-1.,  0.,  1.]], dtype=float32)
    """
    return np.where(inside, 1 - _measure_distance(outside), _measure_distance(inside))


def border_distance(inside: Mask, outside: Mask) -> Distances:
    """Return the distance of each pixel to the nearest one of the other side."""
    return np.where(inside, _measure_distance(outside), _measure_distance(inside))


def _measure_diagonals(valid: Tensor) -> Tensor:
    """Measure the diagonal, in pixels, of the box that holds each image's valid pixels, `[N]`; 1 where there are none."""
    spans = []
    for others in (2, 1):
        line = valid.any(dim=others)
        place = torch.arange(line.shape[1], device=line.device)
        last, first = (place * line).amax(dim=1), (place.masked_fill(~line, line.shape[1])).amin(dim=1)
        spans.append((last - first + 1).clamp(min=0))
    return torch.hypot(*(span.double() for span in spans)).clamp(min=1)


def _measure_distance(mask: Mask) -> Distances:
    result = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(result, np.float32)
