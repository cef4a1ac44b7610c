"""Topology: components and holes."""

import gudhi
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losslab.losses.base import Batch, Loss

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class Topology(Loss):
    """Topology-preserving loss: the squared error of matched persistence diagrams (Hu et al. 2019, 1906.05404, eq. 3).

    Diagrams are those of 1 - p and of the truth, by sublevels (gudhi's cubical complex, pixels touching at corners are
    connected): components (dimension 0) and holes (dimension 1), each born and dying at one critical pixel. A feature of
    the truth is the point (0, 1); it is matched to that of the prediction whose match costs least, and every other point
    of the prediction to its nearest on the diagonal. The gradient acts on the critical pixels alone. The one component
    that never dies, the patch's own, is matched to the truth's: it is born at 0 where the class is there, else at 1, so
    the highest false positive on an empty mask costs. Computed for each class in patches of `patch` × `patch` pixels and
    averaged over images, classes and patches with a valid pixel. Void pixels are of no class.

    Only errors of topology cost: a flat or merely displaced prediction may be free. It goes with a pixel-wise loss, late
    and at low weight: `cross_entropy+0:0.01*topology`. Very slow, and on the CPU: about 10 ms for a noisy patch of 64².
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, patch: int) -> None:
        super().__init__(num_classes, ignore_index)
        self.patch = patch

    def compute(self, batch: Batch) -> Tensor:
        p, y = batch.probabilities(), batch.one_hot()
        shown, truth, valid = (tensor.detach().cpu().numpy() for tensor in (p, y, batch.valid))
        indices: list[Indices] = []
        goals: list[Indices] = []
        weights: list[Values] = []
        fixed, patches = 0.0, 0
        flat = np.arange(shown.size).reshape(shown.shape)
        for image, label in np.ndindex(*shown.shape[:2]):
            for row in range(0, shown.shape[2], self.patch):
                for column in range(0, shown.shape[3], self.patch):
                    window = (slice(row, row + self.patch), slice(column, column + self.patch))
                    if not valid[image][window].any():
                        continue
                    patches += 1
                    pull = _match(shown[image, label][window], truth[image, label][window])
                    places = flat[image, label][window].ravel()
                    indices.append(places[pull.pixel])
                    goals.append(np.where(pull.goal < 0, pull.goal, places[np.maximum(pull.goal, 0)]))
                    weights.append(pull.weight)
                    fixed += pull.unmatched
        if not patches:
            return (p * 0).sum()
        index, goal, weight = (np.concatenate(parts) for parts in (indices, goals, weights))
        values = p.flatten()
        at = values[torch.from_numpy(index).to(p.device)]
        other = values[torch.from_numpy(np.maximum(goal, 0)).to(p.device)]
        constant = torch.from_numpy(np.where(goal == TO_ONE, 1.0, 0.0)).to(p)
        towards = other.where(torch.from_numpy(goal >= 0).to(p.device), constant)
        squares = (at - towards).square() * torch.from_numpy(weight).to(p)
        return (squares.sum() + fixed) / patches


TO_ZERO, TO_ONE = -1, -2


class _Pull:
    """What a patch asks for: each critical pixel's p towards 0, 1, or (a pair) the p of another pixel."""

    def __init__(self) -> None:
        self.pixels: list[int] = []
        self.goals: list[int] = []
        self.weights: list[float] = []
        self.unmatched = 0.0
        """The cost of features of the truth that the prediction has nothing to match with: 1/2 each, without gradient."""

    def add(self, pixel: int, goal: int, weight: float = 1.0) -> None:
        self.pixels.append(pixel)
        self.goals.append(goal)
        self.weights.append(weight)

    @property
    def pixel(self) -> Indices:
        return np.array(self.pixels, np.int64)

    @property
    def goal(self) -> Indices:
        return np.array(self.goals, np.int64)

    @property
    def weight(self) -> Values:
        return np.array(self.weights, np.float64)


def _match(shown: npt.NDArray[np.floating], truth: npt.NDArray[np.floating]) -> _Pull:
    pull = _Pull()
    pairs, first = _diagram(shown)
    wanted, _ = _diagram(truth)
    values = shown.ravel()
    pull.add(first, TO_ONE if truth.any() else TO_ZERO)
    for dimension in (0, 1):
        births, deaths = pairs[dimension][:, 0], pairs[dimension][:, 1]
        born, died = 1 - values[births].astype(np.float64), 1 - values[deaths].astype(np.float64)
        # Matched to (0, 1), a point costs b² + (1-d)²; to the diagonal (d-b)²/2, and the feature it leaves alone 1/2.
        gain = (died - born) ** 2 / 2 + 0.5 - born**2 - (1 - died) ** 2
        best = np.argsort(-gain, kind="stable")[: len(wanted[dimension])]
        matched = set(best[gain[best] > 0].tolist())
        pull.unmatched += 0.5 * (len(wanted[dimension]) - len(matched))
        for number, (birth, death) in enumerate(zip(births.tolist(), deaths.tolist(), strict=True)):
            if number in matched:
                pull.add(birth, TO_ONE)
                pull.add(death, TO_ZERO)
            else:
                pull.add(birth, death, 0.5)
    return pull


def _diagram(p: npt.NDArray[np.floating]) -> tuple[list[Indices], int]:
    """Critical pixels by dimension, `[K, 2]` (birth, death) as indices into `p.ravel()`, and the birth of the patch's own."""
    # gudhi counts pixels column by column, which for the transposed array is numpy's order.
    cubes = gudhi.CubicalComplex(top_dimensional_cells=1 - p.T.astype(np.float64))
    cubes.compute_persistence()
    pairs, lasting = cubes.cofaces_of_persistence_pairs()
    by_dimension = [np.asarray(pairs[d], np.int64).reshape(-1, 2) if d < len(pairs) else EMPTY for d in (0, 1)]
    return by_dimension, int(lasting[0][0])


EMPTY: Indices = np.empty((0, 2), np.int64)
