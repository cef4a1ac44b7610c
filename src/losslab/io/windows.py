"""Images that are read by windows, so that memory does not grow with their size."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


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
