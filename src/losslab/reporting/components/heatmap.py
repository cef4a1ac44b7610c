"""Tables whose cells are shaded by their number: heat.html.j2 writes them, script/heat.js tells what is behind a cell."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HeatmapCell:
    text: str
    share: float
    """0..1, how dark it is; NaN for a cell that means nothing."""
    detail: str
    """A sentence with the raw counts."""

    @property
    def empty(self) -> bool:
        return math.isnan(self.share)


@dataclass(frozen=True)
class Heatmap:
    id: str
    title: str
    reading: str
    """One sentence that says what to see."""
    rows_are: str
    columns_are: str
    unit: str
    columns: list[str]
    rows: list[tuple[str, list[HeatmapCell]]]
    tone: Literal["right", "wrong"]
    """Whether dark is good or bad: the two have their own colours."""
