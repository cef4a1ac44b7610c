"""Image and mask files as a card describes them, of any bands and type, read by windows."""

import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from losslab.bands import MAX_BANDS, RGB, BandFormat
from losslab.data.images.files import (
    Content,
    FileRole,
    UncommonFileError,
    UnusableFileError,
    Values,
    check_pixels,
    explain_errors,
    is_npy,
    map_array,
    map_content,
)
from losslab.data.images.pictures import (
    decode_mask,
    decode_rgb,
    decode_stored,
    is_tiff,
    limit_memory,
    read_header,
    take_colours,
    take_numbers,
)
from losslab.data.images.tiff import TiffWindows
from losslab.formats import format_plural
from losslab.io.windows import ArrayWindows, PixelWindows

TYPES_THAT_FIT = {
    "uint8": ("uint8", "bool"),
    "uint16": ("uint16", "int16"),
    "float32": ("float32", "float64", "float16", "int16"),
}
"""Types of files by the type that a card says: their values are the same; uint16 takes nothing negative, float64 is rounded."""


@dataclass(frozen=True)
class StoredBands:
    """What a file holds, whatever a card says."""

    bands: int
    dtype: np.dtype
    has_alpha: bool
    """Whether the last band is alpha."""
    is_rgb: bool
    """Whether a card without bands describes the file."""
    names: Sequence[str] = ()
    """Names of the bands; empty where the file has none."""

    def describe(self) -> str:
        return f"{format_plural(self.bands, 'band')} of {self.dtype}"


@dataclass(frozen=True)
class StoredImage(StoredBands):
    windows: PixelWindows = field(kw_only=True)
    """`[h, w, B]`, as stored."""
    orientation: int = 1


class ImageWindows:
    """An image or mask file of which any window can be read. It is a context, at whose end the file is closed."""

    def __init__(
        self,
        windows: PixelWindows,
        orientation: int = 1,
        convert: Callable[[Values], Values] = np.asarray,
        role: FileRole = "image",
        content: Content = b"",
    ) -> None:
        self.windows, self.content = windows, content
        self.height, self.width = windows.height, windows.width
        self.orientation = orientation
        """The EXIF tag, not applied: 1 as stored, 2 to 8 mirrored or rotated."""
        self.convert, self.role = convert, role

    def read(self, top: int, left: int, height: int, width: int) -> Values:
        """Read a window, as `read_image` or `read_mask` would. Raises UnusableFileError."""
        with explain_errors(self.role):
            window = np.ascontiguousarray(self.convert(self.windows.read(top, left, height, width)))
        if isinstance(self.content, mmap.mmap):
            self.content.madvise(mmap.MADV_DONTNEED)  # else memory seems to grow by all of the file that was read
        return window

    def read_all(self) -> Values:
        """Read the whole file. Raises UnusableFileError."""
        check_pixels(self.height, self.width)
        with limit_memory(self.height, self.width):
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
    return open_content(map_content(path, "image"), bands)


def open_content(content: Content, bands: BandFormat = RGB) -> ImageWindows:
    """Open the bytes of an image file; see `open_image`."""
    if bands != RGB:
        stored = read_stored(content, len(bands.names))
        return ImageWindows(stored.windows, stored.orientation, _fit_bands(stored, bands), content=content)
    if is_npy(content):
        stored = read_stored(content, 3)
        if not stored.is_rgb:
            raise _refuse(stored.describe(), bands)
        return ImageWindows(stored.windows, 1, take_colours, content=content)
    if (tiff := _try_tiff(content)) and tiff.is_plain and tiff.orientation == 1:
        return ImageWindows(tiff, 1, take_colours, content=content)
    with refuse_uncommon(content):
        pixels, orientation = decode_rgb(bytes(content))
    return ImageWindows(ArrayWindows(pixels), orientation)


def open_mask(path: Path, in_colours: bool) -> ImageWindows:
    """Open a mask, whose windows are those of `read_mask`; raises UnusableFileError where that does, or in `read`."""
    content = map_content(path, "mask")
    convert = take_colours if in_colours else take_numbers
    if is_npy(content):
        with explain_errors("mask"):
            stored = _map_npy(content, 3)
            if stored.bands not in (1, 3):
                raise UnusableFileError("unreadable mask", f"holds {stored.describe()}")
            return ImageWindows(stored.windows, 1, convert, "mask", content)
    tiff = _try_tiff(content)
    if tiff and tiff.orientation == 1 and (tiff.is_plain or (tiff.holds_numbers and not in_colours)):
        return ImageWindows(tiff, 1, convert, "mask", content)
    return ImageWindows(ArrayWindows(decode_mask(bytes(content), in_colours)))


