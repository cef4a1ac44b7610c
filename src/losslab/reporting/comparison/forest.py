"""Forest plots: differences of pairs with their 95 % intervals beside a line at zero. forest.html.j2 writes them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from losslab.comparison.result import ComparedMetric
from losslab.comparison.statistics import Estimate
from losslab.comparison.verdicts import JudgedPair
from losslab.formats import ABSENT, format_brief, format_p_value
from losslab.reporting.components.axes import Axis

START, END = 3.0, 97.0
"""Of the plot, in per cent of its width: room for half a dot."""


Kind = Literal["real", "open", "few", "nets", "unknown"]


@dataclass(frozen=True)
class ForestRow:
    better: str
    worse: str
    kind: Kind
    """few: with two seeds, from which nothing is claimed; nets: of these nets alone, over images, as there is one seed."""
    told: str
    """Difference and interval, in the metric's unit."""
    p: str
    low: float
    middle: float
    high: float
    """In per cent of the plot's width."""


@dataclass(frozen=True)
class ForestPlot:
    id: str
    title: str
    unit: str
    arms: list[ForestRow]
    zero: float
    ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class PairDifference:
    """In the metric's unit."""

    pair: JudgedPair
    low: float
    middle: float
    high: float
    """The ends are NaN where nothing is known of them."""

    @property
    def kind(self) -> Kind:
        if self.pair.is_real:
            return "real"
        if self.pair.estimate is not None:
            return "open" if self.pair.may_be_claimed else "few"
        return "nets" if self.pair.of_these_nets is not None else "unknown"


def compute_pair_difference(pair: JudgedPair, metric: ComparedMetric) -> PairDifference:
    found: Estimate | None = pair.estimate or pair.of_these_nets
    low, high = (found.low, found.high) if found is not None else (math.nan, math.nan)
    return PairDifference(pair, low / metric.point, pair.gap / metric.point, high / metric.point)


def build_difference_axis(differences: Sequence[PairDifference], label: str) -> Axis:
    """With zero, and some room."""
    values = [value for one in differences for value in (one.low, one.middle, one.high) if not math.isnan(value)]
    low, high = min([*values, 0.0]), max([*values, 0.0])
    room = 0.05 * (high - low) or 1.0
    return Axis(label, low - room, high + room)


def build_forest(name: str, title: str, pairs: Sequence[JudgedPair], metric: ComparedMetric) -> ForestPlot | None:
    """None without pairs."""
    if not pairs:
        return None
    differences = [compute_pair_difference(pair, metric) for pair in pairs]
    axis = build_difference_axis(differences, metric.unit)

    def place(value: float) -> float:
        return round(axis.place(value, START, END), 2)

    ticks = [(place(tick), format_brief(tick)) for tick in axis.choose_ticks(4)]
    arms = [_arm(one, place(one.low), place(one.middle), place(one.high)) for one in differences]
    return ForestPlot(name, title, metric.unit, arms, place(0.0), ticks)


def _arm(found: PairDifference, low: float, middle: float, high: float) -> ForestRow:
    told = ABSENT
    if not math.isnan(found.middle):
        told = f"{found.middle:.1f}"
        if not math.isnan(found.low):
            told += f" [{found.low:.1f}, {found.high:.1f}]"
    pair = found.pair
    return ForestRow(pair.better, pair.worse, found.kind, told, format_p_value(pair.p), low, middle, high)
