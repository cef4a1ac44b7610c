"""Drawn road scenes in perspective, with nine classes from the road to the sign, most of which are rare."""

from collections.abc import Callable

from losslab.data.download.synthetic.drawing import Picture, add_grain, blend, finish_image, vary
from losslab.data.download.synthetic.road_objects import add_car, add_lamp, add_pedestrian, add_sign, add_tree
from losslab.data.download.synthetic.road_scene import Scene, open_scene
from losslab.data.download.synthetic.stream import RandomStream

Thing = tuple[float, Callable[[RandomStream, Scene, float, float], None], float]
"""Its distance, what draws it, and its place across the road."""


def draw_road(draws: RandomStream, size: int, difficulty: float = 0.5) -> tuple[Picture, Picture]:
    """Draw an image, RGB `[size, size, 3]`, and its mask `[size, size]` of indices of `road_scene.CLASSES`."""
    scene = open_scene(draws, size, difficulty)
    things = [*_place_cars(draws, scene), *_place_street_furniture(draws, scene)]
    for z, add, across in sorted(things, key=lambda thing: -thing[0]):
        add(draws, scene, across, z)
    image = scene.canvas.image
    blend(image, 0.3 * difficulty, scene.haze)
    image *= draws.uniform(0.85, 1.05)
    add_grain(draws, image, 0.012 * vary(difficulty, 0.6))
    return finish_image(image), scene.canvas.labels


def _place_cars(draws: RandomStream, scene: Scene) -> list[Thing]:
    """Place cars in two lanes and along both kerbs, with room between them."""
    lanes = ((0.5, 0.5), (-0.5, 0.5), (1.0, 0.45), (-1.0, 0.45))
    cars: list[Thing] = []
    for lane, density in lanes:
        z = draws.uniform(5.0, 12.0) if abs(lane) < 1 else draws.uniform(3.5, 9.0)
        parked = abs(lane) == 1
        across = scene.shift + lane * (scene.road - 1.0 if parked else scene.road * 0.9)
        is_busy = draws.uniform() < 0.75
        while z < 60 and is_busy:
            if draws.uniform() < density:
                cars.append((z, add_car, across))
            z += draws.uniform(5.2, 8.0) if parked else draws.uniform(8, 20)
    return cars


def _place_street_furniture(draws: RandomStream, scene: Scene) -> list[Thing]:
    """Place trees, lamps, signs and people on the pavements; half of the streets are without people, most without signs."""
    things: list[Thing] = []
    people = draws.integer(1, 6) if draws.uniform() < 0.5 else 0
    signs = draws.integer(1, 2) if draws.uniform() < 0.4 else 0
    for side in (-1.0, 1.0):
        kerb, free = scene.shift + side * (scene.road + 0.35), scene.wall - scene.road
        if draws.uniform() < 0.6:
            z = draws.uniform(7, 14)
            while z < 60:
                things.append((z, add_tree, kerb + side * 0.3))
                z += draws.uniform(7, 14)
        if draws.uniform() < 0.7:
            z = draws.uniform(6, 16)
            while z < 70:
                things.append((z, add_lamp, kerb))
                z += 18
    for _ in range(people):
        side = 1.0 if draws.uniform() < 0.5 else -1.0
        place = scene.shift + side * (scene.road + draws.uniform(0.25, 0.85) * free)
        things.append((draws.uniform(5.0, 22), add_pedestrian, place))
    for _ in range(signs):
        side = 1.0 if draws.uniform() < 0.6 else -1.0
        things.append((draws.uniform(6, 18), add_sign, scene.shift + side * (scene.road + 0.5)))
    return things
