"""The images of a batch one by one: their labels as bytes, in memory or read by strips."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch

from losslab.cards import IGNORE_INDEX, check_class_count
from losslab.io.windows import PixelWindows, Strip, iterate_strips
from losslab.metrics.confusion import Images, check_labels, check_sizes, find_ignored

Labels = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
VOID = IGNORE_INDEX
"""Byte of pixels that are of no class."""
MAX_PIXELS_COUNTED = 2**24
"""Pixels that OpenCV counts exactly at a time: it counts in float32."""


class LabelPair(NamedTuple):
    """Prediction and truth of an image, uint8 `[H, W]`, VOID in both at ignored pixels."""

    prediction: Labels
    truth: Labels

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.truth.shape
        return height, width

    def read(self, top: int, bottom: int) -> "LabelPair":
        return LabelPair(self.prediction[top:bottom], self.truth[top:bottom])


@dataclass(frozen=True)
class PairWindows:
    """Prediction and truth of an image that is read by rows; reading raises ValueError for what convert_to_bytes does.

    Raises ValueError if the two have different sizes.
    """

    prediction: PixelWindows
    target: PixelWindows
    num_labels: int
    ignore_index: int | None

    def __post_init__(self) -> None:
        check_sizes(self.prediction, self.target)

    @property
    def shape(self) -> tuple[int, int]:
        return self.target.height, self.target.width

    def read(self, top: int, bottom: int) -> LabelPair:
        window = top, 0, bottom - top, self.target.width
        prediction, target = (torch.from_numpy(labels.read(*window))[None] for labels in (self.prediction, self.target))
        return convert_to_bytes(prediction, target, self.num_labels, self.ignore_index)[0]


ScoredImage = LabelPair | PairWindows


def read_strips(image: ScoredImage, margin: int = 0, rows: int | None = None) -> Iterator[tuple[Strip, LabelPair]]:
    """Yield the strips of an image, as iterate_strips does, with their labels, margins included.

    >>> image = LabelPair(np.array([[0, 2]], np.uint8), np.array([[0, VOID]], np.uint8))
    >>> [(strip.start, strip.stop, pair.truth.tolist()) for strip, pair in read_strips(image)]
    [(0, 1, [[0, 255]])]
    """
    for strip in iterate_strips(*image.shape, margin, rows):
        yield strip, image.read(strip.top, strip.bottom)


def convert_to_bytes(prediction: Images, target: Images, num_labels: int, ignore_index: int | None) -> list[LabelPair]:
    """Convert each image's labels to bytes; ignored pixels are VOID in prediction and truth.

    ValueError: they are not int64 `[H, W]` each, or hold other labels, or more than 255.

    >>> prediction, target = torch.tensor([[[0, 1]]]), torch.tensor([[[0, 9]]])
    >>> [(guess.tolist(), truth.tolist()) for guess, truth in convert_to_bytes(prediction, target, 2, 9)]
    [([[0, 255]], [[0, 255]])]
    """
    check_class_count(num_labels)
    pairs = []
    for guess, truth in zip(prediction, target, strict=True):
        ignored = find_ignored(truth, ignore_index)
        check_labels(guess[None], truth[None], num_labels, ignored[None])
        guessed, true = (labels.masked_fill(ignored, VOID).to(torch.uint8).cpu().numpy() for labels in (guess, truth))
        pairs.append(LabelPair(guessed, true))
    return pairs


def list_labels(prediction: Labels, truth: Labels, num_labels: int) -> list[int]:
    """List the labels that one of the two has, in order.

    >>> list_labels(np.array([[0, 2]], np.uint8), np.array([[0, VOID]], np.uint8), num_labels=3)
    [0, 2]
    """
    counts = count_bytes(prediction) + count_bytes(truth)
    return [int(label) for label in np.flatnonzero(counts[:num_labels])]


def mask_label(labels: Labels, label: int) -> Labels:
    """Return a mask of a label: 255 where it is, else 0.

    >>> mask_label(np.array([[0, 2]], np.uint8), 2).tolist()
    [[0, 255]]
    """
    return np.asarray(cv2.inRange(labels, (label,), (label,)), np.uint8)


def count_bytes(image: Labels, mask: Labels | None = None) -> Counts:
    """Count how often each byte is there, where the mask is not 0: int64 `[256]`.

    >>> count_bytes(np.array([[0, 2, 2]], np.uint8))[:3].tolist()
    [1, 0, 2]
    """
    rows = max(1, MAX_PIXELS_COUNTED // max(image.shape[1], 1))
    counts = np.zeros(256, np.int64)
    for start in range(0, len(image), rows):
        part = None if mask is None else mask[start : start + rows]
        histogram = cv2.calcHist([image[start : start + rows]], [0], part, [256], [0, 256])
        counts += np.asarray(histogram).ravel().astype(np.int64)
    return counts
