"""Numbers as a comparison tells them; what is unknown is a dash."""

import math
from collections.abc import Callable

from losslab.reporting.formats import ABSENT, brief, score
from losslab.study.comparing.comparison import Breakdown, Metric


def digits_of(metric: Metric) -> int:
    """After the point: of shares of 1 three, of pixels two."""
    return 3 if metric.point < 1 else 2


def digits_of_breakdown(breakdown: Breakdown) -> int:
    """Three for numbers up to 1, else two."""
    known = [abs(figure.mean) for _, figures in breakdown.rows for figure in figures if not math.isnan(figure.mean)]
    return 3 if max(known, default=0.0) <= 1 else 2


def mean_sd(mean: float, sd: float | None, digits: int) -> str:
    """`0.812 ± 0.004`; without a spread the mean alone."""
    if math.isnan(mean):
        return ABSENT
    return score(mean, digits) + (f" ± {score(sd, digits)}" if sd is not None and not math.isnan(sd) else "")


def interval(ends: tuple[float, float] | None, digits: int) -> str:
    if ends is None or any(math.isnan(end) for end in ends):
        return ABSENT
    low, high = (score(end, digits) for end in ends)
    return f"[{low}, {high}]"


def p_value(p: float | None) -> str:
    if p is None or math.isnan(p):
        return ABSENT
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def parameters(number: int) -> str:
    """`24.4 M`, `523 k`, `97`."""
    if number >= 999_500:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.0f} k" if number >= 1000 else str(number)


def gflops(value: float | None) -> str:
    return _known(value, lambda known: f"{known:.1f}" if known >= 10 else f"{known:.2g}")


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 12 s`, `1 h 04 min`."""

    def told(known: float) -> str:
        whole = round(known)
        if whole < 60:
            return f"{brief(round(known, 1))} s" if known < 10 else f"{whole} s"
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"

    return _known(seconds, told)


def milliseconds(value: float | None) -> str:
    return _known(value, lambda known: f"{known:.0f} ms" if known >= 100 else f"{known:.1f} ms")


def sort_key(value: float | None) -> str:
    """For data-sort: nothing where there is no number, so that such rows come last."""
    return "" if value is None or math.isnan(value) else f"{value:.9g}"


def _known(value: float | None, told: Callable[[float], str]) -> str:
    return ABSENT if value is None or math.isnan(value) else told(value)
