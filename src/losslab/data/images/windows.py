"""Image and mask files as a card describes them, of any bands and type, read by windows."""

import mmap
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

from losslab.bands import MAX_BANDS, RGB, BandFormat
from losslab.data.images import decode
from losslab.data.images.decode import UnusableFileError, Values
from losslab.data.images.tiff import Content, TiffWindows
from losslab.formats import format_plural
from losslab.io.windows import ArrayWindows, PixelWindows

TYPES_THAT_FIT = {
    "uint8": ("uint8", "bool"),
    "uint16": ("uint16", "int16"),
    "float32": ("float32", "float64", "float16"),
}
"""Types of files by the type that a card says: their values are the same, if none is negative; float64 is rounded."""


@dataclass(frozen=True)
class StoredImage:
    """What a file holds, whatever a card says."""

    windows: PixelWindows
    """`[h, w, B]`, as stored."""
    bands: int
    dtype: np.dtype
    has_alpha: bool
    """Whether the last band is alpha."""
    orientation: int
    names: list[str]
    """Names of the bands; empty where the file has none."""

    def describe(self) -> str:
        return f"{format_plural(self.bands, 'band')} of {self.dtype}"


class ImageWindows:
    """An image or mask file of which any window can be read. It is a context, at whose end the file is closed."""

    def __init__(
        self,
        windows: PixelWindows,
        orientation: int = 1,
        convert: Callable[[Values], Values] = np.asarray,
        what: Literal["image", "mask"] = "image",
        content: Content = b"",
    ) -> None:
        self.windows, self.content = windows, content
        self.height, self.width = windows.height, windows.width
        self.orientation = orientation
        """The EXIF tag, not applied: 1 as stored, 2 to 8 mirrored or rotated."""
        self.convert, self.what = convert, what

    def read(self, top: int, left: int, height: int, width: int) -> Values:
        """Read a window, as `read_image` or `read_mask` would. Raises UnusableFileError."""
        with decode.explain_errors(self.what):
            window = np.ascontiguousarray(self.convert(self.windows.read(top, left, height, width)))
        if isinstance(self.content, mmap.mmap):
            self.content.madvise(mmap.MADV_DONTNEED)  # else memory seems to grow by all of the file that was read
        return window

    def read_all(self) -> Values:
        """Read the whole file. Raises UnusableFileError."""
        decode.check_pixels(self.height, self.width)
        return self.read(0, 0, self.height, self.width)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del self.windows
        if isinstance(self.content, mmap.mmap):
            with suppress(BufferError):  # a window that is still being read
                self.content.close()


def open_image(path: Path, bands: BandFormat = RGB) -> ImageWindows:
    """Open an image, whose windows are those of `read_image`; raises UnusableFileError where that does, or in `read`.

    Memory holds a window or two of TIFF and NPY files, and all of others.
    """
    return open_content(_map_file(path, "image"), bands)


def open_content(content: Content, bands: BandFormat = RGB) -> ImageWindows:
    """Open the bytes of an image file; see `open_image`."""
    if bands != RGB:
        stored = read_stored(content, len(bands.names))
        return ImageWindows(stored.windows, stored.orientation, _fit_bands(stored, bands), content=content)
    if decode.is_npy(content):
        stored = read_stored(content, 3)
        if stored.bands not in (1, 3) or stored.dtype != np.uint8:
            raise refuse_bands(stored, bands)
        return ImageWindows(stored.windows, 1, decode.take_colours, content=content)
    if (tiff := _try_tiff(content)) and tiff.is_plain and tiff.orientation == 1:
        return ImageWindows(tiff, 1, decode.take_colours, content=content)
    decoded = decode.decode_image(bytes(content))
    return ImageWindows(ArrayWindows(decoded.pixels), decoded.orientation)


