"""A strip beside each line of a table: a dot for each seed, the mean, and its 95 % interval, on one scale for all lines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from losslab.reporting.comparison.ranking import RankingLine
from losslab.reporting.components.axes import Axis


@dataclass(frozen=True)
class DotStrip:
    """Places in per cent of the width."""

    dots: list[float]
    mean: float | None
    interval: tuple[float, float] | None


def build_strips(lines: Sequence[RankingLine], scores: Mapping[str, Sequence[float]]) -> list[DotStrip]:
    """Args:
    scores: name of the line → those of its runs; none where single runs have no meaning.
    """
    axis = build_line_axis(lines, scores)

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


def build_line_axis(lines: Sequence[RankingLine], scores: Mapping[str, Sequence[float]], label: str = "") -> Axis:
    """Holds all means, intervals and runs."""
    values = [value for line in lines for value in (line.mean, *(line.interval or ()), *scores.get(line.name, ()))]
    known = [value for value in values if not math.isnan(value)] or [0.0, 1.0]
    room = 0.03 * (max(known) - min(known)) or 0.05 * abs(known[0]) or 0.5
    return Axis(label, min(known) - room, max(known) + room)
