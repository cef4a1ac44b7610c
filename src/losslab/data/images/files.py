"""The bytes of image and mask files, and why a file cannot be used."""

import io
import math
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from losslab.errors import find_exhausted_memory

if TYPE_CHECKING:
    from losslab.data.findings import KindName


Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]
Content = bytes | mmap.mmap
"""The bytes of a file, in memory or mapped into it."""
FileRole = Literal["image", "mask"]
UNKNOWN_FORMAT = "unknown image format"
MAX_PIXELS = 1 << 30
"""Most pixels of a file that is decoded whole: a few bytes can claim to be a picture of any size."""
MAX_TIFF_PAGES = 10_000
_UNREADABLE: "dict[FileRole, KindName]" = {"image": "unreadable image", "mask": "unreadable mask"}
_TRUNCATED: "dict[FileRole, KindName]" = {"image": "truncated image", "mask": "truncated mask"}
_NPY = b"\x93NUMPY"
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # of which Pillow takes up to twice as many


class UnusableFileError(Exception):
    """A file that cannot be used: the kind of finding, and the detail."""

    def __init__(self, kind: "KindName", detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


class UncommonFileError(Exception):
    """A file that is no RGB of 8 bits, as Pillow sees it."""


def read_content(path: Path, role: FileRole) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnusableFileError(_UNREADABLE[role], str(error.strerror)) from None
    if not content:
        raise UnusableFileError(_UNREADABLE[role], "empty file")
    return content


def map_content(path: Path, role: FileRole) -> Content:
    """Map a file into memory, which then holds only what is read. Raises UnusableFileError."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise UnusableFileError(_UNREADABLE[role], "empty file") from None
    except OSError as error:
        raise UnusableFileError(_UNREADABLE[role], str(error.strerror)) from None


def is_npy(content: Content) -> bool:
    return content[: len(_NPY)] == _NPY


def holds_npy(path: Path) -> bool:
    with path.open("rb") as file:
        return is_npy(file.read(len(_NPY)))


def map_array(npy: Content) -> Values:
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


@contextmanager
def explain_errors(role: FileRole) -> Iterator[None]:
    """Say in an UnusableFileError what is wrong: a decoder may raise anything at all on damaged bytes."""
    try:
        yield
    except (UnusableFileError, UncommonFileError):
        raise
    except Exception as error:
        raise _explain(error, role) from None


def _explain(error: Exception, role: FileRole) -> UnusableFileError:
    if isinstance(error, Image.DecompressionBombError):
        return UnusableFileError("too large to read", f"more than {MAX_PIXELS // 10**6:,} million pixels")
    if find_exhausted_memory(error):  # which is no fault of the file
        raise error
    message = " ".join(str(error).split()) or type(error).__name__
    if (
        isinstance(error, ArithmeticError | AttributeError | LookupError | TypeError | struct.error)
        or "buffer" in message
    ):
        message = "damaged: it is not what its header says"  # the decoder's own words are about its variables
    if isinstance(error, UnidentifiedImageError):
        message = UNKNOWN_FORMAT
    elif any(word in message.lower() for word in ("truncated", "broken data stream", "unexpected end", "premature")):
        return UnusableFileError(_TRUNCATED[role], message)
    return UnusableFileError(_UNREADABLE[role], message)
