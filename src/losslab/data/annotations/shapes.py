"""The pixels that shapes cover, by the rules of the tools that they were drawn with.

Polygons of COCO, CVAT and YOLO follow COCO's rule: a pixel belongs to them if its centre does, to a fifth of a pixel. Those of
LabelMe and Cityscapes are drawn by Pillow, as these tools do: pixels that an outline touches belong to them. The results are
whole numbers that depend on no machine.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from losslab.data.annotations.model import Cover, Points
from losslab.data.images.decode import UnusableFileError, read_mask
from losslab.errors import InputError

STEPS = 5
"""The part of a pixel to which COCO's rule rounds corners."""
BLOCK_PIXELS = 1 << 22
"""Pixels of a polygon that are filled at a time."""
DIGITS = 12
"""Decimals of a sine that are the same on every machine."""


def _exceeds(points: Points, height: int, width: int) -> bool:
    return bool(points.size and (points.min() < 0 or (points > (width, height)).any()))


@dataclass(frozen=True)
class Polygons:
    """One or several polygons, of which one object consists; where they overlap, they have no hole."""

    rings: Sequence[Points]

    def cover(self, height: int, width: int) -> Cover:
        covered = np.zeros((height, width), np.bool_)
        for ring in self.rings:
            _add_polygon(covered, ring)
        return covered

    def exceeds(self, height: int, width: int) -> bool:
        return any(_exceeds(ring, height, width) for ring in self.rings)


@dataclass(frozen=True)
class ScaledPolygon:
    """A polygon in parts of the image's width and height, 0 to 1."""

    ring: Points

    def cover(self, height: int, width: int) -> Cover:
        return Polygons([self.ring * (width, height)]).cover(height, width)

    def exceeds(self, height: int, width: int) -> bool:
        return _exceeds(self.ring, 1, 1)


