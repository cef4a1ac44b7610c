"""Gallery of test images: photo, truth, and what the first run of each cell makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from losslab.comparison.result import Comparison, GalleryImage
from losslab.formats import format_score
from losslab.reporting.components.pictures import encode_labels, encode_photo
from losslab.reporting.run.sections.gallery import VOID_COLOUR

SIDES_PX = (448, 384, 320, 256, 192, 128, 96, 64)
"""Sizes of a picture's longer side: the largest is taken with which all fit into MAX_GALLERY_BYTES."""
MAX_GALLERY_BYTES = 3_000_000


@dataclass(frozen=True)
class GalleryPicture:
    """Prediction of one cell, as a data URI."""

    cell: str
    iou: str
    uri: str


@dataclass(frozen=True, kw_only=True)
class GalleryStrip:
    """One test image; photo and truth are data URIs."""

    name: str
    width: int
    height: int
    photo: str
    truth: str
    predictions: list[GalleryPicture]


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
    return sum(
        len(uri)
        for strip in strips
        for uri in (strip.photo, strip.truth, *(picture.uri for picture in strip.predictions))
    )


def _build_strip(comparison: Comparison, image: GalleryImage, side: int) -> GalleryStrip:
    photo = _shrink(image.photo, side, Image.Resampling.LANCZOS).convert("RGB")
    predictions = [
        GalleryPicture(one.cell, format_score(one.iou), _encode_labels(comparison, one.label_map, side))
        for one in image.predictions
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
    labels = np.asarray(_shrink(path, side, Image.Resampling.NEAREST), np.uint8)
    return encode_labels(labels, comparison.palette, VOID_COLOUR)


def _shrink(path: Path, side: int, resampling: Image.Resampling) -> Image.Image:
    with Image.open(path) as image:
        scale = min(1.0, side / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, resampling) if size != image.size else image.copy()
