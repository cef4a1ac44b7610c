"""Brushes that the drawn datasets share: noise, segments, soft borders, patches of a canvas."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from losslab.data.download.synthetic.stream import RandomStream

Plane = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]
Colour = tuple[Any, ...]
"""Red, green and blue, 0 to 1: numbers, or planes of them."""


@dataclass(frozen=True)
class Patch:
    """A window of a canvas; what is painted there changes the canvas."""

    x: Plane
    """Columns of the pixels' centres, `[1, width]`."""
    y: Plane
    """Rows of the pixels' centres, `[height, 1]`."""
    image: Plane
    labels: Picture
    at: tuple[slice, slice]
    """Rows and columns of the window, to cut it out of planes of the canvas's size."""

    def paint(self, inside: Plane, colour: Colour, label: int | None = None, strength: float = 1.0) -> None:
        """Paint where `inside`, the signed distance in pixels to a border, is above 0; the border is one pixel soft."""
        blend(self.image, np.clip(inside + 0.5, 0, 1) * strength, colour)
        if label is not None:
            self.labels[inside > 0] = label


class Canvas:
    """An image `[size, size, 3]`, 0 to 1, and its labels, painted from back to front."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.image = np.zeros((size, size, 3))
        self.labels = np.zeros((size, size), np.uint8)

    def cut(self, left: float, top: float, right: float, bottom: float) -> Patch:
        """Return the window around a box given in pixels; it is empty where the box is outside of the image."""
        columns, rows = (slice(*find_window(*ends, 2, self.size)) for ends in ((left, right), (top, bottom)))
        x, y = (np.arange(each.start, max(each.start, each.stop), dtype=np.float64) + 0.5 for each in (columns, rows))
        return Patch(x[None, :], y[:, None], self.image[rows, columns], self.labels[rows, columns], (rows, columns))


def vary(difficulty: float, change: float) -> float:
    """Return a factor that is exactly 1 at difficulty 0.5, and 1 + change at difficulty 1.

    >>> vary(0.5, 0.3), vary(1.0, -0.25), vary(0.0, -0.25)
    (1.0, 0.75, 1.25)
    """
    return 1 + change * (2 * difficulty - 1)


def finish_image(image: Plane) -> Picture:
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def add_grain(draws: RandomStream, image: Plane, strength: float) -> None:
    """Add the sensor's grain: the sum of two uniform numbers a value, each up to `strength`."""
    image += strength * (draws.array(*image.shape) + draws.array(*image.shape))


def draw_noise(draws: RandomStream, size: int, cells: int) -> Plane:
    """Draw smooth value noise in -1..1, `[size, size]`, with `cells` cells across."""
    position = np.arange(size, dtype=np.float64) * cells / size
    return sample_noise(draws, position[None, :], position[:, None], cells)


def sample_noise(draws: RandomStream, x: Plane, y: Plane, cells: int) -> Plane:
    """Draw value noise at positions of 0 to `cells`: a random lattice, smoothstep between its points."""
    lattice = draws.array(cells + 2, cells + 2)
    offset_x, offset_y = draws.uniform(), draws.uniform()
    (column, fx), (row, fy) = _split_position(x + offset_x), _split_position(y + offset_y)
    top = mix_values(lattice[row, column], lattice[row, column + 1], fx)
    bottom = mix_values(lattice[row + 1, column], lattice[row + 1, column + 1], fx)
    return np.asarray(mix_values(top, bottom, fy))


def _split_position(position: Plane) -> tuple[npt.NDArray[np.int64], Plane]:
    cell = position.astype(np.int64)
    return cell, smooth(position - cell)


def smooth(share: Any) -> Any:
    return share * share * (3 - 2 * share)


def measure_segment(
    start: tuple[float, float], end: tuple[float, float], margin: float, size: int
) -> tuple[tuple[slice, slice], Plane, Plane]:
    """Return the window within `margin` pixels of a segment, its pixels' distance to it, and their places along it, 0..1."""
    (x0, y0), (x1, y1) = start, end
    left, right = find_window(x0, x1, margin, size)
    top, bottom = find_window(y0, y1, margin, size)
    px, py = np.arange(left, right)[None, :] + (0.5 - x0), np.arange(top, bottom)[:, None] + (0.5 - y0)
    dx, dy = x1 - x0, y1 - y0
    along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0, 1)
    ex, ey = px - along * dx, py - along * dy
    return (slice(top, bottom), slice(left, right)), np.sqrt(ex * ex + ey * ey), along


def find_window(a: float, b: float, margin: float, size: int) -> tuple[int, int]:
    """Return the first pixel between a and b, and the one after the last; both are the same outside of the image."""
    low = min(max(math.floor(min(a, b) - margin), 0), size)
    return low, max(min(math.ceil(max(a, b) + margin), size), low)


def blend(image: Plane, cover: Plane | float, colour: Colour) -> None:
    for channel, value in enumerate(colour):
        image[..., channel] += cover * (value - image[..., channel])


def mix_colours(one: Colour, other: Colour, share: Any) -> Colour:
    return tuple(mix_values(first, second, share) for first, second in zip(one, other, strict=True))


def mix_values(one: Any, other: Any, share: Any) -> Any:
    return one + (other - one) * share
