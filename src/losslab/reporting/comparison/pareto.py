"""Plots of quality against cost, whose front are the cells that no other beats in both."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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

NAME_SIZE_PX, RANK_SIZE_PX = 11.5, 16.0
"""Font sizes of names, and of the ranks that replace them on a phone, in the drawing's units."""


@dataclass(frozen=True)
class CostAxis:
    key: str
    title: str
    label: str
    """Label of the axis, with its unit."""
    read: Callable[[ComparedCell], float | None]
    unit: float
    """Number of which the axis shows multiples."""
    format: Callable[[Any], str]


COSTS = (
    CostAxis("parameters", "parameters", "parameters, millions", lambda cell: cell.parameters, 1e6, format_parameters),
    CostAxis("image", "time per image", "milliseconds per image", lambda cell: cell.image_ms, 1, format_milliseconds),
    CostAxis(
        "training",
        "training time",
        "minutes of training, mean over seeds",
        lambda cell: cell.train_seconds,
        60,
        format_duration,
    ),
)


@dataclass(frozen=True)
class ParetoCandidate:
    """A cell whose quality and cost are known."""

    cell: ComparedCell
    line: RankingLine
    cost: float
    on_front: bool
    """Whether no other cell is at least as good at no more cost."""


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    x: float
    y: float
    rank: int
    name: str
    cost: str
    quality: str
    on_front: bool
    long: PlacedLabel | None
    """Name beside the point; None where there is no room for names."""
    short: PlacedLabel | None
    """Rank beside the point; None where there is no room for it either."""


@dataclass(frozen=True, kw_only=True)
class ParetoPlot:
    id: str
    title: str
    reading: str
    x: Axis
    y: Axis
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    points: list[ParetoPoint]
    """Points, those on the front last and so on top."""
    front: list[Place]
    """Corners of the front's steps."""
    cost: str

    @property
    def is_named(self) -> bool:
        """Whether there is room for all names."""
        return all(point.long is not None for point in self.points)


def build_pareto_plots(comparison: Comparison) -> tuple[list[ParetoPlot], list[str]]:
    """Build the plots, and for each cost without one a reason."""
    plots, left_out = [], []
    for cost in COSTS:
        candidates = find_candidates(comparison, cost)
        if len(candidates) < 2:
            left_out.append(f"{cost.title} is known for {'only one' if candidates else 'no'} cell")
        elif len({one.cost for one in candidates}) == 1:
            left_out.append(f"{cost.title} is the same for all cells")
        else:
            plots.append(_build_plot(comparison, cost, candidates))
    return plots, left_out


def find_candidates(comparison: Comparison, cost: CostAxis) -> list[ParetoCandidate]:
    """Find the cells whose quality and cost are known, the cheapest first."""
    sign = 1 if comparison.metric.higher_is_better else -1
    known = [
        (cell, line, value / cost.unit)
        for cell, line in zip(comparison.cells, build_lines(comparison), strict=True)
        if (value := cost.read(cell)) is not None and not math.isnan(value) and not math.isnan(line.mean)
    ]
    candidates = []
    for cell, line, value in known:
        beaten = any(
            other_value <= value
            and sign * other.mean >= sign * line.mean
            and (other_value < value or other.mean != line.mean)
            for _, other, other_value in known
        )
        candidates.append(ParetoCandidate(cell, line, value, not beaten))
    return sorted(candidates, key=lambda one: (one.cost, -sign * one.line.mean))


def _build_plot(comparison: Comparison, cost: CostAxis, candidates: Sequence[ParetoCandidate]) -> ParetoPlot:
    metric = comparison.metric
    x = build_axis(cost.label, [one.cost for one in candidates], from_zero=True)
    y = _build_quality_axis(metric.title, [one.line.mean for one in candidates])
    places = [(x.place(one.cost, LEFT, RIGHT), y.place(one.line.mean, BOTTOM, TOP)) for one in candidates]
    steps = _build_steps([place for one, place in zip(candidates, places, strict=True) if one.on_front])
    lines = [_build_box(*one) for one in itertools.pairwise(steps)]
    bounds = (LEFT + 2.0, TOP - 12.0, RIGHT + 8.0, BOTTOM - 3.0)
    beside = place_labels(places, [one.cell.name for one in candidates], NAME_SIZE_PX, bounds, lines)
    names: Sequence[PlacedLabel | None] = [None] * len(places) if None in beside else beside
    ranks = place_labels(places, [str(one.line.rank) for one in candidates], RANK_SIZE_PX, bounds, lines, reach=16)
    points = [
        ParetoPoint(
            x=round(place[0], 1),
            y=round(place[1], 1),
            rank=one.line.rank,
            name=one.cell.name,
            cost=cost.format(cost.read(one.cell)),
            quality=format_score(one.line.mean, metric.digits),
            on_front=one.on_front,
            long=long,
            short=short,
        )
        for one, place, long, short in zip(candidates, places, names, ranks, strict=True)
    ]
    return ParetoPlot(
        id=f"pareto-{cost.key}",
        title=f"{metric.title} against {cost.title}",
        reading=f"No other cell is better and cheaper than {format_list([point.name for point in points if point.on_front])}.",
        x=x,
        y=y,
        x_ticks=[(round(x.place(tick, LEFT, RIGHT), 1), format_brief(tick)) for tick in x.choose_ticks(5)],
        y_ticks=[(round(y.place(tick, BOTTOM, TOP), 1), format_brief(tick)) for tick in y.choose_ticks(5)],
        points=sorted(points, key=lambda point: point.on_front),
        front=[(round(x, 1), round(y, 1)) for x, y in steps],
        cost=cost.title,
    )


def _build_quality_axis(title: str, means: Sequence[float]) -> Axis:
    """Build the axis of quality, never logarithmic: equal differences have equal lengths."""
    room = 0.12 * (max(means) - min(means)) or 0.05 * abs(means[0]) or 0.5
    return Axis(title, min(means) - room, max(means) + room)


def _build_steps(front: Sequence[Place]) -> list[Place]:
    """Build the corners of the front's steps, the cheapest first: each quality holds up to the cost of the next."""
    corners = [front[0]]
    for point in front[1:]:
        corners += [(point[0], corners[-1][1]), point]
    return [*corners, (float(RIGHT), corners[-1][1])]


def _build_box(start: Place, end: Place) -> Box:
    """Build the box of a line along an axis, with its width."""
    (left, right), (top, bottom) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    return left - 1, top - 1, right + 1, bottom + 1
