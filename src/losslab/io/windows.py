"""Images that are read by windows, so that memory does not grow with their size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
STRIP_PIXELS = 2**21
"""Pixels that a strip holds, margins aside, where nothing else is asked for."""


class PixelWindows(Protocol):
    """An image, or a mask, of which any window can be read."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...

    def read(self, top: int, left: int, height: int, width: int) -> Values:
        """Read a window that lies within the image: `[height, width, …]`, in memory of its own."""


@dataclass(frozen=True)
class ArrayWindows:
    """An image that is in memory, or mapped into it.

    >>> ArrayWindows(np.arange(6).reshape(2, 3)).read(0, 1, 2, 2).tolist()
    [[1, 2], [4, 5]]
    """

    array: Values
    """`[H, W, …]`."""

    @property
    def height(self) -> int:
        return int(self.array.shape[0])

    @property
    def width(self) -> int:
        return int(self.array.shape[1])

    def read(self, top: int, left: int, height: int, width: int) -> Values:
        return np.array(self.array[top : top + height, left : left + width])


def read_whole(image: PixelWindows) -> Values:
    """Read all of an image, `[H, W, …]`.

    >>> read_whole(ArrayWindows(np.zeros((2, 3)))).shape
    (2, 3)
    """
    return image.read(0, 0, image.height, image.width)


@dataclass(frozen=True)
class Strip:
    """Some rows of an image at its full width, and as many more on both sides as their neighbourhood takes."""

    start: int
    stop: int
    """The strip's own rows: each row of an image is in one strip."""
    top: int
    bottom: int
    """Rows that are read: margins end at the edges of the image."""

    @property
    def own(self) -> slice:
        """The strip's own rows among those that are read."""
        return slice(self.start - self.top, self.stop - self.top)

    def read(self, image: PixelWindows) -> Values:
        return image.read(self.top, 0, self.bottom - self.top, image.width)


def iterate_strips(height: int, width: int, margin: int = 0, rows: int | None = None) -> Iterator[Strip]:
    """Yield strips of `rows` rows from top to bottom, by default of STRIP_PIXELS; a smaller image is one strip.

    >>> [(strip.start, strip.stop, strip.top, strip.bottom) for strip in iterate_strips(5, 9, margin=1, rows=3)]
    [(0, 3, 0, 4), (3, 5, 2, 5)]
    """
    rows = rows or max(1, STRIP_PIXELS // max(width, 1))
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        yield Strip(start, stop, max(start - margin, 0), min(stop + margin, height))
