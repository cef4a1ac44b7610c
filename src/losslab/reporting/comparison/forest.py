"""Forest plots: differences of pairs with their 95 % intervals beside a line at zero. forest.html.j2 writes them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from losslab.comparison.result import ComparedMetric
from losslab.comparison.sentences import describe_margin
from losslab.comparison.verdicts import JudgedPair
from losslab.formats import format_brief, format_interval, format_p_value, format_score
from losslab.reporting.components.axes import Axis

START_PERCENT, END_PERCENT = 3.0, 97.0
"""Ends of the axis, in percent of the plot's width: they leave room for half a dot."""
DifferenceKind = Literal["real", "equal", "open", "few", "nets", "unknown"]


@dataclass(frozen=True)
class PairDifference:
    """Difference of a pair, in the metric's unit."""

    pair: JudgedPair
    low: float
    gap: float
    high: float
    """Upper end of the interval; both ends are NaN where nothing is known of them."""

    @property
    def kind(self) -> DifferenceKind:
        """Kind of what may be said.

        equal: not real, and equivalent within the margin; few: too few seeds or images to claim anything; nets: one seed, so
        these nets over images; unknown: one image.
        """
        if self.pair.is_real:
            return "real"
        if self.pair.estimate is not None:
            undecided: DifferenceKind = "equal" if self.pair.is_equivalent else "open"
            return undecided if self.pair.may_be_claimed else "few"
        return "nets" if self.pair.images_only is not None else "unknown"

    @property
    def band(self) -> tuple[float, float] | None:
        """Differences that are equivalent; None where that is not asked."""
        if self.pair.margin is None:
            return None
        margin = self.pair.margin / self.pair.point
        return -margin, margin

    @property
    def text(self) -> str:
        interval = "" if math.isnan(self.low) else f" {format_interval((self.low, self.high), 1)}"
        return format_score(self.gap, 1) + interval

    @property
    def p(self) -> str:
        return format_p_value(self.pair.p)


@dataclass(frozen=True, kw_only=True)
class ForestPlot:
    id: str
    title: str
    unit: str
    rows: list[tuple[PairDifference, float, float, float]]
    """Pair, with its interval's left end, difference and right end in percent of the plot's width."""
    zero: float
    band: tuple[float, float] | None
    """Ends of the band of differences that are equivalent, in percent of the plot's width; None where that is not asked."""
    margin: str
    """Words that say how wide the band is, such as `1 point`."""
    ticks: list[tuple[float, str]]


def compute_pair_difference(pair: JudgedPair, metric: ComparedMetric) -> PairDifference:
    """Convert a pair's difference and interval to the metric's unit."""
    estimate = pair.estimate or pair.images_only
    low, high = (estimate.low, estimate.high) if estimate is not None else (math.nan, math.nan)
    return PairDifference(pair, low / metric.point, pair.gap / metric.point, high / metric.point)


def build_difference_axis(differences: Sequence[PairDifference], label: str) -> Axis:
    """Build an axis that holds all differences, zero, and the margin where equivalence is asked, with some room."""
    values = [value for one in differences for value in (one.low, one.gap, one.high) if not math.isnan(value)]
    values += [end for one in differences for end in one.band or ()]
    low, high = min([*values, 0.0]), max([*values, 0.0])
    room = 0.05 * (high - low) or 1.0
    return Axis(label, low - room, high + room)


def build_forest(name: str, title: str, pairs: Sequence[JudgedPair], metric: ComparedMetric) -> ForestPlot | None:
    if not pairs:
        return None
    differences = [compute_pair_difference(pair, metric) for pair in pairs]
    axis = build_difference_axis(differences, metric.unit)

    def place(value: float) -> float:
        return round(axis.place(value, START_PERCENT, END_PERCENT), 2)

    return ForestPlot(
        id=name,
        title=title,
        unit=metric.unit,
        rows=[(one, place(one.low), place(one.gap), place(one.high)) for one in differences],
        zero=place(0.0),
        band=None if differences[0].band is None else (place(differences[0].band[0]), place(differences[0].band[1])),
        margin=describe_margin(pairs[0]),
        ticks=[(place(tick), format_brief(tick)) for tick in axis.choose_ticks(4)],
    )
