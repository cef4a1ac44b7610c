"""Figures of a comparison as PNG files, for papers, slides and pull requests; the same input gives the same bytes."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from losslab.comparison.result import Comparison, FriedmanRanks
from losslab.comparison.verdicts import JudgedPair
from losslab.formats import format_score
from losslab.reporting.comparison.critical_difference import (
    AXIS_END_PX,
    AXIS_START_PX,
    AXIS_Y_PX,
    WIDTH_PX,
    build_diagram,
)
from losslab.reporting.comparison.curves import CurvePanel, build_panels
from losslab.reporting.comparison.forest import build_difference_axis, compute_pair_difference
from losslab.reporting.comparison.heatmaps import MeanGrid, build_grids
from losslab.reporting.comparison.pareto import ParetoPlot, build_pareto_plots
from losslab.reporting.comparison.ranking import build_lines
from losslab.reporting.components.charts import BOTTOM, LEFT, RIGHT
from losslab.reporting.components.figures import BLUE, GREEN, GREY, ORANGE, label_axes, new_figure, save_figure

MAX_PAIRS_DRAWN = 30
"""Pairs in the forest plot; where there are more, only those of the best."""
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
STYLES = ("-", "--", ":", "-.")


def draw_comparison_figures(comparison: Comparison, folder: Path) -> None:
    """Write scores, forest, heat, pareto, curves and ranks as PNG; those without anything to draw are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, "text.parse_math": False}):  # names are no formulas
        draw_scores(comparison, folder / "scores.png")
        if comparison.verdict is not None and comparison.verdict.pairs:
            draw_forest(comparison, comparison.verdict.pairs, folder / "forest.png")
        if grids := build_grids(comparison):
            draw_heat(comparison, grids, folder / "heat.png")
        draw_pareto(comparison, folder / "pareto.png")
        draw_curves(comparison, folder / "curves.png")
        if comparison.ranks is not None:
            draw_ranks(comparison.ranks, folder / "ranks.png")


def draw_scores(comparison: Comparison, path: Path) -> None:
    """Draw a row for each cell: a dot for each seed, the mean, and its 95 % interval."""
    lines = build_lines(comparison)
    figure = new_figure(7.0, 0.36 * len(lines) + 1.0)
    axes = figure.subplots()
    for row, (cell, line) in enumerate(zip(comparison.cells, lines, strict=True)):
        if line.interval is not None:
            axes.plot(line.interval, (row, row), color=BLUE, linewidth=5, alpha=0.3, solid_capstyle="butt")
        axes.plot([run.score for run in cell.runs], [row] * len(cell.runs), "o", color=BLUE, markersize=4)
        axes.plot(line.mean, row, "|", color="black", markersize=13, markeredgewidth=1.6)
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.4)
    direction = "higher" if comparison.metric.higher_is_better else "lower"
    label_axes(
        axes, "Seeds, mean and 95 % interval of each cell", f"{comparison.metric.title} ({direction} is better)", ""
    )
    save_figure(figure, path)


