"""What each look at a study may spend of the level, so that all looks together make false claims in at most 5 % of studies.

Whoever looks again after each added seed, and stops at the first claim, claims falsely too often. Group-sequential designs
(Pocock, Biometrika 64, 1977; Lan and DeMets, Biometrika 70, 1983) give each look a smaller level instead. Theirs assume that
variances are known, which three seeds do not know; so here the levels are calibrated by simulation of whole studies, the worst
of all that `benchmarks/verdicts` simulates. Of these the worst are studies in which one cell's seeds spread far more than the
others' and happen to agree at first. As in the power family of Kim and DeMets (Biometrika 74, 1987) early looks may spend little,
because their variances are known worst. Intervals at such levels hold at all looks together (repeated confidence intervals,
Jennison and Turnbull, Controlled Clinical Trials 5, 1984), so it does not matter why, or when, a study stops.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from losslab.comparison.statistics import Scores

CELLS = (2, 3, 6)
"""Smallest number of cells of a study for each column of the tables: more cells know their variances better."""
FIXED_SEEDS = {3: (0.55, 0.7, 0.8), 4: (0.85, 0.92, 1.1), 5: (0.9, 1.0, 1.08)}
"""Smallest number of seeds → part of the level, of a study that is looked at once; more than 1 where Bonferroni leaves some."""
LAST_LOOKS = {4: (0.58, 0.62, 0.9), 6: (0.6, 0.85, 1.05), 8: (0.65, 0.95, 1.05), 12: (0.78, 0.95, 1.05)}
"""Smallest number of seeds at the last look → part of the level that it has."""
EARLY = 4
"""Power of the share of the seeds, by which the level of an earlier look is lower."""
HOPELESS = 0.1
"""Probability of a decision below which a pair is worth no more seeds."""


@dataclass(frozen=True)
class LookPlan:
    """The numbers of seeds per cell at which a study is looked at: all from `first` to `last`.

    >>> LookPlan(3, 12).number, LookPlan(3, 3).is_one_look
    (10, True)
    """

    first: int
    last: int

    @property
    def number(self) -> int:
        """Number of looks that there may be."""
        return self.last - self.first + 1

    @property
    def is_one_look(self) -> bool:
        """Whether the number of seeds was fixed before."""
        return self.number == 1

    def compute_factor(self, cells: int, seeds: int) -> float:
        """Compute the part of its level at which a pair may be claimed at a look.

        Args:
            cells: number of cells of the study.
            seeds: number of seeds in the cell of the pair that has the fewest.

        >>> LookPlan(3, 3).compute_factor(3, 3), round(LookPlan(3, 12).compute_factor(3, 6), 3)
        (0.7, 0.059)
        """
        column = max(place for place, least in enumerate(CELLS) if least <= max(cells, CELLS[0]))
        if self.is_one_look:
            return _look_up(FIXED_SEEDS, seeds)[column]
        return float(_look_up(LAST_LOOKS, self.last)[column] * min(seeds / self.last, 1.0) ** EARLY)


ONE_LOOK = LookPlan(3, 3)
"""The plan of a study whose number of seeds is fixed."""


def predict_decision(
    mean: Scores | float,
    variances: tuple[Scores | float, Scores | float, Scores | float],
    degrees: Scores | float,
    level: Scores | float,
    margin: float | None,
) -> Scores:
    """Predict the probability that a pair is decided at the last look, from what is known of it now.

    Seeds to come change the mean by what is left of the variance of runs; the images stay what they are.

    Args:
        mean: the difference so far.
        variances: that of the mean by images, by the runs there are, and by as many runs as the last look has.
        degrees: degrees of freedom at the last look.
        level: level of the pair at the last look.
        margin: difference below which two are equivalent; None: it is not asked.

    >>> print(f"{predict_decision(0.01, (1e-6, 2e-5, 5e-6), 20.0, 0.02, 0.01):.2f}")
    0.92
    """
    of_images, now, later = (np.asarray(each, dtype=np.float64) for each in variances)
    error, change = np.sqrt(of_images + later), np.sqrt(np.maximum(now - later, 1e-30))
    size = np.abs(np.asarray(mean, dtype=np.float64))
    critical = special.stdtrit(degrees, 1 - np.asarray(level) / 2) * error
    real = special.ndtr((size - critical) / change) + special.ndtr((-size - critical) / change)
    if margin is None:
        return np.asarray(real)
    within = margin - special.stdtrit(degrees, 1 - np.asarray(level)) * error
    equivalent = special.ndtr((within - size) / change) - special.ndtr((-within - size) / change)
    # Where both can be claimed, the difference is: then equivalence adds nothing.
    overlap = special.ndtr((within - size) / change) - special.ndtr((critical - size) / change)
    return np.asarray(real + np.where(within > 0, equivalent - np.maximum(overlap, 0), 0)).clip(0, 1)


def _look_up(table: Mapping[int, tuple[float, ...]], number: int) -> tuple[float, ...]:
    return table[max((least for least in table if least <= number), default=min(table))]
