"""Image and mask files as pixels and raw mask values, whatever real folders hold; or why a file cannot be used."""

import io
import math
import mmap
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import PREFIXES, ImageFileDirectory_v2

from losslab.bands import RGB, BandFormat
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
MAX_PIXELS = 1 << 30
"""Most pixels of a file that is decoded whole: a few bytes can claim to be a picture of any size."""


class UnusableFileError(Exception):
    """A file that cannot be used: the kind of finding, and the detail."""

    def __init__(self, kind: "KindName", detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


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
    return decode_image(_read_content(path, "unreadable image"), bands)


def decode_image(content: bytes, bands: BandFormat = RGB) -> DecodedImage:
    """Decode the bytes of an image file; see `read_image`."""
    from losslab.data.images.windows import open_content, read_stored, refuse_bands  # heavy, and seldom needed

    if bands != RGB or is_npy(content):
        with open_content(content, bands) as image:
            return DecodedImage(image.read_all(), image.orientation)
    try:
        with explain_errors("image"):
            return _decode_image(content)
    except _UncommonError as error:
        stored = read_stored(content)
        raise refuse_bands(stored, RGB, f" ({error})" if stored.dtype == np.uint8 else "") from None


def measure_file(path: Path, bands: BandFormat = RGB) -> tuple[int, int, int]:
    """Return width, height and orientation tag of an image; raises UnusableFileError where `read_image` does.

    JPEG and PNG files of 8 bits that are whole are not decoded, nor are TIFF and NPY files of other formats than RGB.
    """
    from losslab.data.images.windows import open_image

    if bands != RGB:
        with open_image(path, bands) as image:
            return image.width, image.height, image.orientation
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
            return DecodedImage(_decode_by_opencv(content), orientation)
        if opened.mode == "F" or opened.mode.startswith("I") or ";16" in _get_raw_modes(opened):
            raise _UncommonError
        return DecodedImage(np.asarray(opened.convert("RGB")), orientation)


def decode_stored(content: bytes) -> tuple[Values, bool, int]:
    """Decode a file that is no TIFF to `[H, W, B]`, as stored; return also whether B is alpha, and the orientation tag."""
    with _open(content) as opened, _limit_memory(opened):
        orientation, stored = _read_orientation(opened), _get_raw_modes(opened)
        if ";16" in stored and not opened.mode.startswith("I"):
            from imagecodecs import png_decode  # Pillow takes the upper 8 bits

            pixels = np.asarray(png_decode(content))
        elif opened.mode.startswith("I") or opened.mode in ("1", "L", "LA", "RGB", "RGBA"):
            pixels = np.asarray(opened) // _count_steps(stored)
        else:
            pixels = np.asarray(opened.convert("RGB"))
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    return pixels.astype(np.uint8) if pixels.dtype == np.bool_ else pixels, pixels.shape[2] in (2, 4), orientation


def read_mask(path: Path, in_colours: bool) -> Values:
    """Read the values of a mask: numbers uint8 or uint16 `[H, W]`, or with `in_colours` RGB `[H, W, 3]`.

    Masks of 1, 2 and 4 bits hold 0 to 1, 3 and 15, of floats (32 or 64 bits) whole numbers, of palettes their indices (or
    colours), grey saved as RGB its grey.

    Raises:
        UnusableFileError: it is unreadable, truncated, or in colours where numbers are expected.
    """
    content = _read_content(path, "unreadable mask")
    if is_npy(content):
        from losslab.data.images.windows import open_mask

        with open_mask(path, in_colours) as mask:
            return mask.read_all()
    return decode_mask(content, in_colours)


def decode_mask(content: bytes, in_colours: bool) -> Values:
    """Decode the bytes of a mask that is no NPY file; see `read_mask`."""
    with explain_errors("mask"):
        try:
            return _decode_mask(content, in_colours)
        except _UncommonError as error:
            wide = None if in_colours else _decode_doubles(content)
            if wide is None:
                raise UnusableFileError("unreadable mask", str(error)) from None
            return _take_whole_numbers(wide)


def _decode_mask(content: bytes, in_colours: bool) -> Values:
    with _open(content) as opened, _limit_memory(opened):
        stored = _get_raw_modes(opened)
        if ";16" in stored and not opened.mode.startswith("I"):
            detail = "16 bits per channel; save it as 8-bit colour, or as 16-bit grey"
            raise UnusableFileError("unreadable mask", detail)
        if in_colours:
            return np.asarray(opened.convert("RGB"))
        if opened.mode in ("1", "L", "P"):
            return np.asarray(opened).astype(np.uint8) // _count_steps(stored)
        if opened.mode == "F" or opened.mode.startswith("I"):
            return _take_whole_numbers(np.asarray(opened))
        return take_numbers(np.asarray(opened.convert("RGB")))


def take_numbers(values: Values) -> Values:
    """Return the numbers `[H, W]` of a mask `[H, W, B]`: one band, or grey saved as RGB. Raises UnusableFileError."""
    grey = values[..., 0]
    if values.shape[2] >= 3 and not (values[..., :3] == grey[..., None]).all():
        detail = "is in colours; write colours as the values of the card's classes"
        raise UnusableFileError("label not in the card", detail)
    return grey.astype(np.uint8) if grey.dtype in (np.uint8, np.bool_) else _take_whole_numbers(grey)


def take_colours(values: Values) -> Values:
    """Return the colours `[H, W, 3]` of a mask `[H, W, B]` of grey or RGB. Raises UnusableFileError."""
    if values.dtype != np.uint8:
        raise UnusableFileError("unreadable mask", f"holds {values.dtype}; save it as 8-bit colour")
    return values[..., :3] if values.shape[2] >= 3 else values[..., :1].repeat(3, axis=2)


def _take_whole_numbers(values: Values) -> Values:
    """Return whole numbers as uint16. Raises UnusableFileError for others."""
    if not (np.isfinite(values) & (values == np.rint(values))).all():
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


class _UncommonError(Exception):
    """A file that is no RGB of 8 bits, as Pillow sees it."""


_ORIENTATION = 0x0112
_SUBFILE, _BITS, _PHOTOMETRIC, _BANDS, _EXTRA_BANDS = 254, 258, 262, 277, 338
_TIFF = tuple(PREFIXES)
_LARGE = threading.Semaphore(2)
_NPY = b"\x93NUMPY"
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # of which Pillow takes up to twice as many
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


def is_npy(content: bytes | mmap.mmap) -> bool:
    return content[: len(_NPY)] == _NPY


def holds_npy(path: Path) -> bool:
    with path.open("rb") as file:
        return is_npy(file.read(len(_NPY)))


def is_tiff(content: bytes | mmap.mmap) -> bool:
    return content[:4] in _TIFF


def map_array(npy: bytes | mmap.mmap) -> Values:
    """Return the numbers of an NPY file where they lie. Raises ValueError for what is damaged, or no image."""
    head = io.BytesIO(npy[: 1 << 16])
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read(head)
    if dtype.kind not in "buif" or len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"an array of {dtype} and shape {shape}")
    if len(npy) < head.tell() + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"truncated: {len(npy)} bytes hold no array of {dtype} and shape {shape}")
    flat = np.frombuffer(npy, dtype, math.prod(shape), head.tell())
    return flat.reshape(shape[::-1]).T if in_columns else flat.reshape(shape)


