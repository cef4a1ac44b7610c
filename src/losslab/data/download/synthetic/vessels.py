"""Drawn photographs of the back of the eye: an orange disc with dark vessels that branch from the optic disc."""

import math
from dataclasses import dataclass

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

VESSEL = 1
THINNEST = 0.7
"""Width in pixels, of an image of 128, at which a vessel ends."""


@dataclass(frozen=True)
class Eye:
    """An eye's places, in pixels, and the side, 1 or -1, on which the macula lies of the optic disc."""

    centre: tuple[float, float]
    radius: float
    disc: tuple[float, float]
    macula: tuple[float, float]
    side: float


@dataclass(frozen=True)
class Shoot:
    """The end of a growing vessel; the turn bends its heading at each step."""

    x: float
    y: float
    heading: tuple[float, float]
    width: float
    turn: float


def draw_vessels(draws: RandomStream, size: int, difficulty: float = 0.5) -> tuple[Picture, Picture]:
    """Draw an image, RGB `[size, size, 3]`, and its mask `[size, size]` of 0 background, 1 vessel.

    A vessel thinner than a pixel is fainter in the image, and one pixel wide in the mask, so that it is unbroken there.
    """
    eye = _place_eye(draws, size)
    place = np.arange(size, dtype=np.float64) + 0.5
    x, y = place[None, :], place[:, None]
    image = _draw_fundus(draws, eye, x, y, difficulty)
    mask = np.zeros((size, size), np.bool_)
    strength = draws.uniform(0.7, 0.9) * vary(difficulty, -0.5)
    for colour, widest in (((0.62, 0.17, 0.09), 2.4), ((0.38, 0.07, 0.06), 3.5)):  # arteries, then veins
        cover = np.zeros((size, size))
        for vertical in (-1.0, 1.0):
            for horizontal in (-1.0, 1.0):
                _grow_tree(draws, eye, (horizontal, vertical), widest * size / 128, cover, mask)
        blend(image, cover * strength, colour)
    edge = np.clip(eye.radius + 0.5 - _measure(x, y, eye.centre), 0, 1)
    image *= (0.03 + 0.97 * edge)[..., None]
    add_grain(draws, image, 0.011 * vary(difficulty, 0.5))
    return finish_image(image), (mask & (edge > 0.5)).astype(np.uint8) * np.uint8(VESSEL)


def _measure(x: Plane, y: Plane, point: tuple[float, float]) -> Plane:
    return np.sqrt((x - point[0]) * (x - point[0]) + (y - point[1]) * (y - point[1]))


def _place_eye(draws: RandomStream, size: int) -> Eye:
    side = 1.0 if draws.uniform() < 0.5 else -1.0
    centre = (draws.uniform(0.49, 0.51) * size, draws.uniform(0.49, 0.51) * size)
    radius = draws.uniform(0.46, 0.49) * size
    disc = (centre[0] - side * draws.uniform(0.35, 0.55) * radius, centre[1] + draws.uniform(-0.12, 0.12) * radius)
    macula = (disc[0] + side * draws.uniform(0.7, 0.85) * radius, disc[1] + draws.uniform(0.0, 0.12) * radius)
    return Eye(centre, radius, disc, macula, side)


def _draw_fundus(draws: RandomStream, eye: Eye, x: Plane, y: Plane, difficulty: float) -> Plane:
    size = x.size
    tone = mix_colours((0.90, 0.47, 0.22), (0.66, 0.28, 0.12), draws.uniform())
    clouds, weave, flecks = (draw_noise(draws, size, cells) for cells in (4, 14, 40))
    far = _measure(x, y, eye.centre) / eye.radius
    depth = (1.06 - 0.3 * far * far * far) * (1 + 0.07 * clouds + 0.05 * vary(difficulty, 0.6) * weave + 0.03 * flecks)
    image = np.stack([channel * depth for channel in tone], axis=-1)
    near = np.clip(1 - _measure(x, y, eye.macula) / (0.32 * eye.radius), 0, 1)
    blend(image, smooth(near) * 0.5, (0.40, 0.14, 0.07))
    for _ in range(round(draws.integer(0, 7) * vary(difficulty, 0.8))):  # spots, bright or dark, that are no vessels
        spot = (
            eye.centre[0] + draws.uniform(-0.7, 0.7) * eye.radius,
            eye.centre[1] + draws.uniform(-0.7, 0.7) * eye.radius,
        )
        round_off = draws.uniform(0.9, 2.4) * size / 128
        colour = (0.97, 0.82, 0.45) if draws.uniform() < 0.5 else (0.45, 0.09, 0.06)
        blend(image, np.clip(round_off + 0.5 - _measure(x, y, spot), 0, 1) * draws.uniform(0.3, 0.7), colour)
    rim = (0.15 * eye.radius - _measure(x, y, eye.disc) * (1 + 0.12 * clouds)) / (0.035 * eye.radius)
    blend(image, smooth(np.clip(rim + 0.5, 0, 1)) * 0.85, (0.99, 0.80, 0.48))
    blend(image, smooth(np.clip(rim * 0.6 - 0.9, 0, 1)) * 0.7, (1.0, 0.93, 0.72))
    return image


