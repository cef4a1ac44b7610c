"""Labels of an image from its logits, a few rows at a time: an image may be much larger than its net's input."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losslab.data.images.decode import Pixels
from losslab.data.images.fit import Fit, fit_image
from losslab.inference.predictor import Predictor, restore_rows
from losslab.inference.tensors import to_labels
from losslab.inference.tiling import Rows, count_rows_at_once

Labels = npt.NDArray[np.uint8]


def restore_in_rows(logits: Tensor, height: int, width: int, fit: Fit) -> Iterator[Rows]:
    """Restore logits `[1, K, size, size]` of one fitted image to its own size, a few rows at a time from the top."""
    at_once = count_rows_at_once(logits.shape[1], width)
    for top in range(0, height, at_once):
        yield top, restore_rows(logits, height, width, fit, top, min(top + at_once, height))


def compute_row_labels(logits: Tensor, threshold: float = 0.5) -> Labels:
    """Label logits `[1, K, rows, W]` as uint8 `[rows, W]`; one logit is 1 where its probability is above `threshold`."""
    if logits.shape[1] == 1 and threshold != 0.5:
        logits = logits - math.log(threshold / (1 - threshold))
    return np.asarray(to_labels(logits)[0].to(torch.uint8).cpu().numpy())


def to_pixels(array: npt.NDArray[Any]) -> Pixels:
    """Return an array as an RGB image uint8 `[H, W, 3]`. Raises ValueError if it is none."""
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:  # nested lists give int64
        array = array.astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(f"an array must be uint8 [H, W, 3], RGB, not {array.dtype} {list(array.shape)}")
    return np.ascontiguousarray(array)


def predict_image(predictor: Predictor, image: Pixels) -> Labels:
    """Label an RGB image uint8 `[H, W, 3]` of any size as uint8 `[H, W]`, as `losslab predict --scale trained` does."""
    height, width = image.shape[:2]
    fit = predictor.description["fit"]
    fitted = fit_image(image, predictor.description["size"], fit)
    logits = predictor.compute_logits(torch.from_numpy(np.ascontiguousarray(fitted))[None])
    labels = np.empty((height, width), np.uint8)
    for top, rows in restore_in_rows(logits, height, width, fit):
        labels[top : top + rows.shape[-2]] = compute_row_labels(rows)
    return labels
