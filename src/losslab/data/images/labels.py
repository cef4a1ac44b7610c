"""Raw mask values into labels, as the card maps them."""

from typing import Any, NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from losslab.cards import IGNORE_INDEX, Card
from losslab.data.images.decode import Pixels, UnusableFileError, Values

UNKNOWN = -1
SHOWN = 5


class LabelMapping:
    """Raw value → label: the class's number, or the ignore index."""

    def __init__(self, card: Card) -> None:
        self.in_colours = card.in_colours
        self.table = np.full(1 << (24 if self.in_colours else 16), UNKNOWN, np.int16)
        for label, label_class in enumerate(card.classes):
            self.table[[_number(value) for value in label_class.values]] = label
        self.table[[_number(value) for value in card.void]] = IGNORE_INDEX
        self.bytes = np.where(self.table[:256] == UNKNOWN, 0, self.table[:256]).astype(np.uint8)
        self.unknown_bytes = (self.table[:256] == UNKNOWN).astype(np.uint8)

    def labels(self, values: Values) -> Pixels:
        """Labels uint8 `[H, W]` of raw values uint8 or uint16 `[H, W]`, or colours `[H, W, 3]`.

        Raises:
            UnusableError: a value that the card does not explain.
        """
        if values.dtype == np.uint8 and not self.in_colours:  # nearly all masks there are, and quicker
            if cv2.LUT(values, self.unknown_bytes).any():
                self._complain(np.unique(values))
            return np.asarray(cv2.LUT(values, self.bytes), np.uint8)
        numbers = _numbers(values) if self.in_colours else values
        labels = self.table[numbers]
        if labels.min() == UNKNOWN:
            self._complain(np.unique(numbers[labels == UNKNOWN]))
        return labels.astype(np.uint8)

    def _complain(self, present: npt.NDArray[Any]) -> NoReturn:
        unknown = [self._shown(int(value)) for value in present[self.table[present] == UNKNOWN]]
        known = [self._shown(int(value)) for value in np.flatnonzero(self.table != UNKNOWN)]
        raise UnusableFileError("label not in the card", f"holds {_listed(unknown)}; the card has {_listed(known, 24)}")

    def _shown(self, number: int) -> str:
        return str([number >> 16, number >> 8 & 255, number & 255] if self.in_colours else number)


def _number(value: int | tuple[int, int, int]) -> int:
    return value if isinstance(value, int) else value[0] << 16 | value[1] << 8 | value[2]


def _numbers(colours: Values) -> npt.NDArray[np.int32]:
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    numbers: npt.NDArray[np.int32] = red << 16 | green << 8 | blue
    return numbers


def _listed(items: list[str], most: int = SHOWN) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
