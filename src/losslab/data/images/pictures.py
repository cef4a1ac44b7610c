"""Files that are decoded whole, mostly by Pillow, to RGB, to what they hold, and to the values of masks."""

import io
import re
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import PREFIXES, ImageFileDirectory_v2

from losslab.data.images.files import (
    MAX_TIFF_PAGES,
    UNKNOWN_FORMAT,
    Content,
    Pixels,
    UncommonFileError,
    UnusableFileError,
    Values,
    explain_errors,
)
from losslab.io.windows import STRIP_PIXELS, iterate_strips

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats that are opened: Pillow knows dozens more, and runs a program on one of them (EPS)."""
LARGE_IMAGE_PIXELS = 64 << 20


def decode_rgb(content: bytes) -> tuple[Pixels, int]:
    """Decode an image of 1 or 8 bits to RGB `[H, W, 3]`, as stored; return also its orientation tag.

    Raises UnusableFileError, and UncommonFileError for other bands and types.
    """
    with explain_errors("image"):
        return _decode_rgb(content)


def _decode_rgb(content: bytes) -> tuple[Pixels, int]:
    with _open(content) as opened, limit_memory(opened.height, opened.width):
        orientation = _read_orientation(opened)
        if opened.format == "JPEG" and opened.mode in ("L", "RGB") and _is_complete(content):
            # OpenCV's decoder is nearly twice as fast.
            return _decode_by_opencv(content), orientation
        if opened.mode == "F" or opened.mode.startswith("I") or ";16" in _get_raw_modes(opened):
            raise UncommonFileError
        if opened.format == "TIFF" and orientation in _TURNS_BACK:  # which Pillow has turned by its tag
            return np.asarray(opened.convert("RGB").transpose(_TURNS_BACK[orientation])), orientation
        return _convert_to_rgb(opened), orientation


def _convert_to_rgb(opened: Image.Image) -> Pixels:
    """Convert to RGB `[H, W, 3]`, a large image in strips: Pillow would hold it four times."""
    if opened.height * opened.width <= STRIP_PIXELS:
        return np.asarray(opened.convert("RGB"))
    opened.load()
    pixels: Pixels = np.empty((opened.height, opened.width, 3), np.uint8)
    for strip in iterate_strips(opened.height, opened.width):
        rows = opened.crop((0, strip.start, opened.width, strip.stop))
        pixels[strip.start : strip.stop] = np.asarray(rows.convert("RGB"))
    return pixels


_TURNS_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What undoes the turn that an orientation tag asks for."""


def measure_rgb(content: bytes) -> tuple[int, int, int]:
    """Return width, height and orientation tag of the bytes of an image, which `decode_rgb` would decode.

    JPEG and PNG files of 8 bits that are whole are not decoded.
    """
    try:
        with _open(content) as opened:
            width, height, orientation = *opened.size, _read_orientation(opened)
            is_plain = opened.mode not in ("I", "F") and "16" not in opened.mode + _get_raw_modes(opened)
            if is_plain and opened.format == "PNG":
                opened.verify()  # the checksum of each part
                return width, height, orientation
            if is_plain and opened.format == "JPEG" and _is_complete(content):
                return width, height, orientation
    except UnusableFileError:
        raise
    except Exception:  # of damaged bytes; the decoder says what is wrong with them
        pass
    pixels, orientation = decode_rgb(content)
    return pixels.shape[1], pixels.shape[0], orientation


def read_header(content: Content) -> tuple[int, np.dtype, bool]:
    """Return the number and type of bands that `decode_stored` would give, and whether the last is alpha."""
    with _open(content) as opened:
        if ";16" in _get_raw_modes(opened) or opened.mode.startswith("I"):
            bands = {"I": 1, "RGB": 3}.get(opened.mode.partition(";")[0], 2 if content[_PNG_COLOURS] == 4 else 4)
            return bands, np.dtype(np.uint16), bands in (2, 4)
        bands = {"1": 1, "L": 1, "LA": 2, "RGBA": 4}.get(opened.mode, 3)
        return bands, np.dtype(np.uint8), bands in (2, 4)


