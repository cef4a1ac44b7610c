"""Images and masks at the size that nets are trained on: stretched, or in their own shape with padding."""

from typing import Literal

import cv2
import numpy as np

from losslab.data.cards import IGNORE_INDEX
from losslab.data.preparing.decode import Pixels

Fit = Literal["stretch", "letterbox"]


def resized(image: Pixels, mask: Pixels, size: int, fit: Fit) -> tuple[Pixels, Pixels]:
    """RGB `[H, W, 3]` and labels `[H, W]` at their new size, not yet padded.

    Images are resized by area where they shrink, linearly where they grow; masks by nearest neighbour, so that no label is
    made up. `letterbox` keeps the shape: the longer side gets `size` pixels.
    """
    height, width = mask.shape
    if fit == "letterbox":
        longer = max(height, width)
        new = (max(round(width * size / longer), 1), max(round(height * size / longer), 1))
    else:
        new = (size, size)
    shrinks = new[0] <= width and new[1] <= height
    smaller = cv2.resize(image, new, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    labels = cv2.resize(mask, new, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(smaller, np.uint8), np.asarray(labels, np.uint8)


def padded(image: Pixels, mask: Pixels, size: int) -> tuple[Pixels, Pixels]:
    """In the middle of size x size pixels: black and void around it."""
    height, width = mask.shape
    if (height, width) == (size, size):
        return image, mask
    top, left = (size - height) // 2, (size - width) // 2
    square, labels = np.zeros((size, size, 3), np.uint8), np.full((size, size), IGNORE_INDEX, np.uint8)
    square[top : top + height, left : left + width] = image
    labels[top : top + height, left : left + width] = mask
    return square, labels
