"""The median of a few rounds, and how far they lie apart."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        if self.low == self.high:
            return format(self.median, spec)
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def spread(values: Iterable[float]) -> Spread:
    kept = list(values)
    return Spread(statistics.median(kept), min(kept), max(kept))
