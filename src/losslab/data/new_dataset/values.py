"""Raw values of masks in messages and in cards."""

from collections.abc import Sequence
from itertools import groupby

from losslab.cards import RawValue

MIN_RANGE = 3
"""Fewest numbers in a row that are written as a range."""


def format_raw_value(value: RawValue) -> str:
    """Format a value as the options --values and --void take it.

    >>> format_raw_value(3), format_raw_value((255, 0, 16))
    ('3', '#ff0010')
    """
    return "#{:02x}{:02x}{:02x}".format(*value) if isinstance(value, tuple) else str(value)


def format_raw_values(values: Sequence[RawValue]) -> str:
    """Format the values of one class as the option --values takes them.

    >>> format_raw_values([0, 1, 5, 6, 7]), format_raw_values([(255, 0, 16)])
    ('0+1+5-7', '#ff0010')
    """
    return "+".join(value if isinstance(value, str) else format_raw_value(value) for value in join_ranges(values))


def join_ranges(values: Sequence[RawValue]) -> list[RawValue | str]:
    """Write three or more numbers in a row as a range.

    >>> join_ranges([0, 1, 5, 6, 7, (1, 2, 3)])
    [0, 1, '5-7', (1, 2, 3)]
    """
    joined: list[RawValue | str] = []
    for _, items in groupby(enumerate(values), lambda pair: pair[1] - pair[0] if isinstance(pair[1], int) else pair[1]):
        row = [value for _, value in items]
        joined += [f"{row[0]}-{row[-1]}"] if len(row) >= MIN_RANGE else row
    return joined
