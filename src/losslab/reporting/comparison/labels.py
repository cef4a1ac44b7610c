"""Labels beside points, so that none lies on another or on a point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

LETTER = 0.56
"""Mean width of a letter, as a share of the font's size."""
RADIUS = 6.0
"""Of a point, with its border."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Place = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class PlacedLabel:
    text: str
    x: float
    y: float
    """Of the base line."""
    anchor: Anchor
    leader: Box | None
    """From x and y at the point, to x and y at a label that is not beside it."""


def place_labels(
    points: Sequence[Place], texts: Sequence[str], size: float, bounds: Box, lines: Sequence[Box] = (), reach: int = 5
) -> list[PlacedLabel | None]:
    """A label for each point; None where one finds no room.

    Args:
        lines: boxes of other things that no label may lie on; leaders may cross them.
        reach: half lines of text that a label may be above or below its point.
    """
    taken: list[Box] = [*((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in points)]
    found: dict[int, PlacedLabel | None] = {}
    # From the top down: what is crowded is pushed one way.
    for index in sorted(range(len(points)), key=lambda one: points[one][1]):
        others = [box for place, box in enumerate(taken) if place != index]
        free = (
            (label, boxes)
            for label, boxes in _candidates(points[index], texts[index], size, reach)
            if _inside(boxes[0], bounds)
            and not any(_overlap(boxes[0], line) for line in lines)
            and not any(_overlap(box, other) for box in boxes for other in others)
        )
        found[index], boxes = next(free, (None, []))
        taken += boxes
    return [found[index] for index in range(len(points))]


def _candidates(point: Place, text: str, size: float, reach: int) -> Iterator[tuple[PlacedLabel, list[Box]]]:
    """Beside the point; above and below; then ever farther up and down, with a line that leads there.

    Yields:
        A label with its box, and after it those of its leader.
    """
    x, y = point
    width, half = LETTER * size * len(text), 0.6 * size
    for shift in (0.0, *(sign * factor * 0.5 * size for factor in range(2, reach + 1) for sign in (1, -1))):
        is_beside = abs(shift) < RADIUS + half
        for side in (1, -1):
            start = x + side * (RADIUS + 3 if is_beside else RADIUS + 13)
            left = start if side == 1 else start - width
            leader = None
            if not is_beside:
                down = 1 if shift > 0 else -1
                leader = (x + 0.7 * side * RADIUS, y + 0.7 * down * RADIUS, start - 1.5 * side, y + shift)
            label = _label(text, start, y + shift, size, "start" if side == 1 else "end", leader)
            yield label, [(left, y + shift - half, left + width, y + shift + half), *_along(leader)]
        if shift == 0:
            for away in (-1, 1):
                middle = y + away * (RADIUS + half + 1)
                label = _label(text, x, middle, size, "middle", None)
                yield label, [(x - width / 2, middle - half, x + width / 2, middle + half)]


def _label(text: str, x: float, y: float, size: float, anchor: Anchor, leader: Box | None) -> PlacedLabel:
    rounded = None
    if leader is not None:
        rounded = (round(leader[0], 1), round(leader[1], 1), round(leader[2], 1), round(leader[3], 1))
    return PlacedLabel(text, round(x, 1), round(y + 0.35 * size, 1), anchor, rounded)


def _along(leader: Box | None, parts: int = 6) -> list[Box]:
    """Points of a line, but those near its ends: it may begin among points that lie on each other."""
    if leader is None:
        return []
    x, y, to_x, to_y = leader
    steps = [part / parts for part in range(2, parts)]
    return [(x + (to_x - x) * at, y + (to_y - y) * at, x + (to_x - x) * at, y + (to_y - y) * at) for at in steps]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: Box, bounds: Box) -> bool:
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
