"""Labels of an image from its logits, a few rows at a time: an image may be much larger than its net's input."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losslab.bands import RGB, BandFormat
from losslab.data.images.fit import Fit, fit_image
from losslab.inference.predictor import Predictor, restore_rows
from losslab.inference.tensors import to_labels
from losslab.inference.tiling import Rows, count_rows_at_once, predict_whole, split_rows
from losslab.io.windows import ArrayWindows, Values

Labels = npt.NDArray[np.uint8]


def restore_in_rows(logits: Tensor, height: int, width: int, fit: Fit) -> Iterator[Rows]:
    """Restore logits `[1, K, size, size]` of one fitted image to its own size, a few rows at a time from the top."""
    at_once = count_rows_at_once(logits.shape[1], width)
    for top in range(0, height, at_once):
        yield top, restore_rows(logits, height, width, fit, top, min(top + at_once, height))


def compute_row_labels(logits: Tensor, threshold: float = 0.5, overlapping: bool = False) -> Labels:
    """Label logits `[1, K, rows, W]` as uint8 `[rows, W]`; one logit is 1 where its probability is above `threshold`.

    So is each of overlapping classes: uint8 `[rows, W, K]`.
    """
    if (overlapping or logits.shape[1] == 1) and threshold != 0.5:
        logits = logits - math.log(threshold / (1 - threshold))
    return np.ascontiguousarray(to_labels(logits, overlapping)[0].to(torch.uint8).cpu().numpy())


def to_pixels(array: npt.NDArray[Any], bands: BandFormat) -> Values:
    """Return an array as an image `[H, W, B]` of the type that the bands have. Raises ValueError if it is none."""
    dtype, count = np.dtype(bands.dtype), len(bands.names)
    kinds, limits = ("iuf", np.finfo(dtype)) if dtype.kind == "f" else ("iu", np.iinfo(dtype))
    # Nested lists give 64 bits. What has fewer bits than the files are values of something else.
    fits = array.dtype.kind in kinds and array.dtype.itemsize >= dtype.itemsize and array.size
    if fits and array.ndim == 3 and array.shape[2] == count and limits.min <= array.min() and array.max() <= limits.max:
        return np.ascontiguousarray(array, dtype)
    wanted = "uint8 [H, W, 3], RGB" if bands == RGB else f"{dtype} [H, W, {count}], bands {', '.join(bands.names)}"
    finite = "finite " if dtype.kind == "f" else ""
    raise ValueError(f"an array must be {finite}{wanted}, not {array.dtype} {list(array.shape)}")


def predict_image(predictor: Predictor, image: Values) -> Labels:
    """Label an image `[H, W, B]` of any size as uint8 `[H, W]`, as `losslab predict --scale trained` does.

    Labels of overlapping classes are `[H, W, C]`, 1 where a class is.

    Its bands and their type are the model's: uint8 `[H, W, 3]`, RGB, unless model.json says something else.
    """
    rows = (
        compute_row_labels(logits, overlapping=predictor.overlapping) for _, logits in _predict_rows(predictor, image)
    )
    return np.concatenate(list(rows))


def _predict_rows(predictor: Predictor, image: Values) -> Iterator[Rows]:
    height, width = image.shape[:2]
    fit = predictor.description["fit"]
    if fit == "tile":
        return split_rows(predict_whole(predictor, ArrayWindows(image)))
    fitted = fit_image(image, predictor.description["size"], fit)
    logits = predictor.compute_logits(torch.from_numpy(np.ascontiguousarray(fitted))[None])
    return restore_in_rows(logits, height, width, fit)
