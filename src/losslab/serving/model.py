"""The model that MLflow serves, from images to masks; this module and its imports are stored with the model."""

import base64
import binascii
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from losslab import models
from losslab.bands import Bands, read_bands
from losslab.data.images.decode import UnusableFileError, decode_image
from losslab.data.images.windows import open_content
from losslab.errors import InputError
from losslab.inference.predictor import Predictor
from losslab.io.windows import Values
from losslab.prediction.label_map import Labels, predict_image, to_pixels

COLUMN = "image"
"""Input column; a value is the bytes of an image file, in base64 over HTTP, or an array `[H, W, B]` as such files hold."""
PARAMETER, ARRAY, PNG = "masks", "array", "png"
"""Request parameter and its values: labels uint8 `[H, W]`, or a PNG of them with the card's palette, in base64.

Overlapping classes have labels `[H, W, C]`, 1 where a class is, and no PNG.
"""


MAX_ROWS, MAX_PIXELS, MAX_BYTES = 64, 20_000_000, 64_000_000
"""Images of a request, and the pixels and bytes that they may have together: a server answers all, or none in time."""


class ServedModel:
    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.bands = predictor, read_bands(predictor.description)

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[Labels | str]:
        """Predict one mask, of the size of its image, for each row of a table with the column `image`.

        Raises:
            InputError: a row is not an image, the rows are too many or too large, or `masks` is an unknown format.
        """
        kind = (params or {}).get(PARAMETER, ARRAY)
        if kind not in (ARRAY, PNG):
            raise InputError(f"params: {PARAMETER} is {kind!r}, but must be {ARRAY} or {PNG}")
        if kind == PNG and self.predictor.overlapping:
            raise InputError(f"params: {PARAMETER} is {PNG}, but classes that overlap have no PNG; take {ARRAY}")
        masks = [predict_image(self.predictor, image) for image in _read_images(model_input[COLUMN], self.bands)]
        palette = self.predictor.description["palette"]
        return [_encode_png(mask, palette) if kind == PNG else mask for mask in masks]


def _load_pyfunc(path: str) -> ServedModel:
    """Load the model; MLflow calls this by its name, with the folder of the model's data."""
    net, description = models.load(Path(path))
    return ServedModel(Predictor(net, description))


def _read_images(values: Iterable[Any], bands: Bands) -> list[Values]:
    """Read all images before the first is predicted, so that a request is answered completely or not at all."""
    images: list[Values] = []
    pixels = size = 0
    for row, value in enumerate(values):
        if row == MAX_ROWS:
            raise InputError(f"{COLUMN}: more than {MAX_ROWS} rows; send them in several requests")
        try:
            given = _decode_value(value)
            size += len(given) if isinstance(given, bytes) else 0
            pixels += _count_pixels(given, bands) if size <= MAX_BYTES else 0
            if size > MAX_BYTES or pixels > MAX_PIXELS:
                limits = f"{MAX_BYTES // 10**6} MB and {MAX_PIXELS // 10**6} Mpixel"
                raise InputError(f"the images up to here have more than {limits}; send fewer or smaller ones")
            images.append(_read_image(given, bands))
        except (UnusableFileError, ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{COLUMN} {row}: {error}") from None
    return images


def _decode_value(value: Any) -> Any:
    """Return the bytes of an image file, whatever holds them, or an array."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            raise ValueError("a text must be an image file in base64") from None
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else np.asarray(value)


def _count_pixels(value: Any, bands: Bands) -> int:
    """Count the pixels that a file's header or an array's shape says. Raises UnusableFileError for a file that has none."""
    if not isinstance(value, bytes):
        return int(value.size) // len(bands.names)
    try:
        with Image.open(io.BytesIO(value)) as opened:
            return opened.width * opened.height
    except Image.DecompressionBombError:
        return MAX_PIXELS + 1
    except Exception:  # Pillow may raise anything at all, and it knows few files of other bands than RGB
        with open_content(value, bands) as windows:
            return windows.height * windows.width


def _read_image(value: Any, bands: Bands) -> Values:
    if isinstance(value, bytes):
        return decode_image(value, bands).turn().pixels
    return to_pixels(value, bands)


def _encode_png(labels: Labels, palette: list[list[int]]) -> str:
    picture = Image.fromarray(labels)
    picture.putpalette([channel for colour in palette for channel in colour])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
