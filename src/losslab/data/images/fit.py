"""Images and masks at the size that nets are trained on: stretched, or in their own shape with padding."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from losslab.cards import IGNORE_INDEX
from losslab.data.images.decode import Pixels
from losslab.io.windows import Values

Fit = Literal["stretch", "letterbox", "tile"]
"""Images are resized to a square, resized within one, or kept at their own size and shown to the net in tiles."""


@dataclass(frozen=True)
class Placement:
    """The position and size of an image within size x size pixels, in pixels."""

    top: int
    left: int
    height: int
    width: int


def compute_placement(height: int, width: int, size: int, fit: Fit) -> Placement:
    """Compute where an image goes in size x size pixels: `letterbox` centres it, its longer side `size` pixels long."""
    if fit == "stretch":
        return Placement(0, 0, size, size)
    longer = max(height, width)
    rows, columns = max(round(height * size / longer), 1), max(round(width * size / longer), 1)
    return Placement((size - rows) // 2, (size - columns) // 2, rows, columns)


def resize_pair(image: Values, mask: Pixels, size: int, fit: Fit) -> tuple[Values, Pixels]:
    """Resize an image `[H, W, B]` and its labels `[H, W, …]` without padding or making up labels."""
    place = compute_placement(mask.shape[0], mask.shape[1], size, fit)
    return _resize_image(image, place), resize_labels(mask, size, fit)


def resize_labels(mask: Pixels, size: int, fit: Fit) -> Pixels:
    """Resize labels `[H, W]`, or `[H, W, classes]` of overlapping classes, to the nearest, without padding."""
    place = compute_placement(mask.shape[0], mask.shape[1], size, fit)
    bands = resize_bands(np.atleast_3d(mask), (place.width, place.height), cv2.INTER_NEAREST_EXACT)
    return np.asarray(bands.reshape(place.height, place.width, *mask.shape[2:]), np.uint8)


def restore_labels(labels: Pixels, height: int, width: int) -> Pixels:
    """Bring resized labels back to a file's size as predictions are: each pixel gets the label of the largest weight.

    Weights are linear between the labels' centres, as `losslab.inference.predictor.restore_size` has it for logits.
    """
    first, *others = np.flatnonzero(np.bincount(labels.ravel())).tolist()
    restored = np.full((height, width), first, np.uint8)
    largest = _weigh(labels, first, height, width)
    for label in others:
        weights = _weigh(labels, label, height, width)
        # All bits set, or none: an index of bools takes several times as long.
        wins = -(weights > largest).view(np.uint8)
        restored ^= (restored ^ label) & wins
        largest = np.maximum(largest, weights)
    return restored


def pad_pair(image: Values, mask: Pixels, size: int) -> tuple[Values, Pixels]:
    """Centre an image and its mask in size x size pixels, with zeros and void around them."""
    return _pad(image, size, 0), _pad(mask, size, IGNORE_INDEX)


def fit_image(image: Values, size: int, fit: Fit) -> Values:
    """Resize and pad an image alone, as prepare does for the net: `[H, W, B]` → `[size, size, B]`."""
    return _pad(_resize_image(image, compute_placement(image.shape[0], image.shape[1], size, fit)), size, 0)


def _resize_image(image: Values, place: Placement) -> Values:
    """Resize by area where the image shrinks, linearly where it grows."""
    shrinks = place.width <= image.shape[1] and place.height <= image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return resize_bands(image, (place.width, place.height), interpolation)


def resize_bands(image: Values, size: tuple[int, int], interpolation: int) -> Values:
    """Resize an image `[H, W, B]` to a width and height, by one of OpenCV's interpolations."""
    bands = image.shape[2]
    # OpenCV shrinks no more than four bands at once, and is quickest with three.
    parts = [image] if bands == 3 else [np.ascontiguousarray(image[..., band]) for band in range(bands)]
    resized = [cv2.resize(part, size, interpolation=interpolation) for part in parts]
    return np.asarray(resized[0] if bands == 3 else np.stack(resized, axis=2))


def _weigh(labels: Pixels, label: int, height: int, width: int) -> Pixels:
    is_label = (labels == label) * np.uint8(255)
    return np.asarray(cv2.resize(is_label, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _pad(pixels: Values, size: int, value: int) -> Values:
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    top, left = (size - height) // 2, (size - width) // 2
    square = np.full((size, size, *pixels.shape[2:]), value, pixels.dtype)
    square[top : top + height, left : left + width] = pixels
    return square
