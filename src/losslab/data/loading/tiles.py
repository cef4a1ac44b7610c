"""Overlapping tiles that cover images of any size, as training and validation see them."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

SHARED_PART = 8
"""Neighbouring tiles share at least a side divided by this."""


@dataclass(frozen=True)
class Tile:
    """A tile of an image, by its place in pixels."""

    image: int
    top: int
    left: int
    seen_rows: int
    """Rows at its top, and `seen_columns` at its left, that an earlier tile holds too."""
    seen_columns: int


class TileGrid(Sequence[Tile]):
    """The tiles of all images, numbered image by image, row by row.

    They lie at even distance; the last of a row or column ends with the image. An image below a tile's side is one tile,
    which stands out over it.

    >>> [(tile.top, tile.left) for tile in TileGrid([(64, 100)], side=64)]
    [(0, 0), (0, 36)]
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], side: int) -> None:
        self.side = side
        self.starts = [(compute_starts(height, side), compute_starts(width, side)) for height, width in sizes]
        self.ends = list(accumulate(len(tops) * len(lefts) for tops, lefts in self.starts))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, number: int) -> Tile:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(number)
        image = bisect_right(self.ends, number)
        tops, lefts = self.starts[image]
        row, column = divmod(number - (self.ends[image - 1] if image else 0), len(lefts))
        seen = [starts[at - 1] + self.side - starts[at] if at else 0 for starts, at in ((tops, row), (lefts, column))]
        return Tile(image, tops[row], lefts[column], *seen)


def compute_starts(length: int, side: int) -> list[int]:
    """Compute where tiles start along a length.

    >>> compute_starts(200, 64), compute_starts(50, 64)
    ([0, 45, 91, 136], [0])
    """
    rest = length - side
    if rest <= 0:
        return [0]
    steps = math.ceil(rest / (side - side // SHARED_PART))
    return [round(step * rest / steps) for step in range(steps + 1)]
