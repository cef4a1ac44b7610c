"""Statistics of prepared images for the audit: counts of labels, and thumbnails."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from losslab.cards import IGNORE_INDEX
from losslab.data.images.decode import Pixels, UnusableFileError
from losslab.data.images.fit import restore_labels
from losslab.data.prepare.near_duplicates import make_grey, shrink_grey
from losslab.io.windows import Values

MAX_GREY_SIDE_PX = 256
"""Shorter side of the grey version of an image that is measured in strips, about."""
MAX_CLASSES_APART = 16
"""Classes up to which counting one after the other is quicker than a histogram."""
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ImageStatistics:
    width: int
    height: int
    """Height of the file; `width` is its width."""
    is_resized: bool
    pixels: Counts
    """Pixels of each class, at the new size."""
    void: int
    known: int
    """Pixels that are not void."""
    overlap: Counts
    """Pixels of the file's labels that resized ones give back, see `measure_overlap`: `[2, classes]`."""
    is_flat: bool
    """Whether all values of a band are the same, in each band."""
    digest: str
    thumbnail: bytes
    """A small grey version, by which near-duplicates are found."""


class ImageMeasure:
    """Measures an image and its labels strip by strip, resized but not padded.

    Args:
        shape: height, width and bands of the image.
        classes: number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        self.shape, self.classes = shape, classes
        self.counts = np.zeros(256, np.int64)
        self.present, self.void = np.zeros(classes, np.int64), 0
        """Pixels of each overlapping class, and those that are void for all of them."""
        self.content = hashlib.md5(repr(shape).encode(), usedforsecurity=False)
        self.grey: list[Values] = []
        self.ends: list[Values] = []
        self.step = max(1, min(shape[:2]) // MAX_GREY_SIDE_PX)

    def add(self, image: Values, labels: Pixels) -> None:
        """Add the next strip: `[rows, W, B]` and `[rows, W]`, or `[rows, W, classes]` of overlapping classes."""
        if labels.ndim == 3:
            self.present += np.count_nonzero(labels == 1, axis=(0, 1))
            self.void += int((labels == IGNORE_INDEX).all(axis=2).sum())
        else:
            self.counts += count_labels(labels)
        self.content.update(np.ascontiguousarray(image).data)
        self.ends += [image.min(axis=(0, 1)), image.max(axis=(0, 1))]
        grey = make_grey(image)
        if len(image) < self.shape[0]:  # the grey version of a large image must be small
            width, height = max(1, grey.shape[1] // self.step), max(1, grey.shape[0] // self.step)
            grey = np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA))
        self.grey.append(grey)

    def finish(self, stored: tuple[int, int], overlap: Counts | None = None) -> ImageStatistics:
        """Return the statistics of an image whose file has this height and width; `overlap` if it was resized."""
        pixels = self.counts[: self.classes] + self.present
        void = int(self.counts[IGNORE_INDEX]) + self.void
        return ImageStatistics(
            width=stored[1],
            height=stored[0],
            is_resized=overlap is not None,
            pixels=pixels,
            void=void,
            known=math.prod(self.shape[:2]) - void,
            overlap=np.stack([pixels] * 2) if overlap is None else overlap,
            is_flat=bool((np.min(self.ends, axis=0) == np.max(self.ends, axis=0)).all()),
            digest=self.content.hexdigest(),
            thumbnail=shrink_grey(self.grey),
        )


def check_labels(statistics: ImageStatistics) -> None:
    """Raise UnusableFileError for an image that is all void."""
    if not statistics.known:
        raise UnusableFileError("nothing but void", "")


def count_labels(labels: Pixels) -> Counts:
    """Count the pixels that have each label, or each value of a band of 8 bits: `[256]`."""
    # OpenCV counts in float32, which is exact up to 2**24.
    parts = np.array_split(labels, 1 + (labels.size >> 23))
    counts = [cv2.calcHist([part], [0], None, [256], [0, 256]).ravel().astype(np.int64) for part in parts]
    return np.asarray(np.sum(counts, axis=0))


def measure_overlap(stored: Pixels, resized: Pixels, classes: int) -> Counts:
    """Count the pixels of each class that labels `resized` give back, and those of either: `[2, classes]`.

    Pixels that are void in `stored`, or once brought back, do not count.
    """
    if stored.ndim == 3:
        parts = [measure_overlap(stored[..., label], resized[..., label], 2)[:, 1] for label in range(classes)]
        return np.stack(parts, axis=1)
    pixels = _count_labels(stored, classes)
    if resized.shape == stored.shape:
        return np.stack([pixels, pixels])
    restored = restore_labels(resized, stored.shape[0], stored.shape[1])
    places = np.flatnonzero(stored != restored)
    before, after = stored.ravel()[places], restored.ravel()[places]
    counted = (before != IGNORE_INDEX) & (after != IGNORE_INDEX)
    became_void, lost, gained = (
        np.bincount(labels, minlength=classes)[:classes]
        for labels in (before[after == IGNORE_INDEX], before[counted], after[counted])
    )
    pixels = pixels - became_void
    return np.stack([pixels - lost, pixels + gained])


def _count_labels(labels: Pixels, classes: int) -> Counts:
    if classes > MAX_CLASSES_APART:
        return count_labels(labels)[:classes]
    return np.array([np.count_nonzero(labels == label) for label in range(classes)], np.int64)


class StatisticsTable:
    """Statistics of all images in arrays: thousands of small objects made in threads would hold memory around them."""

    def __init__(self, images: int, classes: int) -> None:
        self.images = 0
        self.pixels = np.zeros((images, classes), np.int64)
        self.void, self.known = np.zeros(images, np.int64), np.zeros(images, np.int64)
        self.overlap = np.zeros((2, classes), np.int64)
        self.is_resized = False
        """Whether any image was."""
        self.sizes = np.zeros((images, 2), np.int64)
        """Width and height of the files."""
        self.digests = np.zeros(images, "S32")

    def add(self, one: ImageStatistics) -> None:
        row = self.images
        self.pixels[row], self.void[row], self.known[row] = one.pixels, one.void, one.known
        self.sizes[row], self.digests[row] = (one.width, one.height), one.digest.encode()
        self.overlap += one.overlap
        self.is_resized |= one.is_resized
        self.images += 1

    def compute_totals(self, rows: Sequence[int]) -> "SplitTotals":
        pixels = self.pixels[rows]
        present, known = pixels > 0, self.known[rows]
        return SplitTotals(
            images=len(rows),
            pixels=pixels.sum(axis=0),
            void=int(self.void[rows].sum()),
            known=int(known.sum()),
            images_with=present.sum(axis=0),
            pixels_where_present=np.where(present, known[:, None], 0).sum(axis=0),
        )


@dataclass(frozen=True, kw_only=True)
class SplitTotals:
    """Sums over the images of a split; arrays hold one number for each class."""

    images: int
    pixels: Counts
    void: int
    known: int
    """Pixels that are not void."""
    images_with: Counts
    pixels_where_present: Counts
    """Pixels that are not void in the images that have a class, for frequencies that rare classes can be weighed by."""
