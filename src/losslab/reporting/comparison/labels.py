"""Placement of labels beside points, so that none lies on another or on a point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

LETTER_WIDTH_EM = 0.56
"""Mean width of a letter, as a share of the font's size."""
POINT_RADIUS = 6.0
"""Radius of a point with its border, in the drawing's units."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Place = tuple[float, float]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class PlacedLabel:
    text: str
    x: float
    y: float
    """Height of the base line."""
    anchor: Anchor
    leader: Box | None
    """Line to a label that is not beside its point: x and y at the point, x and y at the label."""


def place_labels(
    points: Sequence[Place], texts: Sequence[str], size: float, bounds: Box, lines: Sequence[Box] = (), reach: int = 5
) -> list[PlacedLabel | None]:
    """Place a label for each point; None where there is no room for it.

    Args:
        size: size of the font, in the drawing's units.
        bounds: box that labels must stay within.
        lines: boxes of other things that no label may lie on; leaders may cross them.
        reach: half lines of text that a label may be above or below its point.
    """
    taken: list[Box] = [*((x - POINT_RADIUS, y - POINT_RADIUS, x + POINT_RADIUS, y + POINT_RADIUS) for x, y in points)]
    labels: dict[int, PlacedLabel | None] = {}
    # From the top down: what is crowded is pushed one way.
    for index in sorted(range(len(points)), key=lambda one: points[one][1]):
        others = [box for place, box in enumerate(taken) if place != index]
        free = (
            (label, boxes)
            for label, boxes in _list_candidates(points[index], texts[index], size, reach)
            if _is_inside(boxes[0], bounds)
            and not any(_do_overlap(boxes[0], line) for line in lines)
            and not any(_do_overlap(box, other) for box in boxes for other in others)
        )
        labels[index], boxes = next(free, (None, []))
        taken += boxes
    return [labels[index] for index in range(len(points))]


def _list_candidates(point: Place, text: str, size: float, reach: int) -> Iterator[tuple[PlacedLabel, list[Box]]]:
    """List labels beside the point, above and below, then ever farther up and down with a leader, each with its boxes."""
    x, y = point
    width, half = LETTER_WIDTH_EM * size * len(text), 0.6 * size
    for shift in (0.0, *(sign * factor * 0.5 * size for factor in range(2, reach + 1) for sign in (1, -1))):
        is_beside = abs(shift) < POINT_RADIUS + half
        for side in (1, -1):
            start = x + side * (POINT_RADIUS + 3 if is_beside else POINT_RADIUS + 13)
            left = start if side == 1 else start - width
            leader = None
            if not is_beside:
                down = 1 if shift > 0 else -1
                leader = (x + 0.7 * side * POINT_RADIUS, y + 0.7 * down * POINT_RADIUS, start - 1.5 * side, y + shift)
            label = _place_label(text, start, y + shift, size, "start" if side == 1 else "end", leader)
            yield label, [(left, y + shift - half, left + width, y + shift + half), *_cover_leader(leader)]
        if shift == 0:
            for away in (-1, 1):
                middle = y + away * (POINT_RADIUS + half + 1)
                label = _place_label(text, x, middle, size, "middle", None)
                yield label, [(x - width / 2, middle - half, x + width / 2, middle + half)]


def _place_label(text: str, x: float, y: float, size: float, anchor: Anchor, leader: Box | None) -> PlacedLabel:
    rounded = None
    if leader is not None:
        rounded = (round(leader[0], 1), round(leader[1], 1), round(leader[2], 1), round(leader[3], 1))
    return PlacedLabel(text, round(x, 1), round(y + 0.35 * size, 1), anchor, rounded)


def _cover_leader(leader: Box | None, parts: int = 6) -> list[Box]:
    """Cover a leader with boxes, but not its ends: it may begin among points that lie on each other."""
    if leader is None:
        return []
    x, y, to_x, to_y = leader
    steps = [part / parts for part in range(2, parts)]
    return [(x + (to_x - x) * at, y + (to_y - y) * at, x + (to_x - x) * at, y + (to_y - y) * at) for at in steps]


def _do_overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _is_inside(box: Box, bounds: Box) -> bool:
    return box[0] >= bounds[0] and box[1] >= bounds[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
