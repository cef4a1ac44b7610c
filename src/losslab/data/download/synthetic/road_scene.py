"""The scene of a drawn road: camera, sky, ground and the houses on both sides."""

from dataclasses import dataclass

import numpy as np

from losslab.data.download.synthetic.drawing import (
    Canvas,
    Colour,
    Patch,
    Plane,
    blend,
    draw_noise,
    mix_colours,
    vary,
)
from losslab.data.download.synthetic.stream import RandomStream

CLASSES = ("sky", "building", "road", "pavement", "tree", "car", "pedestrian", "pole", "sign")
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, PEDESTRIAN, POLE, SIGN = range(len(CLASSES))
WALLS = (
    (0.72, 0.60, 0.48),
    (0.62, 0.36, 0.29),
    (0.80, 0.76, 0.68),
    (0.52, 0.53, 0.57),
    (0.70, 0.50, 0.36),
    (0.78, 0.69, 0.50),
)
GLASS = (0.17, 0.21, 0.28)


@dataclass(frozen=True)
class Scene:
    """A camera at height 1.5 m that looks along the road; lengths are metres, x to the right, y up, z away from it."""

    canvas: Canvas
    column: float
    row: float
    """The vanishing point, in pixels."""
    focal: float
    road: float
    """Half the road's width."""
    shift: float
    """Place of the road's middle, from the camera's."""
    wall: float
    """Distance from the middle of the road to the houses."""
    sunny: float
    """Side that the sun is on, -1 or 1."""
    haze: Colour
    reach: float
    """Distance at which haze hides half of a thing."""
    leaves: Plane
    grit: Plane

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        return self.column + self.focal * x / z, self.row + self.focal * (EYE - y) / z

    def measure_pixels(self, z: float) -> float:
        """Return the pixels of a metre at a distance."""
        return self.focal / z

    def fade(self, colour: Colour, z: float | Plane) -> Colour:
        return mix_colours(colour, self.haze, z / (z + self.reach))

    def cut(self, left: float, low: float, right: float, high: float, z: float) -> tuple[Patch, Plane, Plane]:
        """Return the window on an upright rectangle at a distance, and its pixels' x and y in metres."""
        (x0, y0), (x1, y1) = self.project(left, high, z), self.project(right, low, z)
        patch = self.canvas.cut(x0, y0, x1, y1)
        return patch, (patch.x - self.column) * z / self.focal, EYE - (patch.y - self.row) * z / self.focal

    def paint_box(
        self,
        box: tuple[float, float, float, float],
        z: float,
        colour: Colour,
        label: int | None = None,
        *,
        lean: float = 0.0,
        strength: float = 1.0,
    ) -> None:
        """Paint an upright rectangle (left, low, right, high); `lean` draws its sides in by as much at the top."""
        left, low, right, high = box
        patch, x, y = self.cut(left, low, right, high, z)
        inwards = lean * (y - low) / (high - low)
        # No thing is thinner than a pixel in the mask, so that poles are unbroken there.
        least = 0.5 / self.measure_pixels(z)
        middle, half = (left + right) / 2, max((right - left) / 2, least)
        inside = np.minimum(half - inwards - np.abs(x - middle), np.minimum(y - low, high - y))
        patch.paint(inside * self.measure_pixels(z), self.fade(colour, z), label, strength)

    def paint_ellipse(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        z: float,
        colour: Colour,
        label: int | None = None,
    ) -> None:
        (cx, cy), (rx, ry) = centre, radii
        patch, x, y = self.cut(cx - rx, cy - ry, cx + rx, cy + ry, z)
        a, b = (x - cx) / rx, (y - cy) / ry
        patch.paint((1 - np.sqrt(a * a + b * b)) * min(rx, ry) * self.measure_pixels(z), self.fade(colour, z), label)

    def paint_crown(self, centre: tuple[float, float], radius: float, z: float, tone: float) -> None:
        """Paint leaves within a circle bent by noise, lighter on the side of the sun."""
        (cx, cy), reach = centre, 1.4 * radius
        patch, x, y = self.cut(cx - reach, cy - reach, cx + reach, cy + reach, z)
        a, b, noise = (x - cx) / radius, (y - cy) / radius, self.leaves[patch.at]
        inside = (1 - np.sqrt(a * a + b * b) + 0.3 * noise) * radius * self.measure_pixels(z)
        light = tone * (0.85 + 0.55 * noise + 0.22 * (a * self.sunny + b))
        patch.paint(inside, self.fade(tuple(channel * light for channel in (0.25, 0.40, 0.16)), z), TREE)


