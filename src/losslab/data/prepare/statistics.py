"""Statistics of prepared images for the audit: counts in exact integers, and thumbnails."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from losslab.cards import IGNORE_INDEX
from losslab.data.images.decode import Pixels
from losslab.data.images.fit import restore_labels
from losslab.data.prepare.near_duplicates import shrink_image

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
    overlap: Counts
    """Pixels of the file's labels that resized ones give back, see `measure_overlap`: `[2, classes]`."""
    sums: Counts
    """Sums of the values of each channel, and of their squares: `[2, 3]`."""
    digest: str
    thumbnail: bytes
    """A small grey version, by which near-duplicates are found."""


def measure_image(image: Pixels, mask: Pixels, stored: Pixels, classes: int) -> ImageStatistics:
    """Measure an image RGB `[H, W, 3]` and its labels `[H, W]`, resized but not padded; `stored` are the file's labels."""
    counts = _count_values(mask, 0)
    histograms = np.stack([_count_values(image, channel) for channel in range(3)])
    values = np.arange(256, dtype=np.int64)
    content = hashlib.md5(repr(image.shape).encode(), usedforsecurity=False)
    content.update(np.ascontiguousarray(image).data)
    return ImageStatistics(
        width=stored.shape[1],
        height=stored.shape[0],
        is_resized=mask.shape != stored.shape,
        pixels=counts[:classes],
        void=int(counts[IGNORE_INDEX]),
        overlap=measure_overlap(stored, mask, classes),
        sums=np.stack([histograms @ values, histograms @ (values * values)]),
        digest=content.hexdigest(),
        thumbnail=shrink_image(image),
    )


def _count_values(image: Pixels, channel: int) -> Counts:
    """Count the pixels of a channel that have each value: `[256]`."""
    # OpenCV counts in float32, which is exact up to 2**24.
    parts = np.array_split(image, 1 + (image.size >> 23))
    counts = [cv2.calcHist([part], [channel], None, [256], [0, 256]).ravel().astype(np.int64) for part in parts]
    return np.asarray(np.sum(counts, axis=0))


def measure_overlap(stored: Pixels, resized: Pixels, classes: int) -> Counts:
    """Count the pixels of each class that labels `resized` give back, and those of either: `[2, classes]`.

    Pixels that are void in `stored`, or once brought back, do not count.
    """
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
        return _count_values(labels, 0)[:classes]
    return np.array([np.count_nonzero(labels == label) for label in range(classes)], np.int64)


class StatisticsTable:
    """Statistics of all images in arrays: thousands of small objects made in threads would hold memory around them."""

    def __init__(self, images: int, classes: int) -> None:
        self.images = 0
        self.pixels = np.zeros((images, classes), np.int64)
        self.void = np.zeros(images, np.int64)
        self.overlap = np.zeros((2, classes), np.int64)
        self.is_resized = False
        """Whether any image was."""
        self.sums = np.zeros((images, 2, 3), np.int64)
        self.sizes = np.zeros((images, 2), np.int64)
        """Width and height of the files."""
        self.digests = np.zeros(images, "S32")

    def add(self, one: ImageStatistics) -> None:
        row = self.images
        self.pixels[row], self.void[row], self.sums[row] = one.pixels, one.void, one.sums
        self.sizes[row], self.digests[row] = (one.width, one.height), one.digest.encode()
        self.overlap += one.overlap
        self.is_resized |= one.is_resized
        self.images += 1

    def compute_totals(self, rows: Sequence[int]) -> "SplitTotals":
        pixels = self.pixels[rows]
        present, labelled = pixels > 0, pixels.sum(axis=1, keepdims=True)
        return SplitTotals(
            images=len(rows),
            pixels=pixels.sum(axis=0),
            void=int(self.void[rows].sum()),
            images_with=present.sum(axis=0),
            pixels_where_present=np.where(present, labelled, 0).sum(axis=0),
            sums=self.sums[rows].sum(axis=0),
        )


@dataclass(frozen=True, kw_only=True)
class SplitTotals:
    """Sums over the images of a split; arrays hold one number for each class."""

    images: int
    pixels: Counts
    void: int
    images_with: Counts
    pixels_where_present: Counts
    """Pixels of all classes in the images that have a class, for frequencies that rare classes can be weighed by."""
    sums: Counts
    """Sums of the values of each channel, and of their squares: `[2, 3]`."""

    def compute_normalisation(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel, in 0..1 units."""
        mean, mean_of_squares = self.sums / (int(self.pixels.sum()) + self.void)
        variance = np.maximum(mean_of_squares - mean * mean, 0)
        std = np.maximum(np.sqrt(variance) / 255, 1e-3)
        return [round(value, 6) for value in (mean / 255).tolist()], [round(value, 6) for value in std.tolist()]
