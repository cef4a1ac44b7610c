"""The critical-difference diagram (Demšar, JMLR 7, 2006): mean ranks on an axis, bars over cells that cannot be told apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from losslab.comparison.result import FriedmanRanks
from losslab.comparison.statistics import ALPHA
from losslab.formats import format_p_value, format_plural

WIDTH, START, END, AXIS = 800.0, 260.0, 540.0, 64.0
"""Of the drawing; the axis from START to END at this height, names at both sides."""
BAR, LINE = 9.0, 22.0
"""Heights of a bar and of a line of text."""
LONGEST = 28
"""Letters of a name."""


@dataclass(frozen=True)
class RankedCell:
    name: str
    """Shortened where it is long."""
    full: str
    rank: str
    x: float
    y: float
    is_left: bool


@dataclass(frozen=True)
class RankDiagram:
    reading: str
    width: float
    axis: tuple[float, float, float]
    """From x, to x, y."""
    ticks: list[tuple[float, int]]
    ranked: list[RankedCell]
    bars: list[tuple[float, float, float]]
    """From x, to x, y."""
    ruler: float
    """Length of the critical difference."""
    critical: str
    height: float


def find_groups(mean_ranks: Sequence[float], critical_difference: float) -> list[tuple[int, int]]:
    """First and last, in ascending order of ranks, of each largest group whose ranks lie within the critical difference."""
    ranks = sorted(mean_ranks)
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(index for index, other in enumerate(ranks) if other - rank <= critical_difference)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def build_diagram(ranks: FriedmanRanks) -> RankDiagram:
    count = len(ranks.names)
    order = sorted(range(count), key=lambda index: (ranks.mean_ranks[index], ranks.names[index]))
    scale = (END - START) / max(count - 1, 1)

    def place(rank: float) -> float:
        return round(START + (rank - 1) * scale, 1)

    bars = [
        (place(ranks.mean_ranks[order[first]]) - 4, place(ranks.mean_ranks[order[last]]) + 4, AXIS + BAR * (number + 1))
        for number, (first, last) in enumerate(find_groups(ranks.mean_ranks, ranks.critical_difference))
    ]
    top = AXIS + BAR * (len(bars) + 1) + 14
    left = (count + 1) // 2
    ranked = []
    for position, index in enumerate(order):
        # From the best down on the left, and from the worst down on the right: lines do not cross.
        level = position if position < left else count - 1 - position
        name = ranks.names[index]
        ranked.append(
            RankedCell(
                name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…",
                name,
                f"{ranks.mean_ranks[index]:.2f}",
                place(ranks.mean_ranks[index]),
                top + LINE * level,
                position < left,
            )
        )
    return RankDiagram(
        describe_ranks(ranks),
        WIDTH,
        (START, END, AXIS),
        [(place(rank), rank) for rank in range(1, count + 1)],
        ranked,
        bars,
        round(min(ranks.critical_difference, count - 1) * scale, 1),
        f"{ranks.critical_difference:.2f}",
        top + LINE * left,
    )


def describe_ranks(ranks: FriedmanRanks) -> str:
    blocks = format_plural(len(ranks.blocks), "block")
    told = f"Friedman's test over {blocks} ({', '.join(ranks.blocks)}): p {_equals(ranks.p)}. "
    if ranks.p >= ALPHA:
        return told + "The ranks do not differ more than chance would have it."
    return told + "Cells that a bar joins cannot be told apart by Nemenyi's test."


def _equals(p: float) -> str:
    text = format_p_value(p)
    return text if text.startswith("<") else f"= {text}"
