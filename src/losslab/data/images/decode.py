"""Image and mask files as pixels and raw mask values, whatever real folders hold; or why a file cannot be used."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from losslab.bands import RGB, BandFormat
from losslab.data.images.files import Pixels, UnusableFileError, Values, is_npy, map_content, read_content
from losslab.data.images.names import list_mask_files
from losslab.data.images.pictures import decode_mask, decode_rgb, is_tiff, measure_rgb
from losslab.data.images.windows import open_content, open_mask, refuse_uncommon

__all__ = [
    "DecodedImage",
    "Pixels",
    "UnusableFileError",
    "Values",
    "decode_image",
    "measure_file",
    "read_image",
    "read_mask",
]


@dataclass(frozen=True)
class DecodedImage:
    pixels: Values
    """`[H, W, B]` as the card has it, as stored: annotators draw on the pixels, so the orientation tag is not applied."""
    orientation: int
    """The EXIF tag: 1 as stored, 2 to 8 mirrored or rotated."""

    def turn(self) -> "DecodedImage":
        """Return the image rotated and mirrored as the orientation tag says."""
        pixels = self.pixels.swapaxes(0, 1) if self.orientation in (5, 6, 7, 8) else self.pixels
        if self.orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        if self.orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        return replace(self, pixels=np.ascontiguousarray(pixels))

    def match_shape(self, shape: tuple[int, ...]) -> "DecodedImage":
        """Return the image as stored, or rotated if only that fits height and width. Raises UnusableFileError."""
        own = self.pixels.shape[:2]
        if shape == own:
            return self
        if self.orientation >= 5 and shape == own[::-1]:
            return self.turn()
        detail = f"{shape[1]} x {shape[0]}, its image {own[1]} x {own[0]} (width x height)"
        raise UnusableFileError("size mismatch", detail)


def read_image(path: Path, bands: BandFormat = RGB) -> DecodedImage:
    """Read an image whole, as the card describes it. Raises UnusableFileError.

    RGB comes from 1 or 8 bits of grey, palette, RGB(A) or CMYK; other formats from files of just these bands and type, whose
    values stay as they are. Alpha counts only as a band that the card has.
    """
    return decode_image(read_content(path, "image"), bands)


def decode_image(content: bytes, bands: BandFormat = RGB) -> DecodedImage:
    """Decode the bytes of an image file; see `read_image`."""
    if bands == RGB and not is_npy(content):
        with refuse_uncommon(content):
            return DecodedImage(*decode_rgb(content))
    with open_content(content, bands) as image:
        return DecodedImage(image.read_all(), image.orientation)


def measure_file(path: Path, bands: BandFormat = RGB) -> tuple[int, int, int]:
    """Return width, height and orientation tag of an image; raises UnusableFileError where `read_image` does.

    JPEG and PNG files of 8 bits that are whole are not decoded, nor are most TIFF files, and NPY files.
    """
    content = map_content(path, "image")
    if bands == RGB and not (is_npy(content) or is_tiff(content)):
        with refuse_uncommon(content):
            return measure_rgb(bytes(content))
    with open_content(content, bands) as image:
        return image.width, image.height, image.orientation


def read_mask(path: Path, in_colours: bool) -> Values:
    """Read the values of a mask: numbers uint8 or uint16 `[H, W]`, or with `in_colours` RGB `[H, W, 3]`.

    Masks of 1, 2 and 4 bits hold 0 to 1, 3 and 15, of floats (32 or 64 bits) whole numbers, of palettes their indices (or
    colours), grey saved as RGB its grey. A folder with a file for each object is their union: at each pixel, the largest of
    their numbers, so that objects which touch become one.

    Raises:
        UnusableFileError: it is unreadable, truncated, or in colours where numbers are expected; or the files of a folder
            differ in size.
    """
    if path.is_dir():
        return _unite_objects(path, in_colours)
    content = read_content(path, "mask")
    if is_npy(content):
        with open_mask(path, in_colours) as mask:
            return mask.read_all()
    return decode_mask(content, in_colours)


def _unite_objects(folder: Path, in_colours: bool) -> Values:
    if in_colours:
        raise UnusableFileError("unreadable mask", "a folder of objects holds numbers; the card has colours")
    united: Values | None = None
    for path in list_mask_files(folder):
        try:
            values = read_mask(path, in_colours)
        except UnusableFileError as error:
            raise UnusableFileError(error.kind, f"{path.name}: {error.detail}") from None
        if united is not None and values.shape != united.shape:
            sizes = " x ".join(map(str, values.shape[::-1])), " x ".join(map(str, united.shape[::-1]))
            detail = f"{path.name}: {sizes[0]}, the objects before it {sizes[1]} (width x height)"
            raise UnusableFileError("size mismatch", detail)
        united = values if united is None else np.maximum(united, values)
    if united is None:
        raise UnusableFileError("unreadable mask", "a folder without a file of an object")
    return united
