"""Topology: components and holes."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import gudhi
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losslab.losses.base import Batch, Loss

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.floating]
NO_INDICES: Indices = np.empty(0, np.int64)


class Topology(Loss):
    """Topology-preserving loss: the squared error of matched persistence diagrams (Hu et al. 2019, 1906.05404, eq. 3).

    Diagrams are those of 1 - p and of the truth, by sublevels (gudhi's cubical complex, pixels touching at corners are
    connected): components (dimension 0) and holes (dimension 1), each born and dying at one critical pixel. A feature
    of the truth is the point (0, 1); it is matched to that of the prediction whose match costs least, and every other
    point of the prediction to its nearest on the diagonal. The gradient acts on the critical pixels alone. The one
    component that never dies, the patch's own, is matched to the truth's: it is born at 0 where the class is there,
    else at 1, so the highest false positive on an empty mask costs. Computed for each class in patches of `patch` ×
    `patch` pixels and averaged over images, classes and patches with a valid pixel. Void pixels are of no class.

    Only errors of topology cost: a flat or merely displaced prediction may be free. It goes with a pixel-wise loss,
    late and at low weight: `cross_entropy+0:0.01*topology`. Very slow, and on the CPU: about 10 ms for a noisy patch of
    64².

    Example:
        >>> logits, target = torch.tensor([[[[9.0, -9.0, 9.0]]]]), torch.tensor([[[1, 1, 1]]])
        >>> round(Topology(1, None, patch=64)(logits, target).item(), 3)  # one component too many
        0.5
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, patch: int) -> None:
        super().__init__(num_classes, ignore_index)
        self.patch = patch

    def compute(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        if not p.isfinite().all():
            return p.sum()  # not finite either; gudhi would crash
        shown, truth, valid = (tensor.detach().cpu().numpy() for tensor in (p, y, batch.valid))
        indices = np.arange(shown.size).reshape(shown.shape)
        windows = [
            (image, label, slice(row, row + self.patch), slice(column, column + self.patch))
            for image, label in np.ndindex(*shown.shape[:2])
            for row in range(0, shown.shape[2], self.patch)
            for column in range(0, shown.shape[3], self.patch)
        ]
        windows = [window for window in windows if valid[window[0]][window[2:]].any()]

        def match(window: tuple[int, int, slice, slice]) -> _Pull:
            return _match(shown[window], truth[window]).at(indices[window].ravel())

        with ThreadPoolExecutor() as pool:  # gudhi lets other threads run
            pulls = list(pool.map(match, windows))
        values = p.flatten()

        def pick(pixels: list[Indices]) -> Tensor:
            return values[torch.from_numpy(np.concatenate([NO_INDICES, *pixels])).to(p.device)]

        rise, fall = pick([pull.rise for pull in pulls]), pick([pull.fall for pull in pulls])
        level = pick([pull.births for pull in pulls]) - pick([pull.deaths for pull in pulls])
        missing = sum(pull.missing for pull in pulls)
        total = (1 - rise).square().sum() + fall.square().sum() + level.square().sum() / 2 + missing / 2
        return total / max(len(pulls), 1)


@dataclass(frozen=True)
class _Pull:
    """Critical pixels of a patch by where their probabilities should go, as indices into the patch."""

    rise: Indices
    """Births of matched features: p goes towards 1."""
    fall: Indices
    """Deaths of matched features: p goes towards 0."""
    births: Indices
    deaths: Indices
    """Ends of features that the truth does not have: births and deaths go towards each other, pair by pair."""
    missing: int
    """Features of the truth that nothing is matched to: each costs 1/2, without a gradient."""

    def at(self, indices: Indices) -> "_Pull":
        """Translate to indices into the batch, given those of the patch's pixels."""
        return _Pull(indices[self.rise], indices[self.fall], indices[self.births], indices[self.deaths], self.missing)


def _match(shown: Values, truth: Values) -> _Pull:
    diagram, own = _compute_diagram(shown)
    p = shown.ravel().astype(np.float64)
    rise, fall, births, deaths = ([NO_INDICES] for _ in range(4))
    (rise if truth.any() else fall).append(np.array([own]))
    missing = 0
    for points, wanted in zip(diagram, _count_features(truth > 0), strict=True):
        born, died = 1 - p[points[:, 0]], 1 - p[points[:, 1]]
        # Matched to (0, 1), a point costs b² + (1-d)²; to the diagonal (d-b)²/2, and the feature it leaves alone 1/2.
        gain = (died - born) ** 2 / 2 + 0.5 - born**2 - (1 - died) ** 2
        order = np.argsort(-gain, kind="stable")
        matched = order[: min(wanted, int((gain > 0).sum()))]
        others = np.setdiff1d(order, matched)
        rise.append(points[matched, 0])
        fall.append(points[matched, 1])
        births.append(points[others, 0])
        deaths.append(points[others, 1])
        missing += wanted - len(matched)
    return _Pull(np.concatenate(rise), np.concatenate(fall), np.concatenate(births), np.concatenate(deaths), missing)


def _count_features(mask: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Count the points (0, 1) in the diagrams of a mask: components but one, and holes; much faster than gudhi."""
    components, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    framed = np.pad(~mask, 1, constant_values=True)  # joins what is open to the edge
    background, _ = cv2.connectedComponents(framed.astype(np.uint8), connectivity=4)
    return max(components - 2, 0), background - 2


def _compute_diagram(p: Values) -> tuple[list[Indices], int]:
    """Find each dimension's critical pixels, `[K, 2]` indices (birth, death), and the birth of what never dies."""
    # gudhi counts pixels column by column, which for the transposed array is numpy's order.
    cubes = gudhi.CubicalComplex(top_dimensional_cells=1 - p.T.astype(np.float64))
    cubes.compute_persistence()
    pairs, lasting = cubes.cofaces_of_persistence_pairs()
    points = [np.asarray(pairs[d] if d < len(pairs) else [], np.int64).reshape(-1, 2) for d in (0, 1)]
    return points, int(lasting[0][0])
