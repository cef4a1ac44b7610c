"""Axes of a chart: the place of a value on them, and the values written along them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from losslab.formats import format_brief


@dataclass(frozen=True)
class Axis:
    label: str
    """What is measured, with its unit."""
    low: float
    high: float
    log: bool = False
    integer: bool = False
    """Whether only integers are written along the axis."""

    def place(self, value: float, start: float, end: float) -> float:
        """Return the coordinate of `value` between `start` and `end`; a value beyond the axis lies at its end."""
        value, low, high = (
            (math.log10(max(part, 1e-300)) if self.log else part) for part in (value, self.low, self.high)
        )
        share = (value - low) / (high - low)
        return start + min(max(share, 0.0), 1.0) * (end - start)

    def choose_ticks(self, most: int = 6) -> list[float]:
        """Choose about `most` round values to write along the axis."""
        return (_choose_log_ticks if self.log else _choose_linear_ticks)(self, most)


def build_axis(label: str, values: list[float], from_zero: bool = False) -> Axis:
    """Build an axis that holds all values; it is logarithmic if all are positive and an outlier would flatten the rest."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Axis(label, 0.0, 1.0)
    low, high = min(known), max(known)
    if low > 0 and high > 20 * low:
        return Axis(f"{label} (log scale)", low / 1.15, high * 1.15, log=True)
    low = min(low, 0.0) if from_zero else low
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis(label, low if from_zero and low == 0 else low - room, high + room)


def build_epoch_axis(epochs: Sequence[float]) -> Axis:
    margin = 0.5 if len(epochs) == 1 else 0.0
    return Axis("epoch", epochs[0] - margin, epochs[-1] + margin, integer=True)


def _choose_linear_ticks(axis: Axis, most: int) -> list[float]:
    rough = (axis.high - axis.low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    step = max(step, 1.0) if axis.integer else step
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return [float(format_brief(index * step)) for index in range(first, last + 1)]


def _choose_log_ticks(axis: Axis, most: int) -> list[float]:
    powers = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if axis.low <= tick <= axis.high]
        if len(ticks) <= most + 1:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]
