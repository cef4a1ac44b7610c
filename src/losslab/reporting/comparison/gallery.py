"""Gallery of test images: photo, truth, and what the first run of each cell makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from losslab.comparison.result import Comparison, GalleryImage
from losslab.formats import format_score
from losslab.reporting.components.pictures import encode_labels, encode_photo, read_shrunk
from losslab.reporting.run.sections.gallery import VOID_COLOUR

SIDES_PX = (448, 384, 320, 256, 192, 128, 96, 64)
"""Sizes of a picture's longer side: the largest is taken with which all fit into MAX_GALLERY_BYTES."""
MAX_GALLERY_BYTES = 3_000_000


@dataclass(frozen=True, kw_only=True)
class GalleryStrip:
    name: str
    width: int
    height: int
    photo: str
    truth: str
    """Truth as a data URI, as the photo is."""
    predictions: list[tuple[str, str, str]]
    """Name, IoU and data URI of each cell's prediction."""


def build_gallery(comparison: Comparison) -> list[GalleryStrip]:
    """Encode the gallery at the largest of SIDES_PX with which all pictures fit, as the first image suggests."""
    if not comparison.gallery:
        return []
    for side in SIDES_PX:
        first = _build_strip(comparison, comparison.gallery[0], side)
        if _count_bytes([first]) * len(comparison.gallery) > 1.5 * MAX_GALLERY_BYTES and side > SIDES_PX[-1]:
            continue
        strips = [first, *(_build_strip(comparison, image, side) for image in comparison.gallery[1:])]
        if _count_bytes(strips) <= MAX_GALLERY_BYTES:
            break
    return strips


def _count_bytes(strips: Sequence[GalleryStrip]) -> int:
    return sum(len(one.photo) + len(one.truth) + sum(len(uri) for _, _, uri in one.predictions) for one in strips)


def _build_strip(comparison: Comparison, image: GalleryImage, side: int) -> GalleryStrip:
    photo = read_shrunk(image.photo, side, Image.Resampling.LANCZOS).convert("RGB")
    predictions = [
        (one.cell, format_score(one.iou), _encode_labels(comparison, one.label_map, side)) for one in image.predictions
    ]
    return GalleryStrip(
        name=image.name,
        width=photo.width,
        height=photo.height,
        photo=encode_photo(photo),
        truth=_encode_labels(comparison, image.truth, side),
        predictions=predictions,
    )


def _encode_labels(comparison: Comparison, path: Path, side: int) -> str:
    labels = np.asarray(read_shrunk(path, side, Image.Resampling.NEAREST), np.uint8)
    return encode_labels(labels, [colour for _, colour in comparison.picture_labels], VOID_COLOUR)