def decode_stored(content: bytes) -> tuple[Values, bool, int]:
    """Decode a file that is no TIFF to `[H, W, B]`, as stored; return also whether B is alpha, and the orientation tag."""
    with _open(content) as opened, limit_memory(opened.height, opened.width):
        orientation, stored = _read_orientation(opened), _get_raw_modes(opened)
        if ";16" in stored and not opened.mode.startswith("I"):
            from imagecodecs import png_decode  # Pillow takes the upper 8 bits

            pixels = np.asarray(png_decode(content))
        elif opened.mode.startswith("I") or opened.mode in ("1", "L", "LA", "RGB", "RGBA"):
            pixels = np.asarray(opened) // _count_steps(stored)
        else:
            pixels = _convert_to_rgb(opened)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels, pixels.shape[2] in (2, 4), orientation


def decode_mask(content: bytes, in_colours: bool) -> Values:
    """Decode the bytes of a mask that is no NPY file; see `losslab.data.images.decode.read_mask`."""
    with explain_errors("mask"):
        try:
            return _decode_mask(content, in_colours)
        except UncommonFileError as error:
            wide = None if in_colours else _decode_doubles(content)
            if wide is None:
                raise UnusableFileError("unreadable mask", str(error)) from None
            return _take_whole_numbers(wide)


def _decode_mask(content: bytes, in_colours: bool) -> Values:
    with _open(content) as opened, limit_memory(opened.height, opened.width):
        stored = _get_raw_modes(opened)
        if ";16" in stored and not opened.mode.startswith("I"):
            detail = "16 bits per channel; save it as 8-bit colour, or as 16-bit grey"
            raise UnusableFileError("unreadable mask", detail)
        if in_colours:
            return _convert_to_rgb(opened)
        if opened.mode in ("1", "L", "P"):
            return np.asarray(opened).astype(np.uint8) // _count_steps(stored)
        if opened.mode == "F" or opened.mode.startswith("I"):
            return _take_whole_numbers(np.asarray(opened))
        return take_numbers(_convert_to_rgb(opened))


def take_numbers(values: Values) -> Values:
    """Return the numbers `[H, W]` of a mask `[H, W, B]`: one band, or grey saved as RGB. Raises UnusableFileError."""
    grey = values[..., 0]
    strips = iterate_strips(*grey.shape) if values.shape[2] >= 3 else ()
    if not all(_is_grey(values[strip.start : strip.stop, :, :3]) for strip in strips):
        detail = "is in colours; write colours as the values of the card's classes"
        raise UnusableFileError("label not in the card", detail)
    return grey.astype(np.uint8) if grey.dtype in (np.uint8, np.bool_) else _take_whole_numbers(grey)


def _is_grey(values: Values) -> bool:
    return bool((values == values[..., :1]).all())


def take_colours(values: Values) -> Values:
    """Return the colours `[H, W, 3]` of a mask `[H, W, B]` of grey or RGB. Raises UnusableFileError."""
    if values.dtype != np.uint8:
        raise UnusableFileError("unreadable mask", f"holds {values.dtype}; save it as 8-bit colour")
    return values[..., :3] if values.shape[2] >= 3 else values[..., :1].repeat(3, axis=2)


def _take_whole_numbers(values: Values) -> Values:
    """Return whole numbers as uint16. Raises UnusableFileError for others."""
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        raise UnusableFileError("unreadable mask", "holds fractions; save it in 8 or 16 bits")
    if values.min() < 0 or values.max() > 65535:
        raise UnusableFileError("unreadable mask", f"holds values from {values.min()} to {values.max()}")
    return values.astype(np.uint16)


def _count_steps(raw_modes: str) -> int:
    """Return the factor by which Pillow spreads 2 and 4 bits over 0 to 255."""
    return 85 if "L;2" in raw_modes else 17 if "L;4" in raw_modes else 1


