"""Things that stand in a drawn road scene, each at a place across and a distance along the road, in metres."""

from losslab.data.download.synthetic.drawing import Colour
from losslab.data.download.synthetic.road_scene import CAR, GLASS, PEDESTRIAN, POLE, SIGN, TREE, Scene
from losslab.data.download.synthetic.stream import RandomStream

PAINTS = (
    (0.72, 0.12, 0.11),
    (0.14, 0.25, 0.52),
    (0.88, 0.88, 0.87),
    (0.12, 0.12, 0.13),
    (0.58, 0.60, 0.63),
    (0.24, 0.40, 0.34),
)
CLOTHES = (
    (0.70, 0.16, 0.18),
    (0.16, 0.24, 0.46),
    (0.18, 0.18, 0.20),
    (0.82, 0.70, 0.28),
    (0.36, 0.50, 0.42),
    (0.86, 0.84, 0.80),
)


def add_tree(draws: RandomStream, scene: Scene, x: float, z: float) -> None:
    radius, trunk = draws.uniform(1.3, 2.3), draws.uniform(2.2, 3.2)
    high = trunk + 0.8 * radius
    scene.paint_box((x - 0.14, 0, x + 0.14, high), z, (0.30, 0.22, 0.16), TREE)
    scene.paint_crown((x, high), radius, z, draws.uniform(0.8, 1.15))


def add_car(draws: RandomStream, scene: Scene, x: float, z: float) -> None:
    """Add a car seen from behind, or from the front on the other side: its outline at several depths, far to near."""
    paint = PAINTS[draws.integer(0, len(PAINTS) - 1)]
    half, high, length = draws.uniform(0.82, 0.95), draws.uniform(1.4, 1.75), 4.0
    scene.paint_box((x - half - 0.1, -0.05, x + half + 0.1, 0.22), z, (0.10, 0.10, 0.11), strength=0.8)
    slices = 8 if z < 16 else 3
    side = tuple((0.95 if (x < 0) == (scene.sunny > 0) else 0.6) * channel for channel in paint)
    for number in range(slices + 1):
        back = length * (1 - number / slices)
        last = number == slices
        if 0.3 < back < 2.9:
            scene.paint_box((x - half + 0.08, 0.8, x + half - 0.08, high), z + back, GLASS, CAR, lean=0.18)
            roof = (x - half + 0.24, high - 0.1, x + half - 0.24, high)
            scene.paint_box(roof, z + back, paint, CAR)
        scene.paint_box((x - half, 0.2, x + half, 0.88), z + back, paint if last else side, CAR)
    if z < 30:
        _add_car_details(scene, x, z, half, x > scene.shift)


def _add_car_details(scene: Scene, x: float, z: float, half: float, is_rear: bool) -> None:
    for sign in (-1, 1):
        wheel = sorted((x + sign * half, x + sign * (half - 0.24)))
        scene.paint_box((wheel[0], 0.0, wheel[1], 0.3), z, (0.06, 0.06, 0.07), CAR)
        lamp = sorted((x + sign * (half - 0.03), x + sign * (half - 0.27)))
        scene.paint_box((lamp[0], 0.6, lamp[1], 0.75), z, (0.85, 0.10, 0.08) if is_rear else (0.98, 0.96, 0.82))
    scene.paint_box((x - half, 0.22, x + half, 0.36), z, (0.12, 0.12, 0.13), strength=0.7)
    scene.paint_box((x - 0.25, 0.42, x + 0.25, 0.54), z, (0.92, 0.90, 0.82))


def add_pedestrian(draws: RandomStream, scene: Scene, x: float, z: float) -> None:
    tall = draws.uniform(0.85, 1.08)
    coat, trousers = (CLOTHES[draws.integer(0, len(CLOTHES) - 1)] for _ in range(2))
    stride = draws.uniform(0.04, 0.2)
    skin = draws.uniform(0.55, 1.0)
    for sign in (-1, 1):
        foot = x + sign * stride
        scene.paint_box((foot - 0.09, 0, foot + 0.09, 0.85 * tall), z, trousers, PEDESTRIAN)
    scene.paint_box((x - 0.27, 0.72 * tall, x + 0.27, 1.45 * tall), z, coat, PEDESTRIAN, lean=0.05)
    scene.paint_ellipse((x, 1.6 * tall), (0.15, 0.17), z, (0.88 * skin, 0.68 * skin, 0.55 * skin), PEDESTRIAN)


def add_lamp(draws: RandomStream, scene: Scene, x: float, z: float) -> None:
    """Add a lamp post whose arm reaches over the road."""
    high = draws.uniform(5.0, 7.0)
    scene.paint_box((x - 0.07, 0, x + 0.07, high), z, (0.25, 0.26, 0.28), POLE)
    left, right = sorted((x, x + (1.4 if x < scene.shift else -1.4)))
    scene.paint_box((left, high - 0.12, right, high), z, (0.25, 0.26, 0.28), POLE)


def add_sign(draws: RandomStream, scene: Scene, x: float, z: float) -> None:
    """Add a traffic sign on its pole: a ring, a disc, or a board."""
    high, radius = draws.uniform(2.3, 2.8), draws.uniform(0.34, 0.46)
    scene.paint_box((x - 0.04, 0, x + 0.04, high), z, (0.48, 0.49, 0.50), POLE)
    kind = draws.integer(0, 2)
    outer: Colour = ((0.80, 0.10, 0.12), (0.10, 0.28, 0.66), (0.95, 0.76, 0.12))[kind]
    if kind == 2:
        box = (x - radius, high - radius, x + radius, high + radius)
        scene.paint_box(box, z, outer, SIGN)
        scene.paint_box((x - 0.6 * radius, high - 0.1, x + 0.6 * radius, high + 0.1), z, (0.15, 0.14, 0.12))
        return
    scene.paint_ellipse((x, high), (radius, radius), z, outer, SIGN)
    scene.paint_ellipse((x, high), (0.6 * radius, 0.6 * radius), z, (0.95, 0.95, 0.94) if kind == 0 else outer)
