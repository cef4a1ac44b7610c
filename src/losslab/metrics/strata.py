"""Errors by the size of objects, by their number, and by the distance to the next class."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from losslab.io.windows import PixelWindows
from losslab.metrics.confusion import Images
from losslab.metrics.images import (
    VOID,
    Counts,
    Labels,
    PairWindows,
    ScoredImage,
    convert_to_bytes,
    list_labels,
    mask_label,
    read_strips,
)
from losslab.metrics.torchmetrics import Metric
from losslab.runtime.parallel import parallel_map

Parts = npt.NDArray[np.int32]
SIZE_LIMITS = {"tiny": 0.001, "small": 0.01, "medium": 0.1, "large": math.inf}
"""Upper limit, exclusive, of an object's share of the image's pixels (void aside); an object is a connected part of the
true class."""
OBJECT_LIMITS = {"0": 0, "1": 1, "2-3": 3, "4-7": 7, "8+": math.inf}
"""Upper limit, inclusive, of the number of objects of a class in an image."""
BORDER_LIMITS_PX = {"1": 1, "2": 2, "3-4": 4, "5-8": 8, "9-16": 16, ">16": math.inf}
"""Upper limit, inclusive, of the distance to the nearest border between true classes; touching pixels are 1 away."""
BORDER_MARGIN_PX = 34
"""Rows beyond which nothing changes a pixel's stratum: 15 to a pixel that touches another class, 1 to that, and as many, in
OpenCV's distances at most 1.02 times as long, to the pixels from which void takes its class."""


@dataclass(frozen=True)
class ImageStrata:
    """Counts of right and wrong pixels of one image."""

    sizes: Counts
    """`[C, SIZE_LIMITS, (objects, images, pixels, found)]`."""
    counts: Counts
    """`[C, OBJECT_LIMITS, (objects, images, pixels, found, union)]`."""
    borders: Counts
    """`[C, BORDER_LIMITS_PX, (pixels, wrong)]`."""