def read_stored(content: Content, count: int | None = None) -> StoredImage:
    """Read what a file holds; `count` of bands decides which axis of an array in an NPY file is that of the bands.

    Raises UnusableFileError.
    """
    with explain_errors("image"):
        if is_npy(content):
            return _map_npy(content, count)
        if is_tiff(content):
            return _map_tiff(content)
        pixels, has_alpha, orientation = decode_stored(bytes(content))
        held = (pixels.shape[2], pixels.dtype, has_alpha, pixels.dtype == np.uint8)
        return StoredImage(*held, windows=ArrayWindows(pixels), orientation=orientation)


def describe_bands(path: Path) -> StoredBands:
    """Return what an image file holds, as its header says. Raises UnusableFileError."""
    content = map_content(path, "image")
    with explain_errors("image"):
        if is_npy(content):
            return _map_npy(content, None)
        if is_tiff(content):
            return _map_tiff(content)
        bands, dtype, has_alpha = read_header(content)
        return StoredBands(bands, dtype, has_alpha, dtype == np.uint8)


@contextmanager
def refuse_uncommon(content: Content) -> Iterator[None]:
    """Say in an UnusableFileError what an image holds that is no RGB of 8 bits."""
    try:
        yield
    except UncommonFileError as error:
        stored = read_stored(content)
        why = f" ({error})" if stored.dtype == np.uint8 else ""
        raise _refuse(f"{stored.describe()}{why}", RGB) from None


def _refuse(held: str, bands: BandFormat) -> UnusableFileError:
    detail = f"{held}, not {len(bands.names)} of {bands.dtype}"
    return UnusableFileError("unexpected bands", detail)


def _fit_bands(stored: StoredImage, bands: BandFormat) -> Callable[[Values], Values]:
    count, held = len(bands.names), stored.describe()
    has_count = stored.bands == count or (stored.has_alpha and stored.bands == count + 1)
    if not has_count or stored.dtype.name not in TYPES_THAT_FIT[bands.dtype]:
        raise _refuse(held, bands)

    def convert(values: Values) -> Values:
        values = values[..., :count]
        if bands.dtype == "uint16" and values.dtype == np.int16 and values.min() < 0:
            raise _refuse(f"{held} with negative values", bands)
        with np.errstate(over="ignore"):
            values = values.astype(bands.dtype, copy=False)
        if bands.dtype == "float32" and not (finite := np.isfinite(values).all(axis=2)).all():
            gaps = np.count_nonzero(~finite)
            raise UnusableFileError("values that are not finite", f"in {gaps} of {finite.size} pixels")
        return values

    return convert


def _map_npy(content: Content, count: int | None) -> StoredImage:
    """Map the array `[H, W]`, `[H, W, B]` or `[B, H, W]` of an NPY file."""
    array = map_array(content)
    if array.ndim == 2:
        array = array[..., None]
    elif not _fits(array.shape[2], count) and _fits(array.shape[0], count):
        array = np.moveaxis(array, 0, -1)
    native = array.dtype.newbyteorder("=")
    bands, is_rgb = array.shape[2], native == np.uint8 and array.shape[2] in (1, 3)
    return StoredImage(bands, native, False, is_rgb, windows=ArrayWindows(array))


def _map_tiff(content: Content) -> StoredImage:
    tiff = TiffWindows(content)
    held = (tiff.bands, tiff.dtype, tiff.has_alpha, tiff.is_rgb, tiff.find_names())
    return StoredImage(*held, windows=tiff, orientation=tiff.orientation)


def _fits(bands: int, count: int | None) -> bool:
    return bands <= MAX_BANDS if count is None else bands == count


def _try_tiff(content: Content) -> TiffWindows | None:
    """Open a TIFF; None for another file, and for one that is damaged, of which the decoder of whole files tells."""
    if not is_tiff(content):
        return None
    with suppress(Exception):
        return TiffWindows(content)
    return None
