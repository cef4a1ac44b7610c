"""What MLflow serves: a function from images to masks. It and all that it imports travel with the model."""

import base64
import binascii
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from losslab import models
from losslab.data.images.decode import Pixels, UnusableFileError, decode_image
from losslab.errors import InputError
from losslab.inference.predictor import Predictor
from losslab.prediction.label_map import Labels, predict_image

COLUMN = "image"
"""Of the input: each value is the bytes of an image file, as base64 over HTTP, or an array uint8 `[H, W, 3]`, RGB."""
PARAMETER, ARRAY, PNG = "masks", "array", "png"
"""What comes back for each image: labels uint8 `[H, W]`, or a PNG of them with the card's palette, as base64."""


class ServedModel:
    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[Labels | str]:
        """A table with the column `image` → one mask for each row, of the size of its image.

        Raises:
            InputError: a row that is no image, or masks wanted in no format there is.
        """
        wanted = (params or {}).get(PARAMETER, ARRAY)
        if wanted not in (ARRAY, PNG):
            raise InputError(f"params: {PARAMETER} is {wanted!r}; it must be {ARRAY} or {PNG}")
        masks = [predict_image(self.predictor, image) for image in _images(model_input[COLUMN])]
        return [_png(mask, self.predictor.description["palette"]) for mask in masks] if wanted == PNG else list(masks)


def _load_pyfunc(path: str) -> ServedModel:
    """MLflow calls this with the folder of the model's data."""
    net, description = models.load(Path(path))
    return ServedModel(Predictor(net, description))


def _images(values: Iterable[Any]) -> list[Pixels]:
    """All before the first is predicted: a request is answered whole or not at all."""
    images = []
    for row, value in enumerate(values):
        try:
            images.append(_image(value))
        except (UnusableFileError, ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{COLUMN} {row}: {error}") from None
    return images


def _image(value: Any) -> Pixels:
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error:
            raise ValueError("a text must be an image file as base64") from None
    if isinstance(value, bytes | bytearray | memoryview):
        return decode_image(bytes(value)).turn().pixels
    array = np.asarray(value)
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:  # of nested lists
        array = array.astype(np.uint8)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(f"an array must be uint8 [H, W, 3], RGB; it is {array.dtype} {list(array.shape)}")
    return np.ascontiguousarray(array)


def _png(labels: Labels, palette: list[list[int]]) -> str:
    picture = Image.fromarray(labels)
    picture.putpalette([channel for colour in palette for channel in colour])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