class StratifiedErrors(Metric):
    """Right and wrong pixels by size of objects, number of objects, and distance to the next class.

    The counts do not depend on batch size, order or number of processes. Arguments are those of SegmentationMetrics.

    >>> metric = StratifiedErrors(num_classes=2)
    >>> metric.update(torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 1, 1]]]))
    >>> dict(zip(BORDER_LIMITS_PX, metric.compute()["borders"][1].tolist()))["1"]  # pixels, wrong
    [1, 1]
    """

    is_differentiable = False
    full_state_update = False
    sizes: Tensor
    counts: Tensor
    borders: Tensor

    def __init__(self, num_classes: int, ignore_index: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_labels, self.ignore_index = max(num_classes, 2), ignore_index
        for name, counts in vars(_build_empty(self.num_labels)).items():
            self.add_state(name, default=torch.from_numpy(counts), dist_reduce_fx="sum")

    def update(self, prediction: Images, target: Images) -> None:
        """Count a batch, both int64 `[N, H, W]`, or as many of `[H, W]`; ValueError: other shapes, types or labels."""
        pairs = convert_to_bytes(prediction, target, self.num_labels, self.ignore_index)
        for image in parallel_map(lambda pair: count_strata(pair, self.num_labels), pairs):
            self._add(image)

    def update_windows(self, prediction: PixelWindows, target: PixelWindows) -> None:
        """Count one image, uint8 `[H, W]` each, by strips; ValueError: other sizes, types or labels."""
        self._add(count_strata(PairWindows(prediction, target, self.num_labels, self.ignore_index), self.num_labels))
        self.note_update()

    def _add(self, image: ImageStrata) -> None:
        self.sizes = self.sizes + torch.from_numpy(image.sizes).to(self.sizes.device)
        self.counts = self.counts + torch.from_numpy(image.counts).to(self.counts.device)
        self.borders = self.borders + torch.from_numpy(image.borders).to(self.borders.device)

    def compute(self) -> dict[str, Tensor]:
        """Return the counts of all images, int64: `sizes`, `counts` and `borders`, shaped as those of ImageStrata."""
        return {"sizes": self.sizes, "counts": self.counts, "borders": self.borders}


def count_strata(image: ScoredImage, num_labels: int) -> ImageStrata:
    """Count one image strip by strip."""
    strata, known = _build_empty(num_labels), 0
    objects = [_Objects() for _ in range(num_labels)]
    unions = np.zeros(num_labels, np.int64)
    for strip, pair in read_strips(image, BORDER_MARGIN_PX):
        strata.borders[:] += _count_by_border(*pair, strip.own)[:num_labels]
        prediction, truth = (labels[strip.own] for labels in pair)
        known += int((truth != VOID).sum())
        for label in list_labels(prediction, truth, num_labels):
            true, guessed = mask_label(truth, label), mask_label(prediction, label)
            objects[label].add(strip.start, true, guessed)
            unions[label] += cv2.countNonZero(true | guessed)
    strata.counts[:, 0, 1] = 1  # images without an object, but for the classes below
    for label in map(int, np.flatnonzero(unions)):
        areas, hits = objects[label].merge()
        stratum = np.searchsorted(list(OBJECT_LIMITS.values()), len(areas))
        strata.counts[label, 0] = 0
        strata.counts[label, stratum] = len(areas), 1, areas.sum(), hits.sum(), unions[label]
        sizes = np.searchsorted(list(SIZE_LIMITS.values()), areas / max(known, 1), side="right")
        for size in np.unique(sizes):
            own = sizes == size
            strata.sizes[label, size] = own.sum(), 1, areas[own].sum(), hits[own].sum()
    return strata


def _build_empty(num_labels: int) -> ImageStrata:
    shapes = ((len(SIZE_LIMITS), 4), (len(OBJECT_LIMITS), 5), (len(BORDER_LIMITS_PX), 2))
    return ImageStrata(*(np.zeros((num_labels, *shape), np.int64) for shape in shapes))


class _Objects:
    """The connected parts of a mask (also over corners) that comes in strips, each with its pixels and those found."""

    def __init__(self) -> None:
        self.areas, self.hits = list[Counts](), list[Counts]()
        self.count = 0
        """Parts so far; one that goes over a seam of strips is counted in each of them."""
        self.seams = list[Counts]()
        """Pairs `[N, 2]` of parts that touch over a seam."""
        self.bottom = 0
        """Index of the row below the mask so far."""
        self.last: tuple[Parts, int, int] = np.zeros(0, np.int32), 0, 0
        """The parts in the row above that: see _number_parts."""

    def add(self, start: int, true: Labels, guessed: Labels) -> None:
        """Add a strip, from row `start`."""
        left, top, width, height = cv2.boundingRect(true)
        if not width:
            return
        own = np.ascontiguousarray(true[top : top + height, left : left + width])
        count, parts = cv2.connectedComponents(own, connectivity=8)
        hit = (own & guessed[top : top + height, left : left + width]) > 0
        areas, hits = (np.bincount(parts[mask], minlength=count)[1:] for mask in (own > 0, hit))
        self.areas.append(areas)
        self.hits.append(hits)
        if top == 0 and self.bottom == start > 0:
            above, below = (_number_parts(true.shape[1], *row) for row in (self.last, (parts[0], left, self.count)))
            self.seams += _pair_neighbours(above, below)
        self.bottom, self.last = start + top + height, (parts[-1].copy(), left, self.count)
        self.count += count - 1

    def merge(self) -> tuple[Counts, Counts]:
        """Return the pixels of each connected part of the whole mask, and how many of them were found."""
        if len(self.areas) == 1:
            return self.areas[0], self.hits[0]
        none = [np.zeros(0, np.int64)]
        areas, hits = (np.concatenate(none + counts) for counts in (self.areas, self.hits))
        if not self.seams:
            return areas, hits
        above, below = np.concatenate(self.seams).T
        graph = coo_array((np.ones(len(above), np.bool_), (above, below)), shape=(self.count, self.count))
        whole = connected_components(graph, directed=False)[1]
        # Sums of whole numbers are exact in float64 below 2^53.
        areas, hits = (np.bincount(whole, weights=counts).astype(np.int64) for counts in (areas, hits))
        return areas, hits


def _number_parts(width: int, parts: Parts, left: int, before: int) -> Counts:
    """Return the number of the part at each pixel of an image's row, -1 for none.

    Args:
        width: pixels of the row.
        parts: those in the strip's box, from 1; 0 is none.
        left: column in which the box begins.
        before: parts in the strips above.
    """
    numbers = np.full(width, -1, np.int64)
    numbers[left : left + len(parts)] = np.where(parts, parts + before - 1, -1)
    return numbers


def _pair_neighbours(above: Counts, below: Counts) -> list[Counts]:
    """Pair the parts of two rows that touch, also over corners."""
    pairs = []
    for upper, lower in ((above, below), (above[1:], below[:-1]), (above[:-1], below[1:])):
        touching = (upper >= 0) & (lower >= 0)
        pairs.append(np.unique(np.stack([upper[touching], lower[touching]], axis=1), axis=0))
    return pairs


def _count_by_border(prediction: Labels, truth: Labels, own: slice) -> Counts:
    """Count pixels and wrong pixels of each label byte by border stratum in own rows, `[256, BORDER_LIMITS_PX, 2]`."""
    strata, wrong = len(BORDER_LIMITS_PX), prediction[own] != truth[own]
    index = (truth[own].astype(np.int32) * strata + compute_border_strata(truth)[own]) * 2 + wrong
    counts = np.bincount(index.ravel(), minlength=256 * strata * 2).reshape(256, strata, 2)
    return np.stack([counts.sum(axis=2), counts[..., 1]], axis=2)


def compute_border_strata(truth: Labels) -> Labels:
    """Compute the index in BORDER_LIMITS_PX of each pixel's stratum, uint8 `[H, W]`.

    A pixel that touches another class is 1 away from the border, one that is d pixels from such a pixel d + 1. Void
    between two classes hides a border: it is taken to lie in the middle.

    >>> compute_border_strata(np.array([[0, 0, 0, 0, 1]], np.uint8)).tolist()  # 4, 3, 2, 1 and 1 pixels
    [[2, 2, 1, 0, 0]]
    """
    labels = _fill_void(truth)
    touches = np.zeros(truth.shape, np.uint8)
    for ours, others in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs = labels[ours] != labels[others]
        touches[ours] |= differs
        touches[others] |= differs
    # Five discs are quicker than the distance of every pixel, and as exact.
    within = [cv2.dilate(touches, disc, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)) for disc in _DISCS]
    return np.asarray(np.sum(np.equal(within, 0), axis=0), np.uint8)


def _fill_void(truth: Labels) -> Labels:
    """Give void the label of its nearest neighbour."""
    void = mask_label(truth, VOID)
    if not void.any() or void.all():
        return truth
    _, nearest = cv2.distanceTransformWithLabels(void, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    known = void == 0
    labels = np.zeros(int(nearest.max()) + 1, np.uint8)
    labels[nearest[known]] = truth[known]
    filled: Labels = labels[nearest]
    return filled


def _draw_disc(radius: int) -> Labels:
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(rows**2 + columns**2 <= radius**2, np.uint8)


_DISCS = [_draw_disc(int(limit) - 1) for limit in BORDER_LIMITS_PX.values() if limit < math.inf]