EYE = 1.5
"""Height of the camera in metres."""


def open_scene(draws: RandomStream, size: int, difficulty: float) -> Scene:
    """Draw what is behind all things: sky, ground, houses."""
    lanes = draws.uniform(3.4, 4.6)
    warm = draws.uniform()
    scene = Scene(
        canvas=Canvas(size),
        column=draws.uniform(0.36, 0.64) * size,
        row=draws.uniform(0.40, 0.5) * size,
        focal=draws.uniform(0.75, 0.95) * size,
        road=lanes,
        shift=draws.uniform(-0.6, 0.5) * lanes,
        wall=lanes + draws.uniform(2.2, 3.8),
        sunny=1.0 if draws.uniform() < 0.5 else -1.0,
        haze=mix_colours((0.76, 0.80, 0.86), (0.88, 0.82, 0.75), warm),
        reach=draws.uniform(70, 160) * vary(difficulty, -0.6),
        leaves=draw_noise(draws, size, 26) * 0.6 + draw_noise(draws, size, 52) * 0.4,
        grit=draw_noise(draws, size, 6) * 0.5 + draw_noise(draws, size, 60) * 0.5,
    )
    _add_sky(draws, scene, warm)
    _add_skyline(draws, scene)
    _add_ground(draws, scene)
    for side in (-1.0, 1.0):
        _add_houses(draws, scene, side)
    return scene


def _add_sky(draws: RandomStream, scene: Scene, warm: float) -> None:
    size = scene.canvas.size
    high = np.clip(1 - (np.arange(size) + 0.5)[:, None] / scene.row, 0, 1) + np.zeros((1, size))
    top = mix_colours((0.34, 0.55, 0.84), (0.62, 0.66, 0.74), draws.uniform())
    blend(scene.canvas.image, np.ones((size, size)), mix_colours(scene.haze, top, high))
    clouds = 0.6 * draw_noise(draws, size, 4) + 0.4 * draw_noise(draws, size, 10)
    blend(scene.canvas.image, np.clip(clouds * 1.6 - 0.1, 0, 1) * 0.75, (0.96, 0.95 - 0.03 * warm, 0.94 - 0.06 * warm))


def _add_skyline(draws: RandomStream, scene: Scene) -> None:
    """Add far trees and towers, and close the end of the street with them."""
    for _ in range(draws.integer(6, 12)):
        x, z = draws.uniform(-70, 70), 160.0
        half, high = draws.uniform(5, 14), draws.uniform(8, 24)
        if draws.uniform() < 0.5:
            scene.paint_box((x - half, 0, x + half, high), z, WALLS[draws.integer(0, 5)], BUILDING)
        else:
            scene.paint_ellipse((x, 4.0), (half, high / 2), z, (0.24, 0.36, 0.20), TREE)


