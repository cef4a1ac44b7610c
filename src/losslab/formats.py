"""Numbers as the page tells them; what is not a number is a dash."""

import math
from collections.abc import Callable

ABSENT = "–"


def format_score(value: float | None, digits: int = 3) -> str:
    return ABSENT if value is None or math.isnan(value) else f"{value:.{digits}f}"


def format_percent(share: float | None) -> str:
    """A share of 1 as a percentage, with as many digits as a reader needs: 61.3, 0.42, 0.012."""
    if share is None or math.isnan(share):
        return ABSENT
    value = 100 * share
    if value == 0 or value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def format_cell_percent(share: float) -> str:
    """The same for a cell among others: one digit."""
    if share in (0, 1):
        return f"{100 * share:.0f}"
    return "<0.1" if share < 0.0005 else ">99.9" if share >= 0.9995 else format_score(100 * share, 1)


def format_count(number: float) -> str:
    return f"{number:,.0f}"


def format_brief(value: float) -> str:
    """At most four significant digits, for an axis or a tooltip."""
    return ABSENT if math.isnan(value) else f"{value:.4g}"


def format_list(names: list[str], most: int = 5) -> str:
    """`a, b and c`; of many the first."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def format_plural(number: int, noun: str, nouns: str | None = None) -> str:
    return f"{format_count(number)} {noun if number == 1 else nouns or noun + 's'}"


def format_bytes(count: int) -> str:
    """As shops and browsers count: 811 MB is 811 million bytes."""
    size, units = float(count), ["bytes", "kB", "MB", "GB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}" if size < 9.95 and units[0] != "bytes" else f"{size:.0f} {units[0]}"


def format_mean_sd(mean: float, sd: float | None, digits: int) -> str:
    """`0.812 ± 0.004`; without a spread the mean alone."""
    if math.isnan(mean):
        return ABSENT
    return format_score(mean, digits) + (
        f" ± {format_score(sd, digits)}" if sd is not None and not math.isnan(sd) else ""
    )


def format_interval(ends: tuple[float, float] | None, digits: int) -> str:
    if ends is None or any(math.isnan(end) for end in ends):
        return ABSENT
    low, high = (format_score(end, digits) for end in ends)
    return f"[{low}, {high}]"


def format_p_value(p: float | None) -> str:
    if p is None or math.isnan(p):
        return ABSENT
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def format_p_statement(p: float) -> str:
    """Format a p-value as it follows the letter p: `= 0.012`, `< 0.001`."""
    text = format_p_value(p)
    return text if text.startswith("<") else f"= {text}"


def format_parameters(number: int) -> str:
    """`24.4 M`, `523 k`, `97`."""
    if number >= 999_500:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 1000 else str(number)


def format_gflops(value: float | None) -> str:
    return _format_known(value, lambda known: f"{known:.1f}" if known >= 10 else f"{known:.2g}")


def format_duration(seconds: float | None) -> str:
    """`42 s`, `3 min 12 s`, `1 h 04 min`."""

    def told(known: float) -> str:
        whole = round(known)
        if whole < 60:
            return f"{format_brief(round(known, 1))} s" if known < 10 else f"{whole} s"
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

    return _format_known(seconds, told)


def format_milliseconds(value: float | None) -> str:
    return _format_known(value, lambda known: f"{known:.0f} ms" if known >= 100 else f"{known:.1f} ms")


def format_sort_key(value: float | None) -> str:
    """For data-sort: nothing where there is no number, so that such rows come last."""
    return "" if value is None or math.isnan(value) else f"{value:.9g}"


def _format_known(value: float | None, told: Callable[[float], str]) -> str:
    return ABSENT if value is None or math.isnan(value) else told(value)
