"""Tables whose cells are shaded by their number: heatmap.html.j2 writes them, heatmap.js shows the counts of a cell."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HeatmapCell:
    text: str
    share: float
    """Darkness, 0 to 1; NaN for a cell without a number."""
    detail: str
    """A sentence with the raw counts."""

    @property
    def empty(self) -> bool:
        return math.isnan(self.share)


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    id: str
    title: str
    reading: str
    """One sentence that says what the table shows."""
    rows_are: str
    columns_are: str
    unit: str
    columns: list[str]
    rows: list[tuple[str, list[HeatmapCell]]]
    tone: Literal["right", "wrong"]
    """Whether dark is good or bad: each has its own colour."""
