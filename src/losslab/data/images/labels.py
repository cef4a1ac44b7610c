"""The mapping of raw mask values to labels, as the card has it."""

from typing import Any, NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from losslab.cards import IGNORE_INDEX, Card
from losslab.data.images.decode import Pixels, UnusableFileError, Values
from losslab.formats import format_list

UNKNOWN = -1
MAX_KNOWN_SHOWN = 24


class LabelMapping:
    """A map from raw values to labels: the class's number, or the ignore index."""

    def __init__(self, card: Card) -> None:
        self.in_colours = card.in_colours
        self.table = np.full(1 << (24 if self.in_colours else 16), UNKNOWN, np.int16)
        for label, label_class in enumerate(card.classes):
            self.table[[_pack_value(value) for value in label_class.values]] = label
        self.table[[_pack_value(value) for value in card.void]] = IGNORE_INDEX
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

    def _complain(self, present: npt.NDArray[Any]) -> NoReturn:
        unknown = format_list([self._format(int(value)) for value in present[self.table[present] == UNKNOWN]])
        known = [self._format(int(value)) for value in np.flatnonzero(self.table != UNKNOWN)]
        detail = f"holds {unknown}; the card has {format_list(known, MAX_KNOWN_SHOWN)}"
        raise UnusableFileError("label not in the card", detail)

    def _format(self, number: int) -> str:
        return str([number >> 16, number >> 8 & 255, number & 255] if self.in_colours else number)


def _pack_value(value: int | tuple[int, int, int]) -> int:
    return value if isinstance(value, int) else value[0] << 16 | value[1] << 8 | value[2]


def pack_colours(colours: Values) -> npt.NDArray[np.int32]:
    """Pack colours `[H, W, 3]` into one number for each pixel."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return np.asarray(red << 16 | green << 8 | blue)