def _add_ground(draws: RandomStream, scene: Scene) -> None:
    size = scene.canvas.size
    patch = scene.canvas.cut(0, scene.row + 2, size, size)
    z = scene.focal * EYE / np.maximum(patch.y - scene.row, 0.25)
    metre = scene.focal / z
    across = np.abs((patch.x - scene.column) / metre - scene.shift)
    depth = 1 + 0.08 * scene.grit[patch.at]
    below = (patch.y - scene.row) + np.zeros_like(across)
    asphalt, slabs = draws.uniform(0.30, 0.44), draws.uniform(0.54, 0.68)
    slab = (slabs * depth, slabs * 0.97 * depth, slabs * 0.92 * depth)
    patch.paint(below, scene.fade(slab, z), PAVEMENT)
    joint = np.abs(z / 1.5 - np.floor(z / 1.5) - 0.5)  # between slabs: a darker line, near enough to be seen
    patch.paint((joint - 0.46) * 1.5 * metre * EYE / z, scene.fade((0.45, 0.44, 0.42), z), strength=0.35)
    tar = (asphalt * depth, asphalt * depth, asphalt * 1.05 * depth)
    on_road = np.minimum((scene.road - across) * metre, below)
    patch.paint(on_road + 0.16 * metre, scene.fade((0.74, 0.73, 0.70), z))  # the kerb, a light line on the pavement
    patch.paint(on_road, scene.fade(tar, z), ROAD)
    dashes = np.where(z / 6 - np.floor(z / 6) < 0.5, 1.0, 0.0)
    line = (0.08 - across) * metre
    paint = scene.fade((0.93, 0.92, 0.88), z)
    blend(patch.image, np.clip(line + 0.5, 0, 1) * dashes * np.clip(metre * 0.16, 0, 1), paint)


def _add_houses(draws: RandomStream, scene: Scene, side: float) -> None:
    """Add a row of houses from far to near, with gaps, in which one sees the wall at the side of a house."""
    rows = []
    z = 2.0
    while z < 90:
        length = draws.uniform(7, 18)
        rows.append((z, z + length, draws.uniform(5, 17), draws.integer(0, 5), draws.uniform() < 0.25))
        z += length
    x = scene.shift + side * scene.wall
    for near, far, high, colour, is_gap in reversed(rows):
        if is_gap:
            for _ in range(2):
                radius = draws.uniform(2.2, 3.4)
                scene.paint_crown((x + side * draws.uniform(1, 6), radius), radius, far, draws.uniform(0.65, 0.9))
            continue
        tone = WALLS[colour]
        left, right = sorted((x, x + side * 12))
        scene.paint_box((left, 0, right, high), near, tuple(0.78 * channel for channel in tone), BUILDING)
        _add_facade(draws, scene, x, (near, far), high, tone)


def _add_facade(
    draws: RandomStream, scene: Scene, x: float, span: tuple[float, float], high: float, tone: Colour
) -> None:
    """Add the wall along the street, a plane at `x`: each column of pixels has a distance of its own."""
    near, far = span
    (x0, top), (x1, _) = scene.project(x, high, near), scene.project(x, high, far)
    patch = scene.canvas.cut(x0, top, x1, scene.project(x, 0, near)[1])
    offset = (patch.x - scene.column) * (1.0 if x > 0 else -1.0)
    z = scene.focal * abs(x) / np.maximum(offset, 0.1)
    metre = scene.focal / z
    y = EYE - (patch.y - scene.row) / metre
    # Pixels of a metre along the wall: the slope of the projection.
    along = metre * abs(x) / z
    inside = np.minimum(np.minimum(z - near, far - z) * along, np.minimum(y, high - y) * metre)
    light = 1.06 if (x > 0) != (scene.sunny > 0) else 0.82
    shade = light * (1 + 0.06 * scene.grit[patch.at])
    patch.paint(inside, scene.fade(tuple(channel * shade for channel in tone), z), BUILDING)
    floor, bay = draws.uniform(2.8, 3.4), draws.uniform(2.2, 3.4)
    u, v = (z - near) / bay, (y - 0.5) / floor
    du = (0.24 - np.abs(u - np.floor(u) - 0.5)) * bay * along
    dv = (0.28 - np.abs(v - np.floor(v) - 0.5)) * floor * metre
    whole = np.minimum(np.minimum(y - 0.5, high - 0.6 - y) * metre, inside)
    seen = np.clip(along * bay / 4, 0, 1)  # far windows blur into the wall
    cover = np.clip(np.minimum(np.minimum(du, dv), whole) + 0.5, 0, 1) * seen * 0.85
    glint = draws.uniform(0.0, 0.35)
    blend(patch.image, cover, scene.fade(mix_colours(GLASS, scene.haze, glint), z))
    roof = np.minimum((0.3 - np.abs(y - high + 0.3)) * metre, inside)
    patch.paint(roof, scene.fade(tuple(0.6 * channel for channel in tone), z))