def _grow_tree(
    draws: RandomStream, eye: Eye, quarter: tuple[float, float], widest: float, cover: Plane, mask: Mask
) -> None:
    """Grow one of the arcades into a quarter: it leaves the disc steeply, bends, tapers, and branches to both sides."""
    size = len(mask)
    unit = size / 128
    horizontal, vertical = quarter
    towards_macula = horizontal == eye.side
    steep = draws.uniform(1.1, 2.6) if towards_macula else draws.uniform(0.3, 1.8)
    # The turn's sign: an arcade bends around the macula, so from the vertical to its own side.
    bend = -horizontal * vertical * (draws.uniform(0.06, 0.15) if towards_macula else draws.uniform(-0.06, 0.04))
    start = (eye.disc[0] + draws.uniform(-1.5, 1.5) * unit, eye.disc[1] + draws.uniform(-1.5, 1.5) * unit)
    width = widest * draws.uniform(0.75, 1.0) * (1 if towards_macula else 0.8)
    shoots = [Shoot(*start, _normalise(horizontal, vertical * steep), width, bend)]
    while shoots:
        shoot = shoots.pop()
        flip = 1.0
        while shoot.width > THINNEST * unit:
            grown = _step(draws, eye, shoot, 4.5 * unit)
            if not _are_near((grown.x, grown.y), eye.centre, 1.02 * eye.radius):
                break
            _stamp(shoot, grown, cover, mask, unit)
            shoot = grown
            if draws.uniform() < 0.27 and shoot.width > 0.95 * unit:
                flip = -flip
                share = draws.uniform(0.5, 0.8)
                heading = _turn(shoot.heading, flip * draws.uniform(0.5, 1.0))
                shoots.append(Shoot(shoot.x, shoot.y, heading, shoot.width * share, -flip * draws.uniform(0.0, 0.1)))
                shoot = Shoot(
                    shoot.x,
                    shoot.y,
                    _turn(shoot.heading, -flip * 0.18),
                    shoot.width * (1.06 - 0.25 * share),
                    shoot.turn,
                )


def _step(draws: RandomStream, eye: Eye, shoot: Shoot, length: float) -> Shoot:
    heading = _turn(shoot.heading, shoot.turn + draws.uniform(-0.2, 0.2))
    x, y = shoot.x + heading[0] * length, shoot.y + heading[1] * length
    # The macula has no vessels: those that come near it end soon.
    taper = 0.75 if _are_near((x, y), eye.macula, 0.3 * eye.radius) else draws.uniform(0.93, 0.975)
    return Shoot(x, y, heading, shoot.width * taper, shoot.turn)


def _are_near(one: tuple[float, float], other: tuple[float, float], reach: float) -> bool:
    dx, dy = one[0] - other[0], one[1] - other[1]
    return dx * dx + dy * dy < reach * reach


def _stamp(start: Shoot, end: Shoot, cover: Plane, mask: Mask, unit: float) -> None:
    window, distance, along = measure_segment((start.x, start.y), (end.x, end.y), 3 * unit + 1, len(mask))
    half = (start.width + (end.width - start.width) * along) / 2
    solid = np.clip(np.maximum(half, 0.5) + 0.5 - distance, 0, 1) * np.minimum(2 * half, 1)
    np.maximum(cover[window], solid, out=cover[window])
    mask[window] |= distance < np.maximum(half, 0.5)


def _turn(heading: tuple[float, float], turn: float) -> tuple[float, float]:
    """Turn a unit vector by the angle whose tangent is `turn`."""
    return _normalise(heading[0] - turn * heading[1], heading[1] + turn * heading[0])


def _normalise(x: float, y: float) -> tuple[float, float]:
    length = math.sqrt(x * x + y * y)
    return x / length, y / length
