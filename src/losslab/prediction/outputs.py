"""The files that are written for an image: its mask, an overlay, and probabilities."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from losslab.bands import Bands
from losslab.cards import NO_CLASS
from losslab.data.images.decode import Pixels
from losslab.data.images.georeference import read_georeference
from losslab.io.files import atomic_write
from losslab.io.windows import PixelWindows
from losslab.prediction.inputs import SOFTWARE
from losslab.prediction.label_map import Labels

Palette = Sequence[Sequence[int]]
BACKGROUND = "background"
"""Name of the class that overlays do not tint."""
JPEG_QUALITY = 90
"""JPEG quality, 0 to 100."""
MAX_JPEG_SIDE_PX = 65500
"""Longest side that libjpeg writes."""
ROWS_AT_ONCE = 512
"""Rows of an image that are drawn at once, and of an overlay that are tinted."""
BLOCK_PX = 256
"""Side of a GeoTIFF's blocks."""
GDAL_CACHE_MB = 64
"""Blocks that GDAL keeps; else it takes a twentieth of the machine's memory."""


def save_mask(labels: Labels, palette: Palette, path: Path) -> None:
    """Save labels uint8 `[H, W]` as a palette PNG: the value of a pixel is its label, its colour that of the class."""
    image = Image.fromarray(labels)
    colours = [channel for colour in palette for channel in colour]
    image.putpalette(colours + [0] * (768 - len(colours)))
    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    with atomic_write(path) as partial:
        image.save(partial, format="PNG", pnginfo=info)


def save_class_bands(labels: Labels, classes: Sequence[str], path: Path) -> None:
    """Save labels `[H, W, C]` of overlapping classes as a TIFF with a band for each class, 1 where it is and 0 elsewhere."""
    with atomic_write(path) as partial:
        tifffile.imwrite(
            partial,
            np.moveaxis(labels, -1, 0),
            photometric="minisblack",
            planarconfig="separate",
            compression="deflate",
            software=SOFTWARE,
            description=f"classes: {', '.join(classes)}",
            metadata=None,
        )


def save_geotiff_mask(labels: Labels, palette: Palette, source: Path, path: Path, classes: Sequence[str] = ()) -> None:
    """Save labels as `save_mask` or `save_class_bands`, but as a GeoTIFF that lies where `source` lies. Needs rasterio.

    Args:
        classes: names of the bands of overlapping classes.
    """
    import rasterio
    from rasterio.windows import Window

    height, width, count = *labels.shape[:2], 1 if labels.ndim == 2 else labels.shape[2]
    crs, transform = read_georeference(source) or (None, None)
    with atomic_write(path) as partial, partial.open("wb") as file, rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB):
        layout = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "compress": "deflate"}
        meaning = "palette" if labels.ndim == 2 else "minisblack"
        kind = {"driver": "GTiff", "dtype": "uint8", "count": count, "photometric": meaning, "bigtiff": "if_safer"}
        place = {"height": height, "width": width, "crs": crs, "transform": transform}
        # Into a path GDAL may write half of it on a full disk, and not say so; this way it is written by Python.
        with rasterio.open(file, "w", **kind, **layout, **place) as written:
            written.update_tags(TIFFTAG_SOFTWARE=SOFTWARE)
            if labels.ndim == 3:
                written.descriptions = classes
            else:
                written.write_colormap(1, {label: tuple(colour) for label, colour in enumerate(palette)})
            for top in range(0, height, BLOCK_PX):
                rows = np.atleast_3d(labels[top : top + BLOCK_PX])
                written.write(np.moveaxis(rows, -1, 0), window=Window(0, top, width, len(rows)))


def draw_picture(image: PixelWindows, bands: Bands, step: int = 1) -> Pixels:
    """Draw an image as RGB `[H, W, 3]`, or every `step`-th pixel of every `step`-th row of it."""
    height, width = (len(range(0, length, step)) for length in (image.height, image.width))
    picture, at_once = np.empty((height, width, 3), np.uint8), max(ROWS_AT_ONCE // step, 1)
    for row in range(0, height, at_once):
        top = row * step
        rows = image.read(top, 0, min(at_once * step, image.height - top), image.width)
        picture[row : row + at_once] = bands.draw(rows[::step, ::step])
    return picture


def save_overlay(image: Pixels, labels: Labels, palette: Palette, tinted: Sequence[bool], path: Path) -> None:
    """Save what `draw_overlay` draws as JPEG. Raises OSError if it is too large, or the file cannot be written."""
    if max(labels.shape) > MAX_JPEG_SIDE_PX:
        raise OSError(f"a JPEG has at most {MAX_JPEG_SIDE_PX} pixels a side")
    pixels = draw_overlay(image, labels, palette, tinted)
    encoded = io.BytesIO()  # into a file Pillow may write half of it on a full disk, and not say so
    Image.fromarray(pixels).save(encoded, format="JPEG", quality=JPEG_QUALITY)
    with atomic_write(path) as partial:
        partial.write_bytes(encoded.getbuffer())


def draw_overlay(image: Pixels, labels: Labels, palette: Palette, tinted: Sequence[bool]) -> Pixels:
    """Cover an RGB image `[H, W, 3]` with the colours of the `tinted` classes: half, and fully where a class ends."""
    thickness = max(round(max(labels.shape) / 500), 1)
    square = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
    contour = cv2.dilate(labels, square) != cv2.erode(labels, square)
    colours, overlay = np.asarray(palette, np.uint16), np.empty_like(image)
    half, full = (np.asarray(tinted) * np.uint16(share) for share in (128, 255))
    for top in range(0, len(image), ROWS_AT_ONCE):  # a few at a time: they take ten times the memory of labels
        rows = slice(top, top + ROWS_AT_ONCE)
        cover = np.where(contour[rows], full[labels[rows]], half[labels[rows]])[..., None]
        overlay[rows] = (image[rows] * (255 - cover) + colours[labels[rows]] * cover + 127) // 255
    return overlay


def choose_tinted_classes(classes: Sequence[str], num_classes: int) -> list[bool]:
    """Choose the classes that overlays show: all but the background, by name or as the first class of a binary net."""
    return [
        name.lower() != BACKGROUND and not (label == 0 and (num_classes == 1 or name == NO_CLASS))
        for label, name in enumerate(classes)
    ]


@contextmanager
def open_probability_file(
    path: Path, shape: tuple[int, int, int]
) -> Iterator[Callable[[int, npt.NDArray[np.float32]], None]]:
    """Yield a function that writes rows `[C, rows, W]` from row `top` on into a .npy of float16 `[C, H, W]`."""
    _, height, width = shape
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        start = file.tell()

        def write(top: int, probabilities: npt.NDArray[np.float32]) -> None:
            for label, rows in enumerate(np.ascontiguousarray(probabilities, "<f2")):
                file.seek(start + (label * height + top) * width * 2)
                file.write(rows.data)

        yield write
