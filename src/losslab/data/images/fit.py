"""Images and masks at the size that nets are trained on: stretched, or in their own shape with padding."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from losslab.cards import IGNORE_INDEX
from losslab.data.images.decode import Pixels

Fit = Literal["stretch", "letterbox"]


@dataclass(frozen=True)
class Placement:
    """Where an image lies within size x size pixels, in pixels."""

    top: int
    left: int
    height: int
    width: int


def compute_placement(height: int, width: int, size: int, fit: Fit) -> Placement:
    """Where an image of height x width goes: everywhere, or with `letterbox` in its own shape in the middle, the longer side
    of `size` pixels.
    """
    if fit == "stretch":
        return Placement(0, 0, size, size)
    longer = max(height, width)
    rows, columns = max(round(height * size / longer), 1), max(round(width * size / longer), 1)
    return Placement((size - rows) // 2, (size - columns) // 2, rows, columns)


def resize_pair(image: Pixels, mask: Pixels, size: int, fit: Fit) -> tuple[Pixels, Pixels]:
    """RGB `[H, W, 3]` and labels `[H, W]` at their new size, not yet padded.

    Masks are resized by nearest neighbour, so that no label is made up.
    """
    place = compute_placement(mask.shape[0], mask.shape[1], size, fit)
    labels = cv2.resize(mask, (place.width, place.height), interpolation=cv2.INTER_NEAREST_EXACT)
    return _resized_image(image, place), np.asarray(labels, np.uint8)


def pad_pair(image: Pixels, mask: Pixels, size: int) -> tuple[Pixels, Pixels]:
    """In the middle of size x size pixels: black and void around it."""
    return _padded(image, size, 0), _padded(mask, size, IGNORE_INDEX)


def fit_image(image: Pixels, size: int, fit: Fit) -> Pixels:
    """An image alone, as prepare would give it to the net: RGB `[H, W, 3]` → `[size, size, 3]`."""
    return _padded(_resized_image(image, compute_placement(image.shape[0], image.shape[1], size, fit)), size, 0)


def _resized_image(image: Pixels, place: Placement) -> Pixels:
    """By area where it shrinks, linearly where it grows."""
    shrinks = place.width <= image.shape[1] and place.height <= image.shape[0]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (place.width, place.height), interpolation=how), np.uint8)


def _padded(pixels: Pixels, size: int, value: int) -> Pixels:
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    top, left = (size - height) // 2, (size - width) // 2
    square = np.full((size, size, *pixels.shape[2:]), value, np.uint8)
    square[top : top + height, left : left + width] = pixels
    return square
