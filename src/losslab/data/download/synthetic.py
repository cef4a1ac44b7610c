"""Drawn dermoscopy-like images with three badly imbalanced classes: skin, lesion, hair.

The same bytes on every machine: random numbers are integer hashes, and floating point is elementwise +, -, *, / and sqrt
of float64, which IEEE 754 fixes to the last bit. No sums over arrays, no sin or exp, no threads. Images are stored as BMP:
compressors differ between builds, BMP has none.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from losslab.cards import GeneratorSource

Plane = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SKIN, LESION, HAIR = 0, 1, 2


class RandomStream:
    """A stream of uniform numbers: splitmix64 (Steele, Lea, Flood 2014) of a key and a counter."""

    def __init__(self, *key: int) -> None:
        self.state = 0
        for part in key:
            self.state = _mix((self.state + part + 0x9E3779B97F4A7C15) & _MASK)
        self.count = 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        self.count += 1
        return low + (high - low) * (_mix((self.state + self.count * 0x9E3779B97F4A7C15) & _MASK) >> 11) / (1 << 53)

    def integer(self, low: int, high: int) -> int:
        """Draw an integer from low to high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def direction(self) -> tuple[float, float]:
        """Draw a unit vector; the rational form of the circle needs no sine."""
        t = self.uniform(-1, 1)
        x, y = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        return (x, y) if self.uniform() < 0.5 else (-x, -y)

    def array(self, *shape: int) -> Plane:
        """Draw uniform numbers in -1..1, hashed all at once."""
        with np.errstate(over="ignore"):
            z = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(self.integer(0, 2**48))
            z = z * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
        return ((z >> np.uint64(11)).astype(np.float64) / 2**52 - 1).reshape(shape)


def generate_dataset(source: GeneratorSource, folder: Path, step: Callable[[], object] = lambda: None) -> None:
    """Write `{train,val,test}/{images,masks}/NNNN.bmp` below `folder`; `step` is called after each image.

    Of overlapping classes, a mask is a folder `NNNN` with a file for each.
    """
    number = 0
    for split, count in source.images.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for _ in range(count):
            draws = RandomStream(source.seed, number)
            if source.generator == "lesions":
                image, mask = draw_lesion(draws, source.pixels)
                masks = {f"{number:04d}.bmp": mask}
            else:
                image, *planes = draw_overlapping_lesion(draws, source.pixels)
                (folder / split / f"masks/{number:04d}").mkdir()
                named = zip(("lesion", "hair"), planes, strict=True)
                masks = {f"{number:04d}/{name}.bmp": plane * np.uint8(255) for name, plane in named}
            files = {f"masks/{name}": mask for name, mask in masks.items()}
            for name, pixels in (files | {f"images/{number:04d}.bmp": image[..., ::-1]}).items():
                # Not cv2.imwrite, which does not see that the disk is full.
                _, encoded = cv2.imencode(".bmp", np.ascontiguousarray(pixels))
                (folder / split / name).write_bytes(encoded.tobytes())
            number += 1
            step()