def _decode_doubles(tiff: bytes) -> Values | None:
    """Decode one band of floats of 64 bits, which Pillow does not read; None if the file holds something else."""
    try:
        values = cv2.imdecode(np.frombuffer(tiff, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return values if values is not None and values.dtype == np.float64 and values.ndim == 2 else None


_ORIENTATION = 0x0112
_SUBFILE, _BITS, _PHOTOMETRIC, _DESCRIPTION, _BANDS, _EXTRA_BANDS = 254, 258, 262, 270, 277, 338
_PNG_COLOURS = 25
"""The place where a PNG file says whether it is in colours, and has alpha."""
_TIFF = tuple(PREFIXES)
_LARGE = threading.Semaphore(2)
# The audit reports damaged files; decoders need not write to stderr about them.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", module="PIL")


def is_tiff(content: Content) -> bool:
    return content[:4] in _TIFF


def _open(content: Content) -> Image.Image:
    """Open a file of which nothing would be left out: it holds one frame, and no band beyond colours and alpha."""
    if is_tiff(content):
        _check_tiff(bytes(content))
    file: Any = io.BytesIO(content) if isinstance(content, bytes) else content
    file.seek(0)
    opened = Image.open(file, formats=FORMATS)
    # Some cameras add pictures of other sizes to a JPEG, which then is called MPO.
    if opened.format not in ("TIFF", "MPO") and getattr(opened, "is_animated", False):
        raise UnusableFileError("several frames", f"an animated {opened.format}")
    return opened


def _read_orientation(opened: Image.Image) -> int:
    tagged = "exif" in opened.info or opened.format == "TIFF"
    return opened.getexif().get(_ORIENTATION, 1) if tagged else 1


def limit_memory(height: int, width: int) -> AbstractContextManager[object]:
    """Let only two threads at a time decode images that take a gigabyte or two, however few bytes the files have."""
    return _LARGE if height * width > LARGE_IMAGE_PIXELS else nullcontext()


def _check_tiff(content: bytes) -> None:
    frames, first = 0, dict[int, Any]()
    try:
        directory, seen = ImageFileDirectory_v2(content[: 16 if content[2] == 43 else 8]), set[int]()
        with io.BytesIO(content) as file:
            while directory.next and directory.next not in seen and len(seen) < MAX_TIFF_PAGES:
                seen.add(file.seek(directory.next))
                directory.load(file)
                first = first or dict(directory)
                frames += not directory.get(_SUBFILE, 0) & 0b101  # smaller copies and outlines are no frames
    except Exception:  # of damaged bytes; the decoder says what is wrong with them
        pass
    # ImageJ may list one frame alone, behind which the others follow.
    stack = re.match(r"ImageJ=[\s\S]*?\nimages=([0-9]{1,9})\n", str(first.get(_DESCRIPTION, "")))
    frames = max(frames, int(stack[1]) if stack else 0)
    if frames > 1:
        raise UnusableFileError("several frames", f"{frames} of them")
    bands, bits, extra = first.get(_BANDS, 1), max(first.get(_BITS, (1,))), first.get(_EXTRA_BANDS, ())
    colours, alphas = {2: 3, 5: 4, 6: 3, 8: 3}.get(first.get(_PHOTOMETRIC, 1), 1), len(extra) - extra.count(0)
    if bands > colours + min(alphas, 1):
        raise UncommonFileError(f"the file calls {colours} of {bands} bands colour, {alphas} alpha")
    if bits > 32 or (bits > 16 and bands > 1):
        raise UncommonFileError(f"{bits} bits per channel; save it in 8 or 16")


def _is_complete(jpeg: bytes) -> bool:
    """Tell whether the last scan has its end mark: OpenCV silently fills what is missing with grey, Pillow does not."""
    return jpeg.rfind(b"\xff\xd9") > jpeg.rfind(b"\xff\xda")


def _get_raw_modes(image: Image.Image) -> str:
    """Return Pillow's raw modes of the image's tiles, such as L;4 or RGB;16B."""
    return " ".join(str(part) for tile in getattr(image, "tile", []) for part in tile)


def _decode_by_opencv(content: bytes) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise UnusableFileError("unreadable image", UNKNOWN_FORMAT)
    return np.asarray(pixels)
