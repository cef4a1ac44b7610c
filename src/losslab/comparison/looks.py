"""Looks at a study that adds seeds until its pairs are decided, and what each look may spend of the level."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LookPlan:
    """The numbers of seeds per cell at which a study is looked at: all from `first` to `last`.

    >>> LookPlan(3, 12).number, LookPlan(3, 3).compute_factor(0.05)
    (10, 1.0)
    """

    first: int
    last: int

    @property
    def number(self) -> int:
        """Number of looks that there may be."""
        return self.last - self.first + 1

    def compute_factor(self, level: float) -> float:
        """Compute the part of a pair's level, 0 to 1, at which each look may claim, so that all looks together keep the level."""
        return 1 / self.number


ONE_LOOK = LookPlan(3, 3)
"""The plan of a study whose number of seeds is fixed."""
