"""The same test images side by side: photo, truth, and what the first run of each cell makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from losslab.comparison.result import Comparison, GalleryImage
from losslab.formats import format_score
from losslab.reporting.components.pictures import encode_labels, encode_photo
from losslab.reporting.run.sections.gallery import VOID_COLOUR

SIDES = (448, 384, 320, 256, 192, 128, 96, 64)
"""Pixels of a picture's longer side: the largest is taken with which all fit into MOST_BYTES."""
MOST_BYTES = 3_000_000


@dataclass(frozen=True)
class GalleryPicture:
    cell: str
    iou: str
    uri: str


@dataclass(frozen=True)
class GalleryStrip:
    name: str
    width: int
    height: int
    photo: str
    truth: str
    """Data URIs."""
    predictions: list[GalleryPicture]


def build_gallery(comparison: Comparison) -> list[GalleryStrip]:
    """At the largest of SIDES with which all fit, tried with the first image."""
    if not comparison.gallery:
        return []
    for side in SIDES:
        first = _strip(comparison, comparison.gallery[0], side)
        if _bytes([first]) * len(comparison.gallery) > 1.5 * MOST_BYTES and side > SIDES[-1]:
            continue
        strips = [first, *(_strip(comparison, image, side) for image in comparison.gallery[1:])]
        if _bytes(strips) <= MOST_BYTES:
            break
    return strips


def _bytes(strips: Sequence[GalleryStrip]) -> int:
    return sum(
        len(uri)
        for strip in strips
        for uri in (strip.photo, strip.truth, *(picture.uri for picture in strip.predictions))
    )


def _strip(comparison: Comparison, image: GalleryImage, side: int) -> GalleryStrip:
    shown = _shrunk(image.photo, side, Image.Resampling.LANCZOS).convert("RGB")
    predictions = [
        GalleryPicture(one.cell, format_score(one.iou), _labels(comparison, one.label_map, side))
        for one in image.predictions
    ]
    return GalleryStrip(
        image.name, shown.width, shown.height, encode_photo(shown), _labels(comparison, image.truth, side), predictions
    )


def _labels(comparison: Comparison, path: Path, side: int) -> str:
    labels = np.asarray(_shrunk(path, side, Image.Resampling.NEAREST), np.uint8)
    return encode_labels(labels, comparison.palette, VOID_COLOUR)


def _shrunk(path: Path, side: int, resampling: Image.Resampling) -> Image.Image:
    with Image.open(path) as image:
        scale = min(1.0, side / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        return image.resize(size, resampling) if size != image.size else image.copy()