def _add_polygon(covered: Cover, ring: Points) -> None:
    """Add the pixels of a polygon by the rule of `rleFrPoly` in COCO's maskApi.c, to the bit.

    The outline is walked in fifths of a pixel. Where it passes the middle of a column, it switches the pixels from there on
    to the column's end; what is switched an odd number of times is inside.
    """
    height, width = covered.shape
    corners = np.trunc(STEPS * ring + 0.5).astype(np.int64)
    start, end = corners, np.roll(corners, -1, axis=0)
    moves = (start != end).any(axis=1)
    if np.count_nonzero(moves) < 3:
        return
    start, end = start[moves], end[moves]
    lengths = np.abs(end - start)
    flat = lengths[:, 0] >= lengths[:, 1]
    steps = lengths.max(axis=1)
    backwards = np.where(flat, end[:, 0] < start[:, 0], end[:, 1] < start[:, 1])
    low = np.where(backwards[:, None], end, start)
    high = np.where(backwards[:, None], start, end)
    slopes = np.where(flat, high[:, 1] - low[:, 1], high[:, 0] - low[:, 0]) / steps
    edges = np.repeat(np.arange(len(steps)), steps + 1)
    passed = np.arange(len(edges)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    passed = np.where(backwards[edges], steps[edges] - passed, passed)
    along = passed + np.where(flat, low[:, 0], low[:, 1])[edges]
    across = np.trunc(np.where(flat, low[:, 1], low[:, 0])[edges] + slopes[edges] * passed + 0.5).astype(np.int64)
    x, y = np.where(flat[edges], along, across), np.where(flat[edges], across, along)
    turns = np.flatnonzero(x[1:] != x[:-1])
    column = np.where(x[turns + 1] < x[turns], x[turns + 1], x[turns + 1] - 1)
    row = np.clip((np.minimum(y[turns + 1], y[turns]) + STEPS // 2) // STEPS, 0, height)
    counts = (column % STEPS == STEPS // 2) & (column >= 0) & (column < STEPS * width)
    column, row = column[counts] // STEPS, row[counts]
    ends = (int(column.min()), int(column.max()) + 1) if len(column) else (0, 0)
    block = max(1, BLOCK_PIXELS // height)
    for left in range(*ends, block):
        right = min(left + block, ends[1])
        here = (column >= left) & (column < right)
        places = (column[here] - left) * height + row[
            here
        ]  # switches of a column are even, so that none reach the next
        switches = np.bincount(places, minlength=(right - left) * height + 1)
        inside = np.cumsum(switches[:-1]) % 2 == 1
        covered[:, left:right] |= inside.reshape(-1, height).T


@dataclass(frozen=True)
class RunLengths:
    """Numbers of pixels that are off, on, off and so on, down the columns; or with `by_rows` along the rows of a part."""

    counts: Sequence[int] | str
    """Numbers, or COCO's text for them."""
    height: int
    width: int
    top: int = 0
    left: int = 0
    by_rows: bool = False

    def cover(self, height: int, width: int) -> Cover:
        counts = decode_counts(self.counts) if isinstance(self.counts, str) else np.asarray(self.counts, np.int64)
        on = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        part = on.reshape(self.height, self.width) if self.by_rows else on.reshape(self.width, self.height).T
        return paste(part, self.top, self.left, height, width)

    def exceeds(self, height: int, width: int) -> bool:
        return self.top < 0 or self.left < 0 or self.top + self.height > height or self.left + self.width > width

    def check(self) -> None:
        """Raise ValueError if the numbers are not those of so many pixels."""
        counts = decode_counts(self.counts) if isinstance(self.counts, str) else np.asarray(self.counts)
        if counts.dtype.kind not in "iu" or counts.ndim != 1 or (counts < 0).any():
            raise ValueError("run lengths are no whole numbers from 0 on")
        if counts.sum() != self.height * self.width:
            raise ValueError(f"run lengths of {counts.sum()} pixels for {self.width} x {self.height}")


def decode_counts(text: str) -> npt.NDArray[np.int64]:
    """Decode COCO's text for run lengths: five bits a letter, and from the fourth number on, the difference to two before.

    Raises ValueError if it ends within a number.

    >>> decode_counts("52203").tolist()
    [5, 2, 2, 2, 5]
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("run lengths end within a number")
    return np.asarray(counts, np.int64)


def paste(part: npt.NDArray[np.bool_], top: int, left: int, height: int, width: int) -> Cover:
    """Return an image of which a part has these values; what lies outside is cut off.

    >>> paste(np.ones((2, 2), np.bool_), -1, 1, 2, 3).astype(int).tolist()
    [[0, 1, 1], [0, 0, 0]]
    """
    covered = np.zeros((height, width), np.bool_)
    rows, columns = slice(max(top, 0), max(top + part.shape[0], 0)), slice(max(left, 0), max(left + part.shape[1], 0))
    target = covered[rows, columns]
    target[:] = part[max(-top, 0) :, max(-left, 0) :][: target.shape[0], : target.shape[1]]
    return covered


@dataclass(frozen=True)
class PillowShape:
    """A shape as `PIL.ImageDraw` draws it: one with an outline covers each pixel that the outline touches."""

    kind: Literal["polygon", "rectangle", "ellipse"]
    points: Points
    """Corners; the upper left and lower right one for rectangle and ellipse."""
    has_outline: bool = True

    def cover(self, height: int, width: int) -> Cover:
        canvas = Image.new("L", (width, height))
        draw = getattr(ImageDraw.Draw(canvas), self.kind)
        if len(self.points) > (2 if self.kind == "polygon" else 1):
            corners = [(x, y) for x, y in self.points.tolist()]
            draw(corners, fill=1, outline=1 if self.has_outline else None)
        return np.asarray(canvas, np.bool_)

    def exceeds(self, height: int, width: int) -> bool:
        return _exceeds(self.points, height, width)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse that may be turned about its centre; it covers the pixels whose centre lies in it."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    degrees: float = 0.0

    def cover(self, height: int, width: int) -> Cover:
        if min(self.radius_x, self.radius_y) <= 0:
            return np.zeros((height, width), np.bool_)
        y, x = np.ogrid[:height, :width]
        sine, cosine = measure_turn(self.degrees)
        x, y = x + 0.5 - self.x, y + 0.5 - self.y
        along, across = x * cosine + y * sine, y * cosine - x * sine
        return np.asarray((along / self.radius_x) ** 2 + (across / self.radius_y) ** 2 <= 1)

    def exceeds(self, height: int, width: int) -> bool:
        sine, cosine = measure_turn(self.degrees)
        reach_x = math.hypot(self.radius_x * cosine, self.radius_y * sine)
        reach_y = math.hypot(self.radius_x * sine, self.radius_y * cosine)
        ends = [[self.x - reach_x, self.y - reach_y], [self.x + reach_x, self.y + reach_y]]
        return _exceeds(np.array(ends), height, width)


def measure_turn(degrees: float) -> tuple[float, float]:
    """Return sine and cosine of an angle, with as many digits as all machines agree on.

    >>> measure_turn(30)
    (0.5, 0.866025403784)
    """
    angle = math.radians(degrees)
    return round(math.sin(angle), DIGITS), round(math.cos(angle), DIGITS)


@dataclass(frozen=True)
class EncodedBitmap:
    """A part of the image as the bytes of a picture: what is not 0 belongs to the shape."""

    content: bytes
    top: int
    left: int

    def cover(self, height: int, width: int) -> Cover:
        return paste(self._decode(), self.top, self.left, height, width)

    def exceeds(self, height: int, width: int) -> bool:
        rows, columns = self._decode().shape
        return self.top < 0 or self.left < 0 or self.top + rows > height or self.left + columns > width

    def check(self) -> None:
        """Raise ValueError if the bytes are no PNG."""
        try:
            self._decode()
        except (OSError, SyntaxError):
            raise ValueError("its mask is no PNG that can be read") from None

    def _decode(self) -> Cover:
        with Image.open(io.BytesIO(self.content), formats=["PNG"]) as opened:
            return np.asarray(np.atleast_3d(np.asarray(opened)).astype(np.bool_).max(axis=2))


@dataclass(frozen=True)
class MaskFile:
    """A file of one object: what is not 0, or black, belongs to it."""

    path: Path

    def cover(self, height: int, width: int) -> Cover:
        try:
            pixels = np.asarray(read_mask(self.path, in_colours=True).max(axis=2) > 0)
        except UnusableFileError as error:
            raise InputError(f"{self.path}: {error}") from None
        if pixels.shape != (height, width):
            raise InputError(
                f"{self.path}: has {pixels.shape[1]} x {pixels.shape[0]} pixels, its image {width} x {height}"
            )
        return pixels

    def exceeds(self, height: int, width: int) -> bool:
        return False
