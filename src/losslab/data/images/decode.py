"""Image and mask files as pixels and raw mask values, whatever real folders hold; or why a file cannot be used."""

import io
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import PREFIXES, ImageFileDirectory_v2

from losslab.errors import find_exhausted_memory

if TYPE_CHECKING:
    from losslab.data.findings import KindName


Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]
UNKNOWN_FORMAT = "unknown image format"
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Formats that are opened: Pillow knows dozens more, and runs a program on one of them (EPS)."""
LARGE_IMAGE_PIXELS = 64 << 20
MAX_TIFF_PAGES = 10_000
MIN_GREY_LEVELS = 64
"""Grey values of an image's 256 below which a 16-bit file is reported, if it holds more: 14 bits just leave as many."""


class UnusableFileError(Exception):
    """A file that cannot be used: the kind of finding, and the detail."""

    def __init__(self, kind: "KindName", detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


@dataclass(frozen=True)
class DecodedImage:
    pixels: Pixels
    """RGB `[H, W, 3]`, as stored: annotators draw on the pixels, so the orientation tag is not applied."""
    orientation: int
    """The EXIF tag: 1 as stored, 2 to 8 mirrored or rotated."""
    is_deep: bool
    """Whether the file has 16 bits, of which the upper 8 were taken."""
    lost_levels: str = ""
    """What the upper 8 of 16 bits leave of the file's grey values, where that is less than `MIN_GREY_LEVELS`."""

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


def read_image(path: Path) -> DecodedImage:
    """Read an image of 1, 8 or 16 bits: grey, palette, RGB(A) or CMYK. Raises UnusableFileError."""
    return decode_image(_read_content(path, "unreadable image"))


def decode_image(content: bytes) -> DecodedImage:
    """Decode the bytes of an image file; see `read_image`."""
    try:
        return _decode_image(content)
    except UnusableFileError:
        raise
    except Exception as error:  # a decoder may raise anything at all on damaged bytes
        raise _explain(error, "image") from None


def measure_file(path: Path) -> tuple[int, int, int]:
    """Return width, height and orientation tag of an image; raises UnusableFileError where `read_image` does.

    JPEG and PNG files of 8 bits that are whole are not decoded.
    """
    content = _read_content(path, "unreadable image")
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
    decoded = decode_image(content)
    return decoded.pixels.shape[1], decoded.pixels.shape[0], decoded.orientation


def _decode_image(content: bytes) -> DecodedImage:
    with _open(content) as opened, _limit_memory(opened):
        orientation = _read_orientation(opened)
        if opened.format == "JPEG" and opened.mode in ("L", "RGB") and _is_complete(content):
            # OpenCV's decoder is nearly twice as fast.
            return DecodedImage(_decode_by_opencv(content, cv2.IMREAD_COLOR_RGB), orientation, False)
        if opened.mode.startswith("I;16"):
            grey = np.asarray(opened)
            pixels = np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
            return DecodedImage(pixels, orientation, True, _describe_lost_levels(pixels, grey[..., None]))
        if opened.mode in ("I", "F"):
            bits = "16 bits with a sign" if ";16" in _get_raw_modes(opened) else "32 bits per pixel"
            raise UnusableFileError("unreadable image", f"{bits}; save it in 8 or 16 without a sign")
        raw_modes = _get_raw_modes(opened)  # they are gone once it is decoded
        pixels = np.asarray(opened.convert("RGB"))
    if ";16" not in raw_modes:
        return DecodedImage(pixels, orientation, False)
    # Pillow itself takes the upper 8. (OpenCV 5.0's IMREAD_COLOR_RGB makes nonsense of a TIFF of 16 bits.)
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if stored is None or stored.dtype != np.uint16:
        return DecodedImage(pixels, orientation, True)
    return DecodedImage(pixels, orientation, True, _describe_lost_levels(pixels, np.asarray(stored)))


def read_mask(path: Path, in_colours: bool) -> Values:
    """Read the values of a mask: numbers uint8 or uint16 `[H, W]`, or with `in_colours` RGB `[H, W, 3]`.

    Masks of 1, 2 and 4 bits hold 0 to 1, 3 and 15, of floats (32 or 64 bits) whole numbers, of palettes their indices (or
    colours), grey saved as RGB its grey.

    Raises:
        UnusableFileError: it is unreadable, truncated, or in colours where numbers are expected.
    """
    content = _read_content(path, "unreadable mask")
    try:
        with _open(content) as opened, _limit_memory(opened):
            stored = _get_raw_modes(opened)
            if ";16" in stored and not opened.mode.startswith("I"):
                detail = "16 bits per channel; save it as 8-bit colour, or as 16-bit grey"
                raise UnusableFileError("unreadable mask", detail)
            if in_colours:
                return np.asarray(opened.convert("RGB"))
            if opened.mode in ("1", "L", "P"):
                values: Values = np.asarray(opened).astype(np.uint8)
                # Pillow spreads 2 and 4 bits over 0 to 255.
                return values // (85 if "L;2" in stored else 17 if "L;4" in stored else 1)
            if opened.mode == "F" or opened.mode.startswith("I"):
                return _take_whole_numbers(np.asarray(opened))
            colours = np.asarray(opened.convert("RGB"))
    except UnusableFileError:
        raise
    except _WideTiffError as error:
        wide = None if in_colours else _decode_doubles(content)
        if wide is None:
            raise _explain(error, "mask") from None
        return _take_whole_numbers(wide)
    except Exception as error:
        raise _explain(error, "mask") from None
    grey = colours[..., 0]
    if (colours == grey[..., None]).all():
        return grey
    raise UnusableFileError("label not in the card", "is in colours; write colours as the values of the card's classes")


def _take_whole_numbers(values: Values) -> Values:
    """Return whole numbers as uint16. Raises UnusableFileError for others."""
    if not (np.isfinite(values) & (values == np.rint(values))).all():
        raise UnusableFileError("unreadable mask", "holds fractions; save it in 8 or 16 bits")
    if values.min() < 0 or values.max() > 65535:
        raise UnusableFileError("unreadable mask", f"holds values from {values.min()} to {values.max()}")
    return values.astype(np.uint16)


def _decode_doubles(tiff: bytes) -> Values | None:
    """Decode one band of floats of 64 bits, which Pillow does not read; None if the file holds something else."""
    try:
        values = cv2.imdecode(np.frombuffer(tiff, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    return values if values is not None and values.dtype == np.float64 and values.ndim == 2 else None


class _WideTiffError(ValueError):
    """A TIFF whose numbers have more bits than Pillow reads."""


_ORIENTATION = 0x0112
_SUBFILE, _BITS, _PHOTOMETRIC, _BANDS, _EXTRA_BANDS = 254, 258, 262, 277, 338
_TIFF = tuple(PREFIXES)
_LARGE = threading.Semaphore(2)
# The audit reports damaged files; decoders need not write to stderr about them.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
warnings.filterwarnings("ignore", module="PIL")


def _read_content(path: Path, kind: "KindName") -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableFileError(kind, str(error.strerror)) from None
    if not content:
        raise UnusableFileError(kind, "empty file")
    return content


def _open(content: bytes) -> Image.Image:
    """Open a file of which nothing would be left out: it holds one frame, and no band beyond colours and alpha."""
    if content.startswith(_TIFF):
        _check_tiff(content)
    opened = Image.open(io.BytesIO(content), formats=FORMATS)
    # Some cameras add pictures of other sizes to a JPEG, which then is called MPO.
    if opened.format not in ("TIFF", "MPO") and getattr(opened, "is_animated", False):
        raise UnusableFileError("several frames", f"an animated {opened.format}")
    return opened


def _read_orientation(opened: Image.Image) -> int:
    tagged = "exif" in opened.info or opened.format == "TIFF"
    return opened.getexif().get(_ORIENTATION, 1) if tagged else 1


def _limit_memory(opened: Image.Image) -> AbstractContextManager[object]:
    """Let only two threads at a time decode images that take a gigabyte or two, however few bytes the files have."""
    return _LARGE if opened.width * opened.height > LARGE_IMAGE_PIXELS else nullcontext()


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
    if frames > 1:
        raise UnusableFileError("several frames", f"{frames} of them")
    bands, bits, extra = first.get(_BANDS, 1), max(first.get(_BITS, (1,))), first.get(_EXTRA_BANDS, ())
    colours, alphas = {2: 3, 5: 4, 6: 3, 8: 3}.get(first.get(_PHOTOMETRIC, 1), 1), len(extra) - extra.count(0)
    if bands > colours + min(alphas, 1):
        detail = f"{bands} bands, of which the file calls {colours} colour and {alphas} alpha"
        raise UnusableFileError("bands beyond RGB", detail)
    if bits > 32 or (bits > 16 and bands > 1):
        raise _WideTiffError(f"{bits} bits per channel; save it in 8 or 16")


def _describe_lost_levels(pixels: Pixels, stored: Values) -> str:
    left, held = _count_levels(pixels), _count_levels(stored)
    if left == 1 < held:
        raise UnusableFileError("16-bit image too dark", f"of its {held} grey values, to {stored.max()}, 1 is left")
    return f"{left} of {held} grey values are left" if left < min(held, MIN_GREY_LEVELS) else ""


def _count_levels(pixels: Values) -> int:
    """Count the different values of that band `[H, W, bands]` which has most."""
    return max(int(np.count_nonzero(np.bincount(band.ravel()))) for band in np.moveaxis(pixels, -1, 0))


def _is_complete(jpeg: bytes) -> bool:
    """Tell whether the last scan has its end mark: OpenCV silently fills what is missing with grey, Pillow does not."""
    return jpeg.rfind(b"\xff\xd9") > jpeg.rfind(b"\xff\xda")


def _get_raw_modes(image: Image.Image) -> str:
    """Return Pillow's raw modes of the image's tiles, such as L;4 or RGB;16B."""
    return " ".join(str(part) for tile in getattr(image, "tile", []) for part in tile)


def _decode_by_opencv(content: bytes, flags: int) -> Pixels:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise UnusableFileError("unreadable image", UNKNOWN_FORMAT)
    return np.asarray(pixels)


def _explain(error: Exception, what: Literal["image", "mask"]) -> UnusableFileError:
    if isinstance(error, Image.DecompressionBombError):
        return UnusableFileError("too large to read", "more than 179 million pixels")
    if find_exhausted_memory(error):  # which is no fault of the file
        raise error
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        message = UNKNOWN_FORMAT
    elif any(word in message.lower() for word in ("truncated", "broken data stream", "unexpected end", "premature")):
        return UnusableFileError("truncated image" if what == "image" else "truncated mask", message)
    return UnusableFileError("unreadable image" if what == "image" else "unreadable mask", message)
