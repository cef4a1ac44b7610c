"""Quality against cost: which cells no other beats in both. pareto.html.j2 draws it."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from losslab.comparison.result import ComparedCell, Comparison
from losslab.formats import (
    format_brief,
    format_duration,
    format_list,
    format_milliseconds,
    format_parameters,
    format_score,
)
from losslab.reporting.comparison.labels import Box, Place, PlacedLabel, place_labels
from losslab.reporting.comparison.ranking import RankingLine, build_lines
from losslab.reporting.components.axes import Axis, build_axis
from losslab.reporting.components.charts import BOTTOM, LEFT, RIGHT, TOP

NAME_SIZE, NUMBER_SIZE = 11.5, 16.0
"""Font sizes of names, and of the ranks that stand for them on a phone, in the drawing's units."""


@dataclass(frozen=True)
class CostAxis:
    key: str
    title: str
    axis: str
    of: Callable[[ComparedCell], float | None]
    """In the axis's unit."""
    told: Callable[[ComparedCell], str]


COSTS = (
    CostAxis(
        "parameters",
        "parameters",
        "parameters, millions",
        lambda cell: cell.parameters / 1e6,
        lambda cell: format_parameters(cell.parameters),
    ),
    CostAxis(
        "image",
        "time per image",
        "milliseconds an image",
        lambda cell: cell.image_ms,
        lambda cell: format_milliseconds(cell.image_ms),
    ),
    CostAxis(
        "training",
        "training time",
        "minutes of training, mean over seeds",
        lambda cell: None if cell.train_seconds is None else cell.train_seconds / 60,
        lambda cell: format_duration(cell.train_seconds),
    ),
)


@dataclass(frozen=True)
class ParetoCandidate:
    cell: ComparedCell
    line: RankingLine
    cost: float
    on_front: bool
    """No other cell is at least as good at no more cost."""


@dataclass(frozen=True)
class ParetoPoint:
    x: float
    y: float
    rank: int
    name: str
    cost: str
    quality: str
    on_front: bool
    long: PlacedLabel | None
    """Its name beside it; None where names find no room."""
    short: PlacedLabel | None
    """Its rank beside it; None where even that finds none."""


@dataclass(frozen=True)
class ParetoPlot:
    id: str
    title: str
    reading: str
    x: Axis
    y: Axis
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    points: list[ParetoPoint]
    """Those on the front last, so on top."""
    front: list[Place]
    """Corners of its steps."""
    cost: str

    @property
    def is_named(self) -> bool:
        return all(point.long is not None for point in self.points)


def build_pareto_plots(comparison: Comparison) -> tuple[list[ParetoPlot], list[str]]:
    """Plots, and for each cost without one, why."""
    found, left_out = [], []
    for cost in COSTS:
        candidates = find_candidates(comparison, cost)
        if len(candidates) < 2:
            known = "one cell alone" if candidates else "no cell"
            left_out.append(f"{cost.title} is known of {known}")
        elif len({one.cost for one in candidates}) == 1:
            left_out.append(f"{cost.title}: the same for all cells")
        else:
            found.append(_pareto(comparison, cost, candidates))
    return found, left_out


def find_candidates(comparison: Comparison, cost: CostAxis) -> list[ParetoCandidate]:
    """Cells whose quality and cost are known, the cheapest first."""
    sign = 1 if comparison.metric.higher_is_better else -1
    known = [
        (cell, line, float(value))
        for cell, line in zip(comparison.cells, build_lines(comparison), strict=True)
        if (value := cost.of(cell)) is not None and not math.isnan(value) and not math.isnan(line.mean)
    ]
    found = []
    for cell, line, value in known:
        beaten = any(
            other_value <= value
            and sign * other.mean >= sign * line.mean
            and (other_value < value or other.mean != line.mean)
            for _, other, other_value in known
        )
        found.append(ParetoCandidate(cell, line, value, not beaten))
    return sorted(found, key=lambda one: (one.cost, -sign * one.line.mean))


def _pareto(comparison: Comparison, cost: CostAxis, candidates: Sequence[ParetoCandidate]) -> ParetoPlot:
    metric = comparison.metric
    x = build_axis(cost.axis, [one.cost for one in candidates], from_zero=True)
    y = _quality(metric.title, [one.line.mean for one in candidates])
    places = [(x.place(one.cost, LEFT, RIGHT), y.place(one.line.mean, BOTTOM, TOP)) for one in candidates]
    steps = _steps([place for one, place in zip(candidates, places, strict=True) if one.on_front])
    lines = [_box(*one) for one in itertools.pairwise(steps)]
    bounds = (LEFT + 2.0, TOP - 12.0, RIGHT + 8.0, BOTTOM - 3.0)
    beside = place_labels(places, [one.cell.name for one in candidates], NAME_SIZE, bounds, lines)
    names: Sequence[PlacedLabel | None] = [None] * len(places) if None in beside else beside
    ranks = place_labels(places, [str(one.line.rank) for one in candidates], NUMBER_SIZE, bounds, lines, reach=16)
    digits = metric.digits
    points = [
        ParetoPoint(
            round(place[0], 1),
            round(place[1], 1),
            one.line.rank,
            one.cell.name,
            cost.told(one.cell),
            format_score(one.line.mean, digits),
            one.on_front,
            long,
            short,
        )
        for one, place, long, short in zip(candidates, places, names, ranks, strict=True)
    ]
    front = [point for point in points if point.on_front]
    return ParetoPlot(
        f"pareto-{cost.key}",
        f"{metric.title} against {cost.title}",
        f"No other cell is better and cheaper than {format_list([point.name for point in front])}.",
        x,
        y,
        [(round(x.place(tick, LEFT, RIGHT), 1), format_brief(tick)) for tick in x.choose_ticks(5)],
        [(round(y.place(tick, BOTTOM, TOP), 1), format_brief(tick)) for tick in y.choose_ticks(5)],
        sorted(points, key=lambda point: point.on_front),
        [(round(x, 1), round(y, 1)) for x, y in steps],
        cost.title,
    )


def _quality(title: str, means: Sequence[float]) -> Axis:
    """Never logarithmic: equal differences are equal lengths."""
    room = 0.12 * (max(means) - min(means)) or 0.05 * abs(means[0]) or 0.5
    return Axis(title, min(means) - room, max(means) + room)


def _steps(front: Sequence[Place]) -> list[Place]:
    """Corners of the border of what can be had, the cheapest first: as much cost as the next, at the quality of this."""
    corners = [front[0]]
    for point in front[1:]:
        corners += [(point[0], corners[-1][1]), point]
    return [*corners, (float(RIGHT), corners[-1][1])]


def _box(start: Place, end: Place) -> Box:
    """Of a line along an axis, with its width."""
    (left, right), (top, bottom) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    return left - 1, top - 1, right + 1, bottom + 1