def open_mask(path: Path, in_colours: bool) -> ImageWindows:
    """Open a mask, whose windows are those of `read_mask`; raises UnusableFileError where that does, or in `read`."""
    content = _map_file(path, "mask")
    convert = decode.take_colours if in_colours else decode.take_numbers
    if decode.is_npy(content):
        with decode.explain_errors("mask"):
            stored = _map_npy(content, 3)
            return ImageWindows(stored.windows, 1, convert, "mask", content)
    tiff = _try_tiff(content)
    if tiff and tiff.orientation == 1 and (tiff.is_plain or (tiff.holds_numbers and not in_colours)):
        return ImageWindows(tiff, 1, convert, "mask", content)
    return ImageWindows(ArrayWindows(decode.decode_mask(bytes(content), in_colours)))


def read_stored(content: Content, count: int | None = None) -> StoredImage:
    """Read what a file holds; `count` of bands decides which axis of an array in an NPY file is that of the bands.

    Raises UnusableFileError.
    """
    with decode.explain_errors("image"):
        if decode.is_npy(content):
            return _map_npy(content, count)
        if decode.is_tiff(content):
            tiff = TiffWindows(content)
            return StoredImage(tiff, tiff.bands, tiff.dtype, tiff.has_alpha, tiff.orientation, tiff.find_names())
        pixels, has_alpha, orientation = decode.decode_stored(bytes(content))
        return StoredImage(ArrayWindows(pixels), pixels.shape[2], pixels.dtype, has_alpha, orientation, [])


def describe_file(path: Path) -> StoredImage:
    """Return what an image file holds; see `read_stored`."""
    return read_stored(_map_file(path, "image"))


def refuse_bands(stored: StoredImage, bands: BandFormat, why: str = "") -> UnusableFileError:
    detail = f"{stored.describe()}{why}; the card says {len(bands.names)} of {bands.dtype}"
    return UnusableFileError("bands unlike the card", detail)


def _fit_bands(stored: StoredImage, bands: BandFormat) -> Callable[[Values], Values]:
    count = len(bands.names)
    if stored.bands != count + (stored.has_alpha and stored.bands > count):
        raise refuse_bands(stored, bands)
    if stored.dtype.name not in TYPES_THAT_FIT[bands.dtype]:
        raise refuse_bands(stored, bands)

    def convert(values: Values) -> Values:
        values = values[..., :count]
        if values.dtype == np.int16 and values.min() < 0:
            raise refuse_bands(stored, bands, f", from {values.min()} on")
        with np.errstate(over="ignore"):
            values = values.astype(bands.dtype)
        if bands.dtype == "float32" and not (finite := np.isfinite(values).all(axis=2)).all():
            gaps = np.count_nonzero(~finite)
            raise UnusableFileError("values that are not finite", f"in {gaps} of {finite.size} pixels")
        return values

    return convert


def _map_npy(content: Content, count: int | None) -> StoredImage:
    """Map the array `[H, W]`, `[H, W, B]` or `[B, H, W]` of an NPY file."""
    array = decode.map_array(content)
    if array.ndim == 2:
        array = array[..., None]
    elif not _fits(array.shape[2], count) and _fits(array.shape[0], count):
        array = np.moveaxis(array, 0, -1)
    native = array.dtype.newbyteorder("=")
    return StoredImage(ArrayWindows(array), array.shape[2], native, False, 1, [])


def _fits(bands: int, count: int | None) -> bool:
    return bands <= MAX_BANDS if count is None else bands == count


def _try_tiff(content: Content) -> TiffWindows | None:
    """Open a TIFF; None for another file, and for one that is damaged, of which the decoder of whole files tells."""
    if not decode.is_tiff(content):
        return None
    with suppress(Exception):
        return TiffWindows(content)
    return None


def _map_file(path: Path, what: Literal["image", "mask"]) -> Content:
    kind: Literal["unreadable image", "unreadable mask"] = "unreadable image" if what == "image" else "unreadable mask"
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise UnusableFileError(kind, "empty file") from None
    except OSError as error:
        raise UnusableFileError(kind, str(error.strerror)) from None
