"""Losses, numbers and tables as Markdown."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from benchmarks.odyssey.tables import Row, get_number
from benchmarks.report import PRECISIONS
from losslab.formats import format_interval, format_list, format_score


def name_loss(loss: str) -> str:
    return f"`{loss}`"


def name_precision(precision: str) -> str:
    """Name a precision of Lightning's.

    >>> name_precision("32-true")
    'float32'
    """
    return PRECISIONS.get(precision, precision)


def join_losses(losses: Sequence[str], shown: int = 5) -> str:
    """Join the names of losses; of more than `shown`, count the others.

    >>> join_losses(["dice", "mcc", "bce"], 2)
    '`dice`, `mcc` and 1 more'
    """
    return format_list([name_loss(loss) for loss in losses], shown)


def write_mean(row: Row, with_interval: bool = True) -> str:
    """Write the mean of a row of verdicts.csv, with its interval if it has one; a dash without a row.

    >>> write_mean({"mean": "0.8126", "low": "0.7900", "high": "0.8351"})
    '0.813 [0.790, 0.835]'
    """
    ends = (get_number(row, "low"), get_number(row, "high"))
    shown = f" {format_interval(ends, 3)}" if with_interval and row["low"] else ""
    return f"{format_score(get_number(row, 'mean'))}{shown}"


def write_ranks(ranks: Iterable[int]) -> str:
    """Write ranks in order, neighbours as a range.

    >>> write_ranks([18, 3, 20, 19]), write_ranks([4, 3]), write_ranks([])
    ('3, 18–20', '3, 4', '')
    """
    runs = [[rank for _, rank in group] for _, group in groupby(enumerate(sorted(ranks)), lambda one: one[1] - one[0])]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def write_points(points: float) -> str:
    """Write a difference in points with its sign.

    >>> write_points(1.25), write_points(-0.04), write_points(float("nan"))
    ('+1.2', '0.0', '–')
    """
    if math.isnan(points):
        return "–"
    text = f"{points:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def write_table_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def fold(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield lines that a reader opens with a click."""
    yield f'<details markdown="1"><summary>{title}</summary>'
    yield ""
    yield from lines
    yield ""
    yield "</details>"
