"""The images of a batch one by one: their labels as bytes, and work on them side by side."""

import cv2
import numpy as np
import numpy.typing as npt
import torch

from losslab.metrics.confusion import Images, check_labels, find_ignored

Labels = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
VOID = 255
MOST = 2**24
"""Pixels that OpenCV counts exactly: it counts in float32."""


def convert_to_bytes(
    prediction: Images, target: Images, num_labels: int, ignore_index: int | None
) -> list[tuple[Labels, Labels]]:
    """(prediction, truth) of each image, uint8 `[H, W]`. What the truth leaves open is VOID in both: in no class.

    Raises:
        ValueError: not int64 `[H, W]` each, other labels, or more than 255 of them.
    """
    if num_labels > VOID:
        raise ValueError(f"{num_labels} classes; labels are bytes, of which {VOID} is void")
    pairs = []
    for guess, truth in zip(prediction, target, strict=True):
        ignored = find_ignored(truth, ignore_index)
        check_labels(guess[None], truth[None], num_labels, ignored[None])
        guessed, true = (labels.masked_fill(ignored, VOID).to(torch.uint8).cpu().numpy() for labels in (guess, truth))
        pairs.append((guessed, true))
    return pairs


def list_labels(prediction: Labels, truth: Labels, num_labels: int) -> list[int]:
    """The labels that one of the two has."""
    counts = count_bytes(prediction) + count_bytes(truth)
    return [int(label) for label in np.flatnonzero(counts[:num_labels])]


def mask_label(labels: Labels, label: int) -> Labels:
    """255 where they are this label, else 0."""
    return np.asarray(cv2.inRange(labels, (label,), (label,)), np.uint8)


def count_bytes(image: Labels, mask: Labels | None = None) -> Counts:
    """How often each byte is there, where the mask is not 0: int64 `[256]`."""
    rows = max(1, MOST // max(image.shape[1], 1))
    counts = np.zeros(256, np.int64)
    for start in range(0, len(image), rows):
        part = None if mask is None else mask[start : start + rows]
        found = cv2.calcHist([image[start : start + rows]], [0], part, [256], [0, 256])
        counts += np.asarray(found).ravel().astype(np.int64)
    return counts
