"""Strips beside the lines of a table: a dot for each seed, the mean and its 95 % interval, all lines on one scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from losslab.reporting.comparison.ranking import RankingLine
from losslab.reporting.components.axes import Axis


@dataclass(frozen=True)
class DotStrip:
    """Places of what a strip shows, in percent of its width."""

    dots: list[float]
    mean: float | None
    interval: tuple[float, float] | None


def build_strips(lines: Sequence[RankingLine], scores: Mapping[str, Sequence[float]]) -> list[DotStrip]:
    """Build a strip for each line, on one axis; `scores` has the runs of a line by its name, where they have a meaning."""
    values = [value for line in lines for value in (line.mean, *(line.interval or ()), *scores.get(line.name, ()))]
    known = [value for value in values if not math.isnan(value)] or [0.0, 1.0]
    room = 0.03 * (max(known) - min(known)) or 0.05 * abs(known[0]) or 0.5
    axis = Axis("", min(known) - room, max(known) + room)

    def place(value: float) -> float:
        return round(axis.place(value, 4.0, 96.0), 2)

    return [
        DotStrip(
            [place(value) for value in scores.get(line.name, ()) if not math.isnan(value)],
            None if math.isnan(line.mean) else place(line.mean),
            None if line.interval is None else (place(line.interval[0]), place(line.interval[1])),
        )
        for line in lines
    ]
