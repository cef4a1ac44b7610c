"""Mean over images, with its 95 % interval."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# fmt: off
T_975 = (
    12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09,
)
# fmt: on
"""Student's t, 97.5 %, for 1, 2, … degrees of freedom; 2.0 beyond."""


@dataclass(frozen=True)
class MeanScore:
    value: float
    error: float
    """Standard error; NaN for fewer than two images."""
    images: int

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval, as if the images were drawn independently."""
        degrees = self.images - 1
        return self.error * (T_975[degrees - 1] if 0 < degrees <= len(T_975) else 2.0)


def compute_mean(scores: Sequence[float]) -> MeanScore:
    if not scores:
        return MeanScore(math.nan, math.nan, 0)
    error = statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan
    return MeanScore(statistics.fmean(scores), error, len(scores))
