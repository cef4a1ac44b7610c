"""Shaded tables of the means of every two axes against each other."""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from losslab.comparison.result import Comparison
from losslab.formats import format_list, format_mean_sd, format_plural, format_score
from losslab.reporting.comparison.ranking import RankingLine, build_lines
from losslab.reporting.components.heatmap import Heatmap, HeatmapCell

MIN_SHADE = 0.08
"""Shade of the worst mean: a cell that has a number is never blank."""


@dataclass(frozen=True)
class MeanGrid:
    row_axis: str
    column_axis: str
    rows: Sequence[str]
    columns: Sequence[str]
    lines: Sequence[Sequence[Sequence[RankingLine]]]
    """Cells that have both labels, for each row and column."""

    def compute_means(self) -> list[list[float]]:
        """Compute the mean for each row and column; NaN where there is no cell."""
        return [[_compute_mean(part) for part in row] for row in self.lines]


def build_grids(comparison: Comparison) -> list[MeanGrid]:
    """Build a grid of every two axes; none with one axis."""
    lines = {line.name: line for line in build_lines(comparison)}
    grids = []
    for first, second in itertools.combinations(comparison.axes, 2):
        # The longer axis goes down: a phone has more room that way.
        down, across = sorted((first, second), key=lambda axis: -len(comparison.axes[axis]))
        parts = [
            [
                [lines[cell.name] for cell in comparison.cells if (cell.labels[down], cell.labels[across]) == labels]
                for labels in ((row, column) for column in comparison.axes[across])
            ]
            for row in comparison.axes[down]
        ]
        grids.append(MeanGrid(down, across, comparison.axes[down], comparison.axes[across], parts))
    return grids


def build_heatmaps(comparison: Comparison) -> list[tuple[str, Heatmap]]:
    """Build a shaded table of every two axes, each with their names."""
    return [
        (f"{grid.row_axis} × {grid.column_axis}", _build_heatmap(comparison, grid, number))
        for number, grid in enumerate(build_grids(comparison))
    ]


def compute_shades(columns: Sequence[Sequence[float]], higher_is_better: bool) -> list[list[float]]:
    """Compute the shades of numbers, from MIN_SHADE to 1 for the best of a column; NaN where there is no number.

    A difference has the same shade in all columns.

    >>> [[round(shade, 2) for shade in column] for column in compute_shades([[0.5, 0.9], [0.9, 0.8]], True)]
    [[0.08, 1.0], [1.0, 0.77]]
    """
    sign = 1 if higher_is_better else -1
    bests = [max((sign * one for one in column if not math.isnan(one)), default=math.nan) for column in columns]
    gaps = [[best - sign * one for one in column] for best, column in zip(bests, columns, strict=True)]
    widest = max((gap for column in gaps for gap in column if not math.isnan(gap)), default=0)
    return [[1 - (1 - MIN_SHADE) * (gap / widest if widest else gap + 0.5) for gap in column] for column in gaps]


def _build_heatmap(comparison: Comparison, grid: MeanGrid, number: int) -> Heatmap:
    metric, digits = comparison.metric, comparison.metric.digits
    means = grid.compute_means()
    rest = [axis for axis in comparison.axes if axis not in (grid.row_axis, grid.column_axis)]
    (shades,) = compute_shades([[mean for row in means for mean in row]], metric.higher_is_better)
    shade = iter(shades)
    rows = [
        (
            row,
            [
                HeatmapCell(format_score(mean, digits), next(shade), _describe_cell(row, column, part, mean, digits))
                for column, part, mean in zip(grid.columns, parts, row_means, strict=True)
            ],
        )
        for row, parts, row_means in zip(grid.rows, grid.lines, means, strict=True)
    ]
    reading = "Darker is better. " + (
        f"Each number is the mean over {format_list(rest)}." if rest else "Each number is a mean over seeds."
    )
    if any(math.isnan(mean) for row in means for mean in row):
        reading += " Hatched: no such cell."
    return Heatmap(
        id=f"heat-{number}",
        title=f"{metric.title} by {grid.row_axis} and {grid.column_axis}",
        reading=reading,
        rows_are=grid.row_axis,
        columns_are=grid.column_axis,
        unit=metric.title,
        columns=[*grid.columns],
        rows=rows,
        tone="right",
    )


def _describe_cell(row: str, column: str, lines: Sequence[RankingLine], mean: float, digits: int) -> str:
    if not lines:
        return f"{row}, {column}: no runs."
    runs = format_plural(sum(line.seeds for line in lines), "run")
    if len(lines) == 1:
        return f"{row}, {column}: {format_mean_sd(mean, lines[0].sd, digits)}, {runs}."
    return f"{row}, {column}: {format_score(mean, digits)}, mean of {format_plural(len(lines), 'cell')}, {runs}."


def _compute_mean(lines: Sequence[RankingLine]) -> float:
    known = [line.mean for line in lines if not math.isnan(line.mean)]
    return statistics.fmean(known) if known else math.nan
