"""Drawn dermoscopy-like images with three badly imbalanced classes: skin, lesion, hair."""

from itertools import pairwise

import numpy as np

from losslab.data.download.synthetic.drawing import (
    Mask,
    Picture,
    Plane,
    add_grain,
    blend,
    draw_noise,
    finish_image,
    measure_segment,
    mix_colours,
    smooth,
    vary,
)
from losslab.data.download.synthetic.stream import RandomStream

SKIN, LESION, HAIR = 0, 1, 2
ABSENT = 0.625
"""How fast the share of images without a lesion grows with the difficulty above 0.5: to a quarter at 0.9."""


def draw_lesion(draws: RandomStream, size: int, difficulty: float = 0.5) -> tuple[Picture, Picture]:
    """Draw an image, RGB `[size, size, 3]`, and its mask `[size, size]` of 0 skin, 1 lesion, 2 hair."""
    image, lesion, hair = draw_overlapping_lesion(draws, size, difficulty)
    return image, np.where(hair, np.uint8(HAIR), np.where(lesion, np.uint8(LESION), np.uint8(SKIN)))


def draw_overlapping_lesion(draws: RandomStream, size: int, difficulty: float = 0.5) -> tuple[Picture, Mask, Mask]:
    """Draw an image, RGB `[size, size, 3]`, and the masks of its lesion and its hair, bool `[size, size]`."""
    centres = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = centres[None, :], centres[:, None]  # -1..1 across the image
    image = _draw_skin(draws, x, y, difficulty)
    if difficulty > 0.5 and draws.uniform() < ABSENT * (difficulty - 0.5):
        lesion = np.zeros((size, size), np.bool_)
    else:
        lesion = _add_lesion(draws, x, y, image, difficulty)
    hair = _add_hairs(draws, size, image, difficulty)
    _add_light(draws, x, y, image)
    add_grain(draws, image, 0.009 * vary(difficulty, 0.5))
    return finish_image(image), lesion, hair


def _draw_skin(draws: RandomStream, x: Plane, y: Plane, difficulty: float) -> Plane:
    depth = draws.uniform()
    tone = mix_colours((0.91, 0.73, 0.64), (0.66, 0.46, 0.35), depth)
    size = x.size
    blotches, texture = draw_noise(draws, size, 4) * vary(difficulty, 1.5), draw_noise(draws, size, 40)
    image = np.empty((size, size, 3))
    for channel, flush in enumerate((0.02, 0.05, 0.05)):
        image[..., channel] = tone[channel] - flush * blotches + 0.018 * texture
    # A few freckles have the lesion's colour but are far too small: colour alone does not separate the classes.
    for _ in range(round(draws.integer(0, 6) * vary(difficulty, 0.8))):
        cx, cy, radius = draws.uniform(-0.9, 0.9), draws.uniform(-0.9, 0.9), draws.uniform(0.02, 0.055)
        near = np.clip(1 - ((x - cx) * (x - cx) + (y - cy) * (y - cy)) / (radius * radius), 0, 1)
        blend(image, near * draws.uniform(0.4, 0.8), _draw_brown(draws))
    return image


def _add_lesion(draws: RandomStream, x: Plane, y: Plane, image: Plane, difficulty: float) -> Mask:
    """Add an ellipse with a border bent by noise; it fades over a soft rim whose middle is the border of its mask."""
    size = x.size
    cx, cy = draws.uniform(-0.3, 0.3), draws.uniform(-0.3, 0.3)
    (ux, uy), long = draws.direction(), draws.uniform(0.32, 0.68)
    short = long * draws.uniform(0.6, 1.0)
    a, b = ((x - cx) * ux + (y - cy) * uy) / long, ((y - cy) * ux - (x - cx) * uy) / short
    bends = 0.26 * draw_noise(draws, size, 4) + 0.12 * draw_noise(draws, size, 9)
    bends = bends + 0.05 * draw_noise(draws, size, 20)
    inside = (1 - np.sqrt(a * a + b * b) + bends) * short  # about the signed distance to the border
    softness = draws.uniform(0.06, 0.18) * vary(difficulty, 0.8)
    cover = np.clip(inside / softness + 0.5, 0, 1)
    cover = smooth(cover) * draws.uniform(0.75, 0.95) * vary(difficulty, -0.75)
    patches, speckles = draw_noise(draws, size, 5), draw_noise(draws, size, 26)
    first, second = _draw_brown(draws), _draw_brown(draws)
    share = np.clip(0.5 + 0.9 * patches, 0, 1)
    depth = 1 + 0.16 * speckles + 0.10 * patches
    blend(image, cover, tuple(channel * depth for channel in mix_colours(first, second, share)))
    return np.asarray(inside > 0)


def _add_hairs(draws: RandomStream, size: int, image: Plane, difficulty: float) -> Mask:
    """Add dark bent hairs, one to two pixels wide at 128 x 128, over skin and lesion, and return their mask."""
    mask = np.zeros((size, size), np.bool_)
    dark = tuple(draws.uniform(0.5, 1.2) * channel for channel in (0.20, 0.13, 0.10))
    for _ in range(draws.integer(2, 7)):
        width = draws.uniform(1.1, 2.1) * size / 128
        distance = _draw_distance_to_hair(draws, size)
        strength = draws.uniform(0.6, 0.9) * vary(difficulty, -0.4)
        blend(image, np.clip(width / 2 + 0.5 - distance, 0, 1) * strength, dark)
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
    for first, second in pairwise(points):
        window, near, _ = measure_segment(first, second, margin, size)
        np.minimum(distance[window], near, out=distance[window])
    return distance


def _add_light(draws: RandomStream, x: Plane, y: Plane, image: Plane) -> None:
    """Add shading across the image and a vignette."""
    ux, uy = draws.direction()
    shade = 1 + draws.uniform(0.02, 0.12) * (x * ux + y * uy)
    radius = (x * x + y * y) / 2
    image *= (shade * (1 - draws.uniform(0.15, 0.45) * radius * radius))[..., None]


def _draw_brown(draws: RandomStream) -> tuple[float, float, float]:
    depth = draws.uniform()
    red, green, blue = mix_colours((0.62, 0.38, 0.27), (0.24, 0.14, 0.12), depth)
    return red + draws.uniform(-0.06, 0.06), green, blue + draws.uniform(-0.03, 0.05)
