"""Numbers, lists, durations and foreign text as text for people; a missing number is a dash."""

import math
import re
from collections.abc import Sequence
from typing import TypeGuard

from losslab.errors import mask_credentials

ABSENT = "–"
"""Text for a missing number."""
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, and the parts of names that are not UTF-8."""


def format_line(text: str) -> str:
    r"""Format text from outside, a name or another program's message, as one line: no control characters, no credentials.

    Whatever is cut to a length is formatted first: half of a URL does not show where its password is.

    >>> format_line("a\x1b[2J at http://me:secret@host/?token=abc")
    'a\\u001b[2J at http://***@host/?token=***'
    """
    return mask_credentials(escape_controls(text))


def escape_controls(text: str) -> str:
    r"""Write characters that a terminal or an editor would obey as JSON does, such as `\n` and `\u001b`."""
    return _CONTROLS.sub(lambda found: {"\n": r"\n", "\t": r"\t"}.get(found[0], f"\\u{ord(found[0]):04x}"), text)


def format_score(value: float | None, digits: int = 3) -> str:
    """Format a number with a fixed count of decimals.

    >>> format_score(0.81234), format_score(12.5, 1), format_score(None)
    ('0.812', '12.5', '–')
    """
    return f"{value:.{digits}f}" if _is_number(value) else ABSENT


def format_percent(share: float | None) -> str:
    """Format a share of 1 as a percentage without its sign, to as many digits as a reader needs.

    >>> [format_percent(share) for share in (0, 0.00012, 0.0042, 0.613, 1)]
    ['0', '0.012', '0.42', '61.3', '100']
    """
    if not _is_number(share):
        return ABSENT
    value = 100 * share
    if value == 0 or value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def format_cell_percent(share: float) -> str:
    """Format a share of 1 as a percentage with one decimal, for a cell of a table in which all have one.

    >>> [format_cell_percent(share) for share in (0, 0.0001, 0.613, 0.9999, 1)]
    ['0', '<0.1', '61.3', '>99.9', '100']
    """
    if share in (0, 1):
        return f"{100 * share:.0f}"
    return "<0.1" if share < 0.0005 else ">99.9" if share >= 0.9995 else format_score(100 * share, 1)


def format_count(number: float) -> str:
    """Format a count with commas between thousands.

    >>> format_count(24436369)
    '24,436,369'
    """
    return f"{number:,.0f}"


def format_brief(value: float) -> str:
    """Format a number to at most four significant digits, for an axis or a tooltip.

    >>> format_brief(0.123456), format_brief(20.0)
    ('0.1235', '20')
    """
    return f"{value:.4g}" if _is_number(value) else ABSENT


def format_list(names: Sequence[str], max_shown: int = 5) -> str:
    """Join names as in a sentence; of more than `max_shown`, show the first and count the others.

    >>> format_list(["a", "b", "c"]), format_list(["a", "b", "c"], max_shown=2)
    ('a, b and c', 'a, b and 1 more')
    """
    if len(names) > max_shown:
        return f"{', '.join(names[:max_shown])} and {len(names) - max_shown} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def format_plural(number: int, noun: str, nouns: str | None = None) -> str:
    """Format a count with its noun, whose plural takes an s unless `nouns` gives another.

    >>> format_plural(1, "image"), format_plural(1200, "image"), format_plural(2, "study", "studies")
    ('1 image', '1,200 images', '2 studies')
    """
    return f"{format_count(number)} {noun if number == 1 else nouns or noun + 's'}"


def format_bytes(count: int) -> str:
    """Format a size in decimal units, as browsers do: 1 MB is a million bytes.

    >>> format_bytes(512), format_bytes(811_000_000), format_bytes(1_500)
    ('512 bytes', '811 MB', '1.5 kB')
    """
    size, units = float(count), ["bytes", "kB", "MB", "GB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}" if size < 9.95 and units[0] != "bytes" else f"{size:.0f} {units[0]}"


def format_mean_sd(mean: float, sd: float | None, digits: int) -> str:
    """Format a mean with its standard deviation; without one, the mean alone.

    >>> format_mean_sd(0.8123, 0.0041, 3), format_mean_sd(0.8123, None, 3)
    ('0.812 ± 0.004', '0.812')
    """
    return format_score(mean, digits) + (f" ± {sd:.{digits}f}" if _is_number(mean) and _is_number(sd) else "")


def format_interval(ends: tuple[float, float] | None, digits: int) -> str:
    """Format the two ends of an interval.

    >>> format_interval((0.1, 0.25), 2)
    '[0.10, 0.25]'
    """
    if ends is None or any(math.isnan(end) for end in ends):
        return ABSENT
    return f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def format_p_value(p: float | None) -> str:
    """Format a p-value: three decimals where they matter, two above 0.1.

    >>> format_p_value(0.00004), format_p_value(0.0312), format_p_value(0.4567)
    ('< 0.001', '0.031', '0.46')
    """
    if not _is_number(p):
        return ABSENT
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def format_p_statement(p: float) -> str:
    """Format a p-value as it follows the letter p: `= 0.012`, `< 0.001`."""
    text = format_p_value(p)
    return text if text.startswith("<") else f"= {text}"


def format_parameters(number: int) -> str:
    """Format a count of parameters in thousands (k) or millions (M).

    >>> format_parameters(24_436_369), format_parameters(522_900), format_parameters(97)
    ('24.4 M', '523 k', '97')
    """
    if number >= 999_500:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 1000 else str(number)


def format_gflops(value: float | None) -> str:
    """Format billions of operations: one decimal from 10 on, else two significant digits.

    >>> format_gflops(31.449), format_gflops(0.0562)
    ('31.4', '0.056')
    """
    if not _is_number(value):
        return ABSENT
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def format_duration(seconds: float | None) -> str:
    """Format a duration in its two largest units.

    >>> format_duration(4.25), format_duration(42), format_duration(192), format_duration(3840)
    ('4.2 s', '42 s', '3 min 12 s', '1 h 04 min')
    """
    if not _is_number(seconds):
        return ABSENT
    if round(seconds) < 60:
        return f"{format_brief(round(seconds, 1)) if seconds < 10 else round(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_milliseconds(value: float | None) -> str:
    """Format milliseconds: one decimal below 100.

    >>> format_milliseconds(8.04), format_milliseconds(142.7)
    ('8.0 ms', '143 ms')
    """
    return f"{value:.{0 if value >= 100 else 1}f} ms" if _is_number(value) else ABSENT


def format_sort_key(value: float | None) -> str:
    """Format a number for the data-sort attribute of a table; nothing for a missing one, so that its row comes last."""
    return f"{value:.9g}" if _is_number(value) else ""


def _is_number(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)
