"""Charts as SVG, whole without a script: chart.html.j2 draws them, script/charts.js adds values under the pointer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from losslab.formats import format_brief
from losslab.reporting.components.axes import Axis

LEFT, RIGHT, TOP, BOTTOM = 58, 468, 30, 252
"""Of the plot, within a drawing of 480 x 300, as chart.html.j2 and script/charts.js have it."""
COLOURS = 8
"""In report.css.j2, told apart by colour-blind readers; beyond them dashes tell."""
MOST_DOTS = 40
MOST_ROWS = 200


@dataclass(frozen=True)
class ChartSeries:
    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    """NaN is a gap."""
    style: int = 0
    """Colour, and from COLOURS on a dash too."""
    dashed: bool = False
    heavy: bool = False
    kind: Literal["line", "bars", "points"] = "line"


@dataclass(frozen=True)
class ChartMark:
    """A line across the plot at an x."""

    x: float
    label: str


@dataclass(frozen=True)
class DrawnSeries:
    name: str
    css: str
    path: str
    dots: list[tuple[float, float]]
    bars: list[tuple[float, float, float, float]]
    """x, y, width, height."""
    xs: str
    ys: str
    texts: str
    """A number for each point, `-` where there is none; all three are separated by spaces, for the script."""


@dataclass(frozen=True)
class Chart:
    id: str
    title: str
    reading: str
    """One sentence that says what to see."""
    x: Axis
    y: Axis
    series: Sequence[ChartSeries]
    marks: Sequence[ChartMark] = ()
    diagonal: bool = False
    at: Sequence[str] = ()
    """What the x of each point is called; else its number."""

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        return [(_rounded(self.x.place(tick, LEFT, RIGHT)), format_brief(tick)) for tick in self.x.ticks()]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        return [(_rounded(self.y.place(tick, BOTTOM, TOP)), format_brief(tick)) for tick in self.y.ticks(5)]

    @property
    def marked(self) -> list[tuple[float, str, bool]]:
        """x, label, and whether the label goes to the left of the line."""
        places = [(_rounded(self.x.place(mark.x, LEFT, RIGHT)), mark.label) for mark in self.marks]
        return [(place, label, place > (LEFT + RIGHT) / 2) for place, label in places]

    @property
    def names(self) -> list[str]:
        longest = max(self.series, key=lambda series: len(series.xs))
        return list(self.at) or [format_brief(x) for x in longest.xs]

    @property
    def at_text(self) -> str:
        return " ".join(name.replace(" ", "\u00a0") for name in self.names)

    @cached_property
    def drawn(self) -> list[DrawnSeries]:
        return [self._draw(series) for series in self.series]

    @property
    def every(self) -> int:
        """Of the points, each n-th is a row of the table."""
        return math.ceil(len(self.names) / MOST_ROWS)

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """The table: what x is, and each series' number there."""
        return [
            (name, [format_brief(series.ys[index]) if index < len(series.ys) else "" for series in self.series])
            for index, name in enumerate(self.names)
            if index % self.every == 0
        ]

    def _draw(self, series: ChartSeries) -> DrawnSeries:
        places = [
            None if math.isnan(x) or math.isnan(y) else self._place(x, y)
            for x, y in zip(series.xs, series.ys, strict=True)
        ]
        known = [place for place in places if place is not None]
        line, bars = series.kind == "line", series.kind == "bars"
        return DrawnSeries(
            name=series.name,
            css=f"c{series.style % COLOURS}"
            + (" dash" if series.dashed else f" dash{series.style // COLOURS}" if series.style >= COLOURS else "")
            + (" heavy" if series.heavy else ""),
            path=_path(places) if line else "",
            dots=(known if len(places) <= MOST_DOTS else _alone(places)) if not bars else [],
            bars=_bars(known, len(series.xs)) if bars else [],
            xs=" ".join("-" if place is None else str(place[0]) for place in places),
            ys=" ".join("-" if place is None else str(place[1]) for place in places),
            texts=" ".join(
                "-" if place is None else format_brief(y) for place, y in zip(places, series.ys, strict=True)
            ),
        )

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return _rounded(self.x.place(x, LEFT, RIGHT)), _rounded(self.y.place(y, BOTTOM, TOP))


def _path(places: Sequence[tuple[float, float] | None]) -> str:
    steps, pen_down = [], False
    for place in places:
        if place is not None:
            steps.append(f"{'L' if pen_down else 'M'}{place[0]} {place[1]}")
        pen_down = place is not None
    return "".join(steps)


def _alone(places: Sequence[tuple[float, float] | None]) -> list[tuple[float, float]]:
    """Points between two gaps, which a line does not show."""
    around = [None, *places, None]
    return [
        place
        for index, place in enumerate(places)
        if place is not None and around[index] is None and around[index + 2] is None
    ]


def _bars(tops: Sequence[tuple[float, float]], count: int) -> list[tuple[float, float, float, float]]:
    width = _rounded(0.86 * (RIGHT - LEFT) / max(count, 1))
    return [(_rounded(x - width / 2), y, width, _rounded(BOTTOM - y)) for x, y in tops]


def _rounded(coordinate: float) -> float:
    return round(coordinate, 1)
