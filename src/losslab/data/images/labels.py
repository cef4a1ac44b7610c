"""What raw mask values mean: their labels, as the card has it, and their colours, where a palette has some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from losslab.cards import IGNORE_INDEX, NONZERO, RawValue
from losslab.data.images.decode import Pixels, UnusableFileError, Values, read_mask
from losslab.data.images.files import holds_npy
from losslab.formats import format_list
from losslab.io.windows import PixelWindows
from losslab.plugins import Sample

Colour = tuple[int, int, int]
UNKNOWN = -1
MAX_KNOWN_SHOWN = 24


class LabelMapping:
    """A map from raw values to labels: the class's number, or the ignore index."""

    def __init__(
        self, values_by_label: Mapping[int, Sequence[RawValue]], void: Sequence[RawValue], in_colours: bool = False
    ) -> None:
        self.in_colours = in_colours
        self.table = np.full(1 << (24 if self.in_colours else 16), UNKNOWN, np.int16)
        all_values = {**values_by_label, IGNORE_INDEX: void}
        for label, values in all_values.items():
            self.table[[_pack_value(value) for value in values if value != NONZERO]] = label
        for label, values in all_values.items():
            if NONZERO in values:
                rest = self.table[1:]
                rest[rest == UNKNOWN] = label
        self.bytes = np.where(self.table[:256] == UNKNOWN, 0, self.table[:256]).astype(np.uint8)
        self.unknown_bytes = (self.table[:256] == UNKNOWN).astype(np.uint8)

    def map_values(self, values: Values) -> Pixels:
        """Map raw values `[H, W]`, or colours `[H, W, 3]`, to labels uint8 `[H, W]`. Raises UnusableFileError."""
        if values.dtype == np.uint8 and not self.in_colours:  # nearly all masks are so, and this is quicker
            if cv2.LUT(values, self.unknown_bytes).any():
                self._complain(np.unique(values))
            return np.asarray(cv2.LUT(values, self.bytes), np.uint8)
        numbers = pack_colours(values) if self.in_colours else values
        labels = self.table[numbers]
        if labels.min() == UNKNOWN:
            self._complain(np.unique(numbers[labels == UNKNOWN]))
        return labels.astype(np.uint8)

    def read(self, sample: Sample) -> Pixels:
        """Read the labels uint8 `[H, W]` of a sample, void where it says nothing. Raises UnusableFileError."""
        return keep_valid(self.map_values(read_mask(sample.mask, self.in_colours)), sample.valid)

    def _complain(self, present: npt.NDArray[Any]) -> NoReturn:
        unknown = format_list([self._format(int(value)) for value in present[self.table[present] == UNKNOWN]])
        known = [self._format(int(value)) for value in np.flatnonzero(self.table != UNKNOWN)]
        detail = f"holds {unknown}; the card has {format_list(known, MAX_KNOWN_SHOWN)}"
        raise UnusableFileError("label not in the card", detail)

    def _format(self, number: int) -> str:
        return str([number >> 16, number >> 8 & 255, number & 255] if self.in_colours else number)


def keep_valid(labels: Pixels, valid: Path | None) -> Pixels:
    """Make labels void where the file `valid`, if there is one, is 0. Raises UnusableFileError."""
    if valid is None:
        return labels
    try:
        inside = read_mask(valid, in_colours=False)
    except UnusableFileError as error:
        raise UnusableFileError(error.kind, f"{valid.name}: {error.detail}") from None
    if inside.shape != labels.shape[:2]:
        (height, width), (own_height, own_width) = inside.shape, labels.shape[:2]
        detail = f"{valid.name}: {width} x {height}, its mask {own_width} x {own_height} (width x height)"
        raise UnusableFileError("size mismatch", detail)
    labels = labels.copy()
    labels[inside == 0] = IGNORE_INDEX
    return labels


@dataclass
class MappedWindows:
    """The labels of a mask that is read by windows."""

    values: PixelWindows
    mapping: LabelMapping
    used: "set[int]" = field(default_factory=set)
    """The raw values, of one byte, in what was read so far."""

    @property
    def height(self) -> int:
        return self.values.height

    @property
    def width(self) -> int:
        return self.values.width

    def read(self, top: int, left: int, height: int, width: int) -> Pixels:
        """Read labels uint8 `[height, width]`. Raises UnusableFileError."""
        values = self.values.read(top, left, height, width)
        if values.dtype == np.uint8 and not self.mapping.in_colours:
            self.used.update(np.flatnonzero(np.bincount(values.ravel())).tolist())
        return self.mapping.map_values(values)


class PaletteColours:
    """The colours that palette masks give to their numbers, compared from file to file."""

    def __init__(self) -> None:
        self.first: dict[int, tuple[Colour, str]] = {}

    def find_clash(self, colours: Mapping[int, Colour], file: str) -> str | None:
        """Note a file's colours; return the first number that an earlier file has in another colour, and where."""
        clashes = []
        for number, colour in colours.items():
            other, where = self.first.setdefault(number, (colour, file))
            if other != colour:
                clashes.append(f"{number} is {list(colour)}, but {list(other)} in {where}")
        return clashes[0] if clashes else None


def read_palette(path: Path, values: Values) -> dict[int, Colour]:
    """Return the colours of a mask's numbers; none where there is no palette, or all used are greys of that number."""
    if values.dtype != np.uint8 or path.is_dir() or holds_npy(path):
        return {}
    try:
        with Image.open(path) as opened:
            palette = (opened.getpalette() or []) if opened.mode == "P" else []
    except Image.DecompressionBombError:  # a file that is read by windows
        return {}
    used = np.flatnonzero(np.bincount(values.ravel(), minlength=1)).tolist() if palette else []
    colours: dict[int, Colour] = {
        number: (palette[3 * number], palette[3 * number + 1], palette[3 * number + 2])
        for number in used
        if 3 * number + 2 < len(palette)
    }
    return {} if all(colour == (number, number, number) for number, colour in colours.items()) else colours


def is_stored_in_grey(path: Path) -> bool:
    """Tell whether a mask has one band without a palette, so that its values are numbers rather than colours."""
    if holds_npy(path):
        return bool(np.load(path, mmap_mode="r").ndim == 2)
    with Image.open(path) as opened:
        return opened.mode not in ("RGB", "RGBA", "P", "CMYK")


def _pack_value(value: int | tuple[int, int, int]) -> int:
    return value if isinstance(value, int) else value[0] << 16 | value[1] << 8 | value[2]


def pack_colours(colours: Values) -> npt.NDArray[np.int32]:
    """Pack colours `[H, W, 3]` into one number for each pixel."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue)
