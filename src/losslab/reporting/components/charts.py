"""Charts as SVG that need no script: chart.html.j2 draws them, charts.js shows the values under the pointer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from losslab.formats import format_brief
from losslab.reporting.components.axes import Axis

LEFT, RIGHT, TOP, BOTTOM = 58, 468, 44, 252
"""Edges of the plot within a drawing of 480 x 300, repeated in chart.html.j2 and charts.js."""
COLOURS = 8
"""Number of colours in page.css.j2; a series beyond them has dashes too."""
MAX_DOTS = 40
"""Points of a series that are drawn as dots; a longer series has dots only between gaps."""
MAX_ROWS = 200
"""Rows of the table below a chart."""


@dataclass(frozen=True, kw_only=True)
class ChartSeries:
    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    """Values, where NaN is a gap in the line."""
    style: int = 0
    """Number of the colour, from COLOURS on of the dashes too."""
    dashed: bool = False
    heavy: bool = False
    kind: Literal["line", "bars", "points"] = "line"


@dataclass(frozen=True, kw_only=True)
class DrawnSeries:
    """A series in the coordinates of the drawing; `xs`, `ys` and `texts` hold a number a point for the script, `-` at a gap."""

    name: str
    css: str
    path: str
    dots: list[tuple[float, float]]
    bars: list[tuple[float, float, float, float]]
    """Rectangles as x, y, width and height."""
    xs: str
    ys: str
    texts: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    id: str
    title: str
    reading: str
    """One sentence that says what the chart shows."""
    x: Axis
    y: Axis
    series: Sequence[ChartSeries]
    marks: Sequence[tuple[float, str]] = ()
    """Vertical lines across the plot, as x and label."""
    diagonal: bool = False
    at: Sequence[str] = ()
    """Names of the points along x; without them, each is called by its x."""

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        return [(round(self.x.place(tick, LEFT, RIGHT), 1), format_brief(tick)) for tick in self.x.choose_ticks()]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        return [(round(self.y.place(tick, BOTTOM, TOP), 1), format_brief(tick)) for tick in self.y.choose_ticks(5)]

    @property
    def marked(self) -> list[tuple[float, str, bool]]:
        """Marks as x, label, and whether the label, above the plot, ends there."""
        places = [(round(self.x.place(x, LEFT, RIGHT), 1), label) for x, label in self.marks]
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
        """Step between the points that are rows of the table."""
        return math.ceil(len(self.names) / MAX_ROWS)

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """Rows of the table: the name of the point, and each series' number there."""
        return [
            (name, [format_brief(series.ys[index]) if index < len(series.ys) else "" for series in self.series])
            for index, name in enumerate(self.names)
            if index % self.every == 0
        ]

    def _draw(self, series: ChartSeries) -> DrawnSeries:
        places = [
            None
            if math.isnan(x) or math.isnan(y)
            else (round(self.x.place(x, LEFT, RIGHT), 1), round(self.y.place(y, BOTTOM, TOP), 1))
            for x, y in zip(series.xs, series.ys, strict=True)
        ]
        known = [place for place in places if place is not None]
        line, bars = series.kind == "line", series.kind == "bars"
        return DrawnSeries(
            name=series.name,
            css=f"c{series.style % COLOURS}"
            + (" dash" if series.dashed else f" dash{series.style // COLOURS}" if series.style >= COLOURS else "")
            + (" heavy" if series.heavy else ""),
            path=_build_path(places) if line else "",
            dots=(known if len(places) <= MAX_DOTS else _find_lone(places)) if not bars else [],
            bars=_build_bars(known, len(series.xs)) if bars else [],
            xs=" ".join("-" if place is None else str(place[0]) for place in places),
            ys=" ".join("-" if place is None else str(place[1]) for place in places),
            texts=" ".join(
                "-" if place is None else format_brief(y) for place, y in zip(places, series.ys, strict=True)
            ),
        )


def _build_path(places: Sequence[tuple[float, float] | None]) -> str:
    steps, pen_down = [], False
    for place in places:
        if place is not None:
            steps.append(f"{'L' if pen_down else 'M'}{place[0]} {place[1]}")
        pen_down = place is not None
    return "".join(steps)


def _find_lone(places: Sequence[tuple[float, float] | None]) -> list[tuple[float, float]]:
    """Find the points between two gaps, which a line does not show."""
    around = [None, *places, None]
    return [
        place
        for index, place in enumerate(places)
        if place is not None and around[index] is None and around[index + 2] is None
    ]


def _build_bars(tops: Sequence[tuple[float, float]], count: int) -> list[tuple[float, float, float, float]]:
    width = round(0.86 * (RIGHT - LEFT) / max(count, 1), 1)
    return [(round(x - width / 2, 1), y, width, round(BOTTOM - y, 1)) for x, y in tops]