def draw_forest(comparison: Comparison, pairs: Sequence[JudgedPair], path: Path) -> None:
    """Draw differences of pairs with their 95 % intervals, filled where they are real, square where they are equivalent."""
    if len(pairs) > MAX_PAIRS_DRAWN:
        pairs = [pair for pair in pairs if pair.better == pairs[0].better]
    differences = [compute_pair_difference(pair, comparison.metric) for pair in pairs]
    axis = build_difference_axis(differences, comparison.metric.unit)
    figure = new_figure(8.0, 0.3 * len(pairs) + 1.0)
    axes = figure.subplots()
    axes.axvline(0, color=GREY, linewidth=0.9, linestyle="--")
    if (band := differences[0].band) is not None:
        axes.axvspan(*band, color=GREEN, alpha=0.12, linewidth=0)
    for row, one in enumerate(differences):
        colour = {"real": BLUE, "equal": GREEN}.get(one.kind, GREY)
        shape = "s" if one.pair.is_equivalent else "o"
        if not math.isnan(one.low):
            axes.plot((one.low, one.high), (row, row), "--" if one.kind == "nets" else "-", color=colour)
        axes.plot(one.gap, row, shape, color=colour, markerfacecolor="white" if colour == GREY else colour)
    axes.set_yticks(range(len(pairs)), [f"{pair.better} over {pair.worse}" for pair in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_xlim(axis.low, axis.high)
    label_axes(
        axes,
        "Differences with 95 % intervals, adjusted for all pairs; filled: told apart; square: equivalent",
        f"{axis.label} the first is better",
        "",
    )
    save_figure(figure, path)


def draw_heat(comparison: Comparison, grids: Sequence[MeanGrid], path: Path) -> None:
    """Draw means of every two axes, the darker the better."""
    rows = max(len(grid.rows) for grid in grids)
    width = sum(0.95 * len(grid.columns) + 1.7 for grid in grids)
    figure = new_figure(max(4.0, width), max(2.2, 0.55 * rows + 1.5))
    digits, higher = comparison.metric.digits, comparison.metric.higher_is_better
    for axes, grid in zip(np.atleast_1d(figure.subplots(1, len(grids))), grids, strict=True):
        means = np.array(grid.compute_means())
        known = means[~np.isnan(means)]
        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        axes.imshow(means, cmap="Blues" if higher else "Blues_r", vmin=low, vmax=high if high > low else low + 1)
        for i, j in np.ndindex(means.shape):
            share = (means[i, j] - low) / (high - low) if high > low else 0.0
            dark = share > 0.6 if higher else share < 0.4 and high > low  # never where the mean is NaN
            text, colour = format_score(float(means[i, j]), digits), "white" if dark else "black"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(grid.columns)), grid.columns, rotation=30, ha="right")
        axes.set_yticks(range(len(grid.rows)), grid.rows)
        label_axes(axes, comparison.metric.title, grid.column_axis, grid.row_axis)
    save_figure(figure, path)


def draw_pareto(comparison: Comparison, path: Path) -> None:
    """Draw quality against each cost that differs, laid out as on the page; nothing where none does."""
    plots, _ = build_pareto_plots(comparison)
    if not plots:
        return
    crowded = [plot for plot in plots if not plot.is_named]
    key = [f"{line.rank}  {line.name}" for line in build_lines(comparison)] if crowded else []
    figure = new_figure(4.8 * len(plots), 3.0 + 0.15 * len(key))
    for axes, plot in zip(np.atleast_1d(figure.subplots(1, len(plots))), plots, strict=True):
        _draw_front(axes, plot)
    if key:
        figure.supxlabel("\n".join(key), fontsize=8, x=0.02, ha="left")
    save_figure(figure, path)


def _draw_front(axes: Axes, plot: ParetoPlot) -> None:
    """Draw a Pareto plot in the page's units: 480 x 300, of which 100 are an inch."""
    axes.set_xlim(0, 480)
    axes.set_ylim(300, 0)
    axes.set_axis_off()
    axes.text(4, 12, plot.y.label, fontsize=9)
    axes.text(RIGHT, 294, plot.x.label, fontsize=9, ha="right")
    axes.plot((LEFT, RIGHT), (BOTTOM, BOTTOM), color="black", linewidth=0.8)
    for y, text in plot.y_ticks:
        axes.plot((LEFT, RIGHT), (y, y), color="#dddddd", linewidth=0.6)
        axes.text(LEFT - 6, y, text, fontsize=8, ha="right", va="center")
    for x, text in plot.x_ticks:
        axes.plot((x, x), (BOTTOM, BOTTOM + 5), color="black", linewidth=0.8)
        axes.text(x, BOTTOM + 18, text, fontsize=8, ha="center")
    axes.plot(*zip(*plot.front, strict=True), color=BLUE, linewidth=1.4, alpha=0.6)
    for point in plot.points:
        label = point.long if plot.is_named else point.short
        colour = BLUE if point.on_front else GREY
        axes.plot(
            point.x, point.y, "o", markersize=6, color=colour, markerfacecolor=BLUE if point.on_front else "white"
        )
        if label is None:
            continue
        ha = {"start": "left", "middle": "center", "end": "right"}[label.anchor]
        axes.text(label.x, label.y, label.text, fontsize=7.6, ha=ha, color="black" if point.on_front else GREY)
        if label.leader is not None:
            axes.plot(label.leader[::2], label.leader[1::2], color=GREY, linewidth=0.6)