def check_pixels(height: int, width: int) -> None:
    """Raise UnusableFileError if a file has more than `MAX_PIXELS`."""
    if height * width > MAX_PIXELS:
        raise UnusableFileError(
            "too large to read", f"{width} x {height} is more than {MAX_PIXELS // 10**6:,} million pixels"
        )


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
        raise _UncommonError(f"the file calls {colours} of {bands} bands colour, {alphas} alpha")
    if bits > 32 or (bits > 16 and bands > 1):
        raise _UncommonError(f"{bits} bits per channel; save it in 8 or 16")


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


@contextmanager
def explain_errors(what: Literal["image", "mask"]) -> Iterator[None]:
    """Say in an UnusableFileError what is wrong: a decoder may raise anything at all on damaged bytes."""
    try:
        yield
    except (UnusableFileError, _UncommonError):
        raise
    except Exception as error:
        raise _explain(error, what) from None


def _explain(error: Exception, what: Literal["image", "mask"]) -> UnusableFileError:
    if isinstance(error, Image.DecompressionBombError):
        return UnusableFileError("too large to read", f"more than {MAX_PIXELS // 10**6:,} million pixels")
    if find_exhausted_memory(error):  # which is no fault of the file
        raise error
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        message = UNKNOWN_FORMAT
    elif any(word in message.lower() for word in ("truncated", "broken data stream", "unexpected end", "premature")):
        return UnusableFileError("truncated image" if what == "image" else "truncated mask", message)
    return UnusableFileError("unreadable image" if what == "image" else "unreadable mask", message)