def draw_lesion(draws: RandomStream, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Draw an image, RGB `[size, size, 3]`, and its mask `[size, size]` of 0 skin, 1 lesion, 2 hair."""
    image, lesion, hair = draw_overlapping_lesion(draws, size)
    return image, np.where(hair, np.uint8(HAIR), np.where(lesion, np.uint8(LESION), np.uint8(SKIN)))


def draw_overlapping_lesion(draws: RandomStream, size: int) -> tuple[npt.NDArray[np.uint8], Mask, Mask]:
    """Draw an image, RGB `[size, size, 3]`, and the masks of its lesion and its hair, bool `[size, size]`."""
    centres = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = centres[None, :], centres[:, None]  # -1..1 across the image
    image = _draw_skin(draws, x, y)
    lesion = _add_lesion(draws, x, y, image)
    hair = _add_hairs(draws, size, image)
    _add_light(draws, x, y, image)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), lesion, hair


def _draw_skin(draws: RandomStream, x: Plane, y: Plane) -> Plane:
    depth = draws.uniform()
    tone = [_mix_values(pale, dark, depth) for pale, dark in zip((0.91, 0.73, 0.64), (0.66, 0.46, 0.35), strict=True)]
    size = x.size
    blotches, texture = _draw_noise(draws, size, 4), _draw_noise(draws, size, 40)
    image = np.empty((size, size, 3))
    for channel, flush in enumerate((0.02, 0.05, 0.05)):
        image[..., channel] = tone[channel] - flush * blotches + 0.018 * texture
    # A few freckles have the lesion's colour but are far too small: colour alone does not separate the classes.
    for _ in range(draws.integer(0, 6)):
        cx, cy, radius = draws.uniform(-0.9, 0.9), draws.uniform(-0.9, 0.9), draws.uniform(0.02, 0.055)
        near = np.clip(1 - ((x - cx) * (x - cx) + (y - cy) * (y - cy)) / (radius * radius), 0, 1)
        _blend(image, near * draws.uniform(0.4, 0.8), _draw_brown(draws))
    return image


def _add_lesion(draws: RandomStream, x: Plane, y: Plane, image: Plane) -> Mask:
    """Add an ellipse with a border bent by noise; it fades over a soft rim whose middle is the border of its mask."""
    size = x.size
    cx, cy = draws.uniform(-0.3, 0.3), draws.uniform(-0.3, 0.3)
    (ux, uy), long = draws.direction(), draws.uniform(0.32, 0.68)
    short = long * draws.uniform(0.6, 1.0)
    a, b = ((x - cx) * ux + (y - cy) * uy) / long, ((y - cy) * ux - (x - cx) * uy) / short
    bends = 0.26 * _draw_noise(draws, size, 4) + 0.12 * _draw_noise(draws, size, 9)
    bends = bends + 0.05 * _draw_noise(draws, size, 20)
    inside = (1 - np.sqrt(a * a + b * b) + bends) * short  # about the signed distance to the border
    softness = draws.uniform(0.06, 0.18)
    cover = np.clip(inside / softness + 0.5, 0, 1)
    cover = cover * cover * (3 - 2 * cover) * draws.uniform(0.75, 0.95)
    patches, speckles = _draw_noise(draws, size, 5), _draw_noise(draws, size, 26)
    first, second = _draw_brown(draws), _draw_brown(draws)
    share = np.clip(0.5 + 0.9 * patches, 0, 1)
    colour = np.stack([_mix_values(one, two, share) for one, two in zip(first, second, strict=True)], axis=-1)
    colour = colour * (1 + 0.16 * speckles + 0.10 * patches)[..., None]
    image += cover[..., None] * (colour - image)
    return np.asarray(inside > 0)


def _add_hairs(draws: RandomStream, size: int, image: Plane) -> Mask:
    """Add dark bent hairs, one to two pixels wide at 128 x 128, over skin and lesion, and return their mask."""
    mask = np.zeros((size, size), np.bool_)
    dark = tuple(draws.uniform(0.5, 1.2) * channel for channel in (0.20, 0.13, 0.10))
    for _ in range(draws.integer(2, 7)):
        width = draws.uniform(1.1, 2.1) * size / 128
        distance = _draw_distance_to_hair(draws, size)
        _blend(image, np.clip(width / 2 + 0.5 - distance, 0, 1) * draws.uniform(0.6, 0.9), dark)
        mask |= distance < width / 2
    return mask


def _draw_distance_to_hair(draws: RandomStream, size: int) -> Plane:
    """Compute each pixel's distance in pixels to a quadratic Bézier curve across the image; far pixels hold `size`."""
    mx, my = draws.uniform(0.1, 0.9) * size, draws.uniform(0.1, 0.9) * size
    ux, uy = draws.direction()
    half, bend = draws.uniform(0.25, 0.7) * size, draws.uniform(-0.35, 0.35) * size
    start, end = (mx - ux * half, my - uy * half), (mx + ux * half, my + uy * half)
    control = (mx - uy * bend, my + ux * bend)
    pieces, margin = 24, 3 * size / 128
    distance = np.full((size, size), float(size))
    points = []
    for t in (i / pieces for i in range(pieces + 1)):
        p, q, r = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
        points.append((p * start[0] + q * control[0] + r * end[0], p * start[1] + q * control[1] + r * end[1]))
    for (x0, y0), (x1, y1) in pairwise(points):
        left, right = _find_window(x0, x1, margin, size)
        top, bottom = _find_window(y0, y1, margin, size)
        if left >= right or top >= bottom:
            continue
        px, py = np.arange(left, right)[None, :] + (0.5 - x0), np.arange(top, bottom)[:, None] + (0.5 - y0)
        dx, dy = x1 - x0, y1 - y0
        along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0, 1)
        ex, ey = px - along * dx, py - along * dy
        near = distance[top:bottom, left:right]
        np.minimum(near, np.sqrt(ex * ex + ey * ey), out=near)
    return distance


def _add_light(draws: RandomStream, x: Plane, y: Plane, image: Plane) -> None:
    """Add shading across the image, a vignette, and the sensor's grain."""
    ux, uy = draws.direction()
    shade = 1 + draws.uniform(0.02, 0.12) * (x * ux + y * uy)
    radius = (x * x + y * y) / 2
    image *= (shade * (1 - draws.uniform(0.15, 0.45) * radius * radius))[..., None]
    image += 0.009 * (draws.array(*image.shape) + draws.array(*image.shape))


def _find_window(a: float, b: float, margin: float, size: int) -> tuple[int, int]:
    return max(math.floor(min(a, b) - margin), 0), min(math.ceil(max(a, b) + margin), size)


def _draw_brown(draws: RandomStream) -> tuple[float, float, float]:
    depth = draws.uniform()
    pairs = zip((0.62, 0.38, 0.27), (0.24, 0.14, 0.12), strict=True)
    red, green, blue = (_mix_values(light, dark, depth) for light, dark in pairs)
    return red + draws.uniform(-0.06, 0.06), green, blue + draws.uniform(-0.03, 0.05)


def _draw_noise(draws: RandomStream, size: int, cells: int) -> Plane:
    """Draw smooth value noise in -1..1 with `cells` cells across: a random lattice, smoothstep between its points."""
    lattice = draws.array(cells + 2, cells + 2)
    offset_x, offset_y = draws.uniform(), draws.uniform()
    position = np.arange(size, dtype=np.float64) * cells / size
    (column, fx), (row, fy) = _split_position(position + offset_x), _split_position(position + offset_y)
    top = _mix_values(lattice[row][:, column], lattice[row][:, column + 1], fx[None, :])
    bottom = _mix_values(lattice[row + 1][:, column], lattice[row + 1][:, column + 1], fx[None, :])
    return np.asarray(_mix_values(top, bottom, fy[:, None]))


def _split_position(position: Plane) -> tuple[npt.NDArray[np.int64], Plane]:
    cell = position.astype(np.int64)
    fraction = position - cell
    return cell, fraction * fraction * (3 - 2 * fraction)


def _blend(image: Plane, cover: Plane, colour: tuple[float, ...]) -> None:
    for channel, value in enumerate(colour):
        image[..., channel] += cover * (value - image[..., channel])


def _mix_values(one: Any, other: Any, share: Any) -> Any:
    return one + (other - one) * share


_MASK = (1 << 64) - 1


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
