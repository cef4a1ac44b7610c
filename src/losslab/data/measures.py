"""Measures of prepared labels that losses are sensitive to: imbalance, and the size, number and thinness of objects."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from losslab.data.loading.arrays import ImageRow, PreparedData
from losslab.errors import InputError
from losslab.io.windows import iterate_strips
from losslab.metrics.images import VOID, Counts, Labels, count_bytes, mask_label
from losslab.metrics.strata import BORDER_LIMITS_PX, BORDER_MARGIN_PX, SIZE_LIMITS, compute_border_strata

MAX_IMAGES = 1000
"""Images that are measured, at even distance, where a training split has more."""
NEAR_STRATA = [*BORDER_LIMITS_PX].index("2") + 1
"""Strata of pixels that are at most 2 pixels away from a border."""
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DatasetMeasures:
    """Measures of the labels of a training split, at the size at which they were prepared; void counts nowhere.

    Foreground is every class but the one with the most pixels; where classes overlap, every class. An object is a connected
    part of one foreground class, also over corners. Shares are of 1.
    """

    classes: int
    """Number of classes of the card."""
    images: int
    """Images of the training split."""
    side_px: float
    """Side, in pixels, of a square with as many pixels as a mean image has, void too."""
    rarest_share: float
    """Share of the pixels that have the rarest class, of those that occur at all."""
    effective_classes: float
    """Number of equally frequent classes that would be as hard to guess: exp of the entropy of the pixel shares, 1 at least."""
    foreground_share: float
    """Share of the pixels that are foreground; where classes overlap, of all decisions, one for each class and pixel."""
    empty_share: float
    """Share of the images without any foreground."""
    objects_per_image: float
    """Mean number of objects of an image."""
    object_share: float
    """Median over the objects of their share of their image's pixels."""
    tiny_share: float
    """Share of the foreground's pixels that are in objects below 0.1 % of their image, evaluate's `tiny`."""
    small_share: float
    """Share of the foreground's pixels that are in objects below 1 % of their image, `tiny` ones too."""
    width_px: float
    """Twice the foreground's pixels over the length of its contours: the width of a stripe, half the diameter of a disc."""
    thinnest_px: float
    """The width of the class for which it is smallest."""
    border_share: float
    """Share of the pixels (of decisions, where classes overlap) that are at most 2 pixels away from another class."""


def measure_dataset(prepared: Path) -> DatasetMeasures:
    """Measure the labels of the training split in the folder that the prepare stage wrote.

    Of more than 1,000 images, every second, third, … is measured. Memory holds a strip of one image; an object of a
    larger image than that counts once for each strip.

    Args:
        prepared: data/prepared/NAME.

    Raises:
        InputError: there are no prepared data, or the labels have less than two classes: nothing is there to segment.
    """
    data = PreparedData(prepared)
    names, masks = data.describe()["classes"], data.rows("train", "masks")
    step = math.ceil(len(masks) / MAX_IMAGES) or 1
    images = [_measure_image(ImageRow(masks, index), len(names)) for index in range(0, len(masks), step)]
    pixels, known, near, contours = np.sum([image.counts for image in images], axis=0).T
    if not known.any():
        raise InputError(f"{prepared}: its training images have no label but void; look at its masks and its card")
    background = None if masks.bands else int(np.argmax(pixels))
    present = np.flatnonzero(pixels)
    foreground = present[present != background]
    if not len(foreground):
        only = "no class" if background is None else f"no class but {names[background]}"
        raise InputError(f"{prepared}: its training images have {only}: nothing is there to segment")
    of_classes = pixels[present] / pixels.sum()
    areas = np.concatenate([image.areas[label] for image in images for label in foreground])
    shares = np.concatenate([image.areas[label] / image.counts[label, 1] for image in images for label in foreground])
    tiny, small = (float(areas[shares < SIZE_LIMITS[name]].sum() / areas.sum()) for name in ("tiny", "small"))
    return DatasetMeasures(
        classes=len(names),
        images=len(masks),
        side_px=math.sqrt(np.mean([image.size for image in images])),
        rarest_share=float((pixels[present] / known[present]).min()),
        effective_classes=math.exp(-np.sum(of_classes * np.log(of_classes))),
        foreground_share=float(pixels[foreground].sum() / (known.sum() if background is None else known[0])),
        empty_share=float(np.mean([not image.counts[foreground, 0].any() for image in images])),
        objects_per_image=len(areas) / len(images),
        object_share=float(np.median(shares)),
        tiny_share=tiny,
        small_share=small,
        width_px=_measure_width(pixels[foreground].sum(), contours[foreground].sum()),
        thinnest_px=min(_measure_width(pixels[label], contours[label]) for label in foreground),
        border_share=float(near.sum() / known.sum()),
    )


