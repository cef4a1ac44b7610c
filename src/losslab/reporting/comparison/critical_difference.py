"""Critical-difference diagram (Demšar, JMLR 7, 2006): mean ranks on an axis, bars over cells that cannot be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from losslab.comparison.result import FriedmanRanks
from losslab.comparison.statistics import ALPHA
from losslab.formats import format_p_statement, format_plural

WIDTH_PX, AXIS_START_PX, AXIS_END_PX, AXIS_Y_PX = 800.0, 260.0, 540.0, 64.0
"""Width of the drawing, and place of its axis, which has names at both sides."""
BAR_HEIGHT_PX, LINE_HEIGHT_PX = 9.0, 22.0
MAX_NAME_LETTERS = 28


@dataclass(frozen=True, kw_only=True)
class RankedCell:
    name: str
    short_name: str
    rank: str
    x: float
    y: float
    is_left: bool


@dataclass(frozen=True, kw_only=True)
class RankDiagram:
    reading: str
    width: float
    axis: tuple[float, float, float]
    """x of the start, x of the end, y."""
    ticks: list[tuple[float, int]]
    ranked: list[RankedCell]
    bars: list[tuple[float, float, float]]
    """x of the start, x of the end, y of each."""
    ruler: float
    """Length of the critical difference."""
    critical: str
    height: float


def find_groups(mean_ranks: Sequence[float], critical_difference: float) -> list[tuple[int, int]]:
    """Find the largest groups whose ranks lie within the critical difference: first and last index in order of rank."""
    ranks = sorted(mean_ranks)
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(index for index, other in enumerate(ranks) if other - rank <= critical_difference)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups


def build_diagram(ranks: FriedmanRanks) -> RankDiagram:
    count = len(ranks.names)
    order = sorted(range(count), key=lambda index: (ranks.mean_ranks[index], ranks.names[index]))
    scale = (AXIS_END_PX - AXIS_START_PX) / max(count - 1, 1)

    def place(rank: float) -> float:
        return round(AXIS_START_PX + (rank - 1) * scale, 1)

    xs = [place(ranks.mean_ranks[index]) for index in order]
    bars = [
        (xs[first] - 4, xs[last] + 4, AXIS_Y_PX + BAR_HEIGHT_PX * number)
        for number, (first, last) in enumerate(find_groups(ranks.mean_ranks, ranks.critical_difference), start=1)
    ]
    top = AXIS_Y_PX + BAR_HEIGHT_PX * (len(bars) + 1) + 14
    left = (count + 1) // 2
    ranked = []
    for position, index in enumerate(order):
        # From the best down on the left, and from the worst down on the right: lines do not cross.
        level = position if position < left else count - 1 - position
        name = ranks.names[index]
        ranked.append(
            RankedCell(
                name=name,
                short_name=name if len(name) <= MAX_NAME_LETTERS else f"{name[: MAX_NAME_LETTERS - 1]}…",
                rank=f"{ranks.mean_ranks[index]:.2f}",
                x=xs[position],
                y=top + LINE_HEIGHT_PX * level,
                is_left=position < left,
            )
        )
    return RankDiagram(
        reading=describe_ranks(ranks),
        width=WIDTH_PX,
        axis=(AXIS_START_PX, AXIS_END_PX, AXIS_Y_PX),
        ticks=[(place(rank), rank) for rank in range(1, count + 1)],
        ranked=ranked,
        bars=bars,
        ruler=round(min(ranks.critical_difference, count - 1) * scale, 1),
        critical=f"{ranks.critical_difference:.2f}",
        height=top + LINE_HEIGHT_PX * left,
    )


def describe_ranks(ranks: FriedmanRanks) -> str:
    """Describe Friedman's test, and how to read the bars."""
    blocks = f"{format_plural(len(ranks.blocks), 'block')} ({', '.join(ranks.blocks)})"
    test = f"Friedman's test over {blocks}: p {format_p_statement(ranks.p)}."
    if ranks.p >= ALPHA:
        return f"{test} The ranks do not differ more than chance would explain."
    return f"{test} Nemenyi's test cannot tell apart cells that a bar joins."
