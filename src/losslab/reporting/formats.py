"""Numbers as the page tells them; what is not a number is a dash."""

import math

ABSENT = "–"


def score(value: float | None, digits: int = 3) -> str:
    return ABSENT if value is None or math.isnan(value) else f"{value:.{digits}f}"


def percent(share: float | None) -> str:
    """A share of 1 as a percentage, with as many digits as a reader needs: 61.3, 0.42, 0.012."""
    if share is None or math.isnan(share):
        return ABSENT
    value = 100 * share
    if value == 0 or value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def cell_percent(share: float) -> str:
    """The same for a cell among others: one digit."""
    if share in (0, 1):
        return f"{100 * share:.0f}"
    return "<0.1" if share < 0.0005 else ">99.9" if share >= 0.9995 else score(100 * share, 1)


def count(number: float) -> str:
    return f"{number:,.0f}"


def brief(value: float) -> str:
    """At most four significant digits, for an axis or a tooltip."""
    return ABSENT if math.isnan(value) else f"{value:.4g}"


def listed(names: list[str], most: int = 5) -> str:
    """`a, b and c`; of many the first."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    return f"{count(number)} {noun if number == 1 else nouns or noun + 's'}"
