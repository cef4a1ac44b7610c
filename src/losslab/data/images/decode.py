"""Image and mask files as pixels and raw mask values, whatever real folders hold; or why a file cannot be used."""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    from losslab.data.findings import KindName


Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[Any]
UNKNOWN_FORMAT = "unknown image format"


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

    def turn(self) -> "DecodedImage":
        """Return the image rotated and mirrored as the orientation tag says."""
        pixels = self.pixels.swapaxes(0, 1) if self.orientation in (5, 6, 7, 8) else self.pixels
        if self.orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        if self.orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        return DecodedImage(np.ascontiguousarray(pixels), self.orientation, self.is_deep)

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
    """Read an image of 1, 8 or 16 bits: grey, palette, RGB(A) or CMYK, the first of many. Raises UnusableFileError."""
    return decode_image(_read_content(path, "unreadable image"))


def decode_image(content: bytes) -> DecodedImage:
    """Decode the bytes of an image file; see `read_image`."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            tagged = "exif" in opened.info or opened.format == "TIFF"
            orientation = opened.getexif().get(_ORIENTATION, 1) if tagged else 1
            if opened.format == "JPEG" and opened.mode in ("L", "RGB") and _is_complete(content):
                # OpenCV's decoder is nearly twice as fast.
                return DecodedImage(_decode_by_opencv(content, cv2.IMREAD_COLOR_RGB), orientation, False)
            if opened.mode.startswith("I;16"):
                grey = (np.asarray(opened) >> 8).astype(np.uint8)
                return DecodedImage(np.repeat(grey[..., None], 3, axis=2), orientation, True)
            if opened.mode in ("I", "F"):
                raise UnusableFileError("unreadable image", "32 bits per pixel; save it in 8 or 16")
            deep = ";16" in _get_raw_modes(opened)  # Pillow takes the upper 8 itself
            return DecodedImage(np.asarray(opened.convert("RGB")), orientation, deep)
    except UnidentifiedImageError:  # such as TIFF of three times 16 bits
        pixels: Values = _decode_by_opencv(content, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    except UnusableFileError:
        raise
    except Exception as error:  # a decoder may raise anything at all on damaged bytes
        raise _explain(error, "image") from None
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnusableFileError("unreadable image", f"{8 * pixels.itemsize} bits per channel; save it in 8 or 16")
    deep = pixels.dtype == np.uint16
    return DecodedImage((pixels >> 8).astype(np.uint8) if deep else pixels, 1, deep)


def read_mask(path: Path, in_colours: bool) -> Values:
    """Read the values of a mask: numbers uint8 or uint16 `[H, W]`, or with `in_colours` RGB `[H, W, 3]`.

    Masks of 1, 2 and 4 bits hold 0 to 1, 3 and 15, palette masks their indices (or colours), grey saved as RGB its grey.

    Raises:
        UnusableFileError: it is unreadable, truncated, or in colours where numbers are expected.
    """
    content = _read_content(path, "unreadable mask")
    try:
        with Image.open(io.BytesIO(content)) as opened:
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
            if opened.mode.startswith("I"):
                values = np.asarray(opened)
                if values.min() < 0 or values.max() > 65535:
                    raise UnusableFileError("unreadable mask", f"holds values from {values.min()} to {values.max()}")
                return values.astype(np.uint16)
            if opened.mode == "F":
                raise UnusableFileError("unreadable mask", "holds fractions; save it in 8 or 16 bits")
            colours = np.asarray(opened.convert("RGB"))
    except UnusableFileError:
        raise
    except Exception as error:
        raise _explain(error, "mask") from None
    grey = colours[..., 0]
    if (colours == grey[..., None]).all():
        return grey
    raise UnusableFileError("label not in the card", "is in colours; write colours as the values of the card's classes")


_ORIENTATION = 0x0112
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
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        message = UNKNOWN_FORMAT
    elif any(word in message.lower() for word in ("truncated", "broken data stream", "unexpected end", "premature")):
        return UnusableFileError("truncated image" if what == "image" else "truncated mask", message)
    return UnusableFileError("unreadable image" if what == "image" else "unreadable mask", message)
