"""Pictures as data URIs, so that a page is one file."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def read_shrunk(path: Path, side: int, resampling: Image.Resampling) -> Image.Image:
    """Read an image; where its longer side exceeds `side`, shrink it to that."""
    with Image.open(path) as image:
        longer = max(image.size)
        if longer <= side:
            return image.copy()
        size = (max(1, round(image.width * side / longer)), max(1, round(image.height * side / longer)))
        return image.resize(size, resampling)


def encode_photo(image: Image.Image) -> str:
    """Encode a photo as lossy WebP, which is enough to look at."""
    return encode_image(image, "webp", quality=80, method=2)


def encode_labels(labels: npt.NDArray[np.uint8], palette: Sequence[Sequence[int]], void: Sequence[int]) -> str:
    """Encode a label map `[H, W]` in its classes' colours; labels.js reads the labels from its 8-bit, unfiltered rows."""
    image = Image.fromarray(np.ascontiguousarray(labels))
    image.putpalette([*(channel for colour in palette for channel in colour), *[0] * (765 - 3 * len(palette)), *void])
    return encode_image(image, "png", bits=8)


def encode_mask(mask: npt.NDArray[np.bool_], colour: Sequence[int]) -> str:
    """Encode a mask `[H, W]` in one colour, transparent elsewhere."""
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette([0, 0, 0, *colour])
    return encode_image(image, "png", transparency=0)


def encode_image(image: Image.Image, kind: str, **options: Any) -> str:
    """Encode an image as a data URI; `options` go to Pillow's `save`."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return encode_uri(buffer.getvalue(), kind)


def encode_uri(content: bytes, kind: str) -> str:
    """Encode the content of an image file as a data URI; `kind` is its subtype, such as `svg+xml`."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")