def draw_curves(comparison: Comparison, path: Path) -> None:
    """Draw val mIoU by each axis in small multiples: means over seeds, and seeds thin; nothing without histories."""
    groupings = [[part for part in parts if part.curves] for _, parts in build_panels(comparison, "val_miou")]
    groupings = [parts for parts in groupings if parts]
    if not groupings:
        return
    columns = max(len(parts) for parts in groupings)
    figure = new_figure(min(3.2 * columns + 1.2, 16.0), 2.9 * len(groupings))
    grid = figure.subplots(len(groupings), columns, squeeze=False, sharey=True)
    for row, parts in zip(grid, groupings, strict=True):
        for axes, part in zip(row, parts, strict=False):
            _draw_panel(axes, part)
        for axes in row[len(parts) :]:
            axes.set_visible(False)
        row[len(parts) - 1].legend(frameon=False, fontsize=7, loc="lower right")
        row[0].set_ylabel("val mIoU")
    save_figure(figure, path)


def _draw_panel(axes: Axes, panel: CurvePanel) -> None:
    for curve in panel.curves:
        colour, style = COLOURS[curve.style % len(COLOURS)], STYLES[curve.style // len(COLOURS) % len(STYLES)]
        for xs, ys in curve.runs:
            axes.plot(xs, ys, style, color=colour, linewidth=0.6, alpha=0.5)
        axes.plot(curve.epochs, curve.mean, style, color=colour, linewidth=1.8, label=curve.name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_axes(axes, panel.title or "All cells", "epoch", "")


def draw_ranks(ranks: FriedmanRanks, path: Path) -> None:
    """Draw the critical-difference diagram, as on the page."""
    diagram = build_diagram(ranks)
    figure = new_figure(WIDTH_PX / 90, (diagram.height + 12) / 90)
    axes = figure.subplots()
    axes.set_xlim(0, WIDTH_PX)
    axes.set_ylim(diagram.height + 6, 0)
    axes.set_axis_off()
    axes.plot((AXIS_START_PX, AXIS_START_PX + diagram.ruler), (20, 20), "|-", color="black", markersize=7, linewidth=1)
    axes.text(AXIS_START_PX + diagram.ruler + 8, 20, f"critical difference {diagram.critical}", va="center", fontsize=9)
    axes.plot((AXIS_START_PX, AXIS_END_PX), (AXIS_Y_PX, AXIS_Y_PX), color="black", linewidth=1)
    for x, rank in diagram.ticks:
        axes.plot((x, x), (AXIS_Y_PX, AXIS_Y_PX - 6), color="black", linewidth=1)
        axes.text(x, AXIS_Y_PX - 10, str(rank), ha="center", va="bottom", fontsize=9)
    for one in diagram.ranked:
        side = AXIS_START_PX - 6 if one.is_left else AXIS_END_PX + 6
        axes.plot((one.x, one.x, side), (AXIS_Y_PX, one.y, one.y), color=GREY, linewidth=0.9)
        away, ha = (-6, "right") if one.is_left else (6, "left")
        axes.text(side + away, one.y, f"{one.short_name}  {one.rank}", ha=ha, va="center", fontsize=9)
    for left, right, y in diagram.bars:
        axes.plot((left, right), (y, y), color=ORANGE, linewidth=4, solid_capstyle="round")
    save_figure(figure, path)