@dataclass(frozen=True)
class _ImageMeasures:
    counts: Numbers
    """`[C, (pixels, known pixels, those near a border, length of the contours)]`."""
    areas: list[Counts]
    """Pixels of each object, class by class."""
    size: int
    """Number of its pixels, void too."""


def _measure_image(image: ImageRow, classes: int) -> _ImageMeasures:
    counts, areas = np.zeros((classes, 4)), [[np.zeros(0, np.int64)] for _ in range(classes)]
    for strip in iterate_strips(image.height, image.width, BORDER_MARGIN_PX):
        labels = strip.read(image)
        if labels.ndim == 2:
            _add_strip(counts, areas, labels, strip.own)
            continue
        for label in range(classes):  # each is a mask of its own, in which 1 is the class
            pair, parts = np.zeros((2, 4)), [[], areas[label]]
            _add_strip(pair, parts, np.ascontiguousarray(labels[..., label]), strip.own)
            counts[label] += pair[1]
    return _ImageMeasures(counts, [np.concatenate(parts) for parts in areas], image.height * image.width)


def _add_strip(counts: Numbers, areas: list[list[Counts]], labels: Labels, own: slice) -> None:
    """Add the own rows of a strip to the counts of _ImageMeasures and to its objects' pixels."""
    inner = labels[own]
    pixels = count_bytes(inner)[: len(counts)]
    counts[:, 0] += pixels
    counts[:, 1] += pixels.sum()
    counts[:, 2] += ((compute_border_strata(labels)[own] < NEAR_STRATA) & (inner != VOID)).sum()
    counts[:, 3] += _measure_contours(labels[own.start : own.stop + 1], own.stop - own.start, len(counts))
    for label in np.flatnonzero(pixels):
        _, _, boxes, _ = cv2.connectedComponentsWithStats(mask_label(inner, int(label)), connectivity=8)
        areas[label].append(boxes[1:, cv2.CC_STAT_AREA].astype(np.int64))


def _measure_contours(labels: Labels, rows: int, classes: int) -> Numbers:
    """Measure the length in pixels of each class's contours against other classes and void, `[C]`.

    Crofton's formula over four directions: contours that run along the rows come out 5 % too short, at most.

    Args:
        rows: the rows that count; `labels` has one more, unless they are an image's last.
    """
    lengths = np.zeros(classes)
    across, ahead = labels[:rows], labels[1:]
    for one, other, weight in (
        (across[:, :-1], across[:, 1:], 1.0),
        (labels[: len(ahead)], ahead, 1.0),
        (labels[: len(ahead), :-1], ahead[:, 1:], math.sqrt(0.5)),
        (labels[: len(ahead), 1:], ahead[:, :-1], math.sqrt(0.5)),
    ):
        differs = one != other
        ends = np.bincount(np.concatenate([one[differs], other[differs]]), minlength=VOID + 1)
        lengths += math.pi / 8 * weight * ends[:classes]
    return lengths


def _measure_width(pixels: float, contour: float) -> float:
    """Return the width of a stripe with so many pixels and such a contour; a class that fills its images has its own side."""
    return float(2 * pixels / contour) if contour else math.sqrt(pixels)
