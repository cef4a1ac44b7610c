"""Curves over epochs as small multiples: a chart for each label of each axis, its lines the labels of the others."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from losslab.comparison.result import ComparedCell, Comparison
from losslab.formats import format_brief, format_list
from losslab.io.files import parse_number
from losslab.reporting.components.axes import Axis, build_axis
from losslab.reporting.components.charts import Chart, ChartSeries, DrawnSeries

MEASURES = {"val_miou": "mIoU on the validation images", "train_loss": "Loss on the training images"}


@dataclass(frozen=True)
class EpochCurve:
    """Of one cell."""

    name: str
    """Its labels of the axes that vary within the chart."""
    style: int
    """The same for the same name, in all charts of a grouping."""
    epochs: list[float]
    mean: list[float]
    """Over the runs, where all have a number."""
    runs: list[tuple[list[float], list[float]]]


@dataclass(frozen=True)
class CurvePanel:
    title: str
    curves: list[EpochCurve]


@dataclass(frozen=True)
class MeanChart(Chart):
    """Lines are means over seeds; the seeds lie behind them, thin, and the script tells no numbers of them."""

    seeds: Sequence[ChartSeries] = ()

    @cached_property
    def drawn(self) -> list[DrawnSeries]:
        behind = [self._draw(one) for one in self.seeds]
        return [
            *(replace(one, css=f"{one.css} seed", dots=[], xs="-", ys="-", texts="-") for one in behind),
            *(self._draw(one) for one in self.series),
        ]


@dataclass(frozen=True)
class ChartGroup:
    title: str
    charts: list[tuple[str, list[Chart]]]
    """What is measured, and a chart for each label."""


def build_chart_groups(comparison: Comparison) -> list[ChartGroup]:
    """By each axis; with one axis, or none, all cells in one chart. None where no run has a history."""
    found = []
    for place, (title, _) in enumerate(build_panels(comparison, "val_miou")):
        charts = []
        for measure, told in MEASURES.items():
            parts = [part for part in build_panels(comparison, measure)[place][1] if part.curves]
            whole = [value for part in parts for curve in part.curves for _, ys in curve.runs for value in ys]
            drawn = [
                _chart(f"chart-{measure}-{place}-{index}", part, measure, whole) for index, part in enumerate(parts)
            ]
            if drawn:
                charts.append((told, drawn))
        if charts:
            found.append(ChartGroup(title, charts))
    return found


def build_panels(comparison: Comparison, measure: str) -> list[tuple[str, list[CurvePanel]]]:
    """Groupings, each with its panels; those without any history have no curves."""
    axes = comparison.axes
    if len(axes) < 2:
        own = [cell.name for cell in comparison.cells]
        return [("all cells", [_panel("", comparison.cells, {name: name for name in own}, own, measure)])]
    found = []
    for axis, labels in axes.items():
        names = {
            cell.name: ", ".join(cell.labels[other] for other in axes if other != axis) for cell in comparison.cells
        }
        order = sorted(
            set(names.values()),
            key=lambda name: min(
                [axes[other].index(cell.labels[other]) for other in axes if other != axis]
                for cell in comparison.cells
                if names[cell.name] == name
            ),
        )
        parts = [
            _panel(label, [cell for cell in comparison.cells if cell.labels[axis] == label], names, order, measure)
            for label in labels
        ]
        found.append((f"by {axis}", parts))
    return found


def _panel(
    title: str, cells: Sequence[ComparedCell], names: Mapping[str, str], order: list[str], measure: str
) -> CurvePanel:
    curves = [_curve(cell, names[cell.name], order.index(names[cell.name]), measure) for cell in cells]
    return CurvePanel(title, sorted((curve for curve in curves if curve is not None), key=lambda curve: curve.style))


def _curve(cell: ComparedCell, name: str, style: int, measure: str) -> EpochCurve | None:
    runs = []
    for run in cell.runs:
        points = [(parse_number(row["epoch"]), parse_number(row.get(measure))) for row in run.history]
        if any(not math.isnan(value) for _, value in points):
            runs.append(([epoch for epoch, _ in points], [value for _, value in points]))
    if not runs:
        return None
    at = [dict(zip(*run, strict=True)) for run in runs]
    epochs = sorted(set().union(*at))
    mean = [statistics.fmean(run.get(epoch, math.nan) for run in at) for epoch in epochs]
    return EpochCurve(name, style, epochs, mean, runs)


def _chart(name: str, panel: CurvePanel, measure: str, values: list[float]) -> Chart:
    """Args:
    values: of all charts of the grouping, whose mIoU has one scale; losses are each other's no measure.
    """
    epochs = sorted({epoch for curve in panel.curves for epoch in curve.epochs})
    x = Axis("epoch", epochs[0], epochs[-1], whole=True)
    if len(epochs) == 1:
        x = Axis("epoch", epochs[0] - 0.5, epochs[0] + 0.5, whole=True)
    own = [value for curve in panel.curves for _, ys in curve.runs for value in ys]
    y = _linear("mIoU (0 to 1)", values) if measure == "val_miou" else build_axis("loss", own)
    return MeanChart(
        name,
        panel.title or "All cells",
        _reading(panel, measure),
        x,
        y,
        [
            ChartSeries(curve.name, epochs, _spread_out(curve.epochs, curve.mean, epochs), curve.style)
            for curve in panel.curves
        ],
        at=[format_brief(epoch) for epoch in epochs],
        seeds=[
            ChartSeries(curve.name, xs, ys, curve.style)
            for curve in panel.curves
            if len(curve.runs) > 1
            for xs, ys in curve.runs
        ],
    )


def _spread_out(xs: list[float], ys: list[float], epochs: list[float]) -> list[float]:
    known = dict(zip(xs, ys, strict=True))
    return [known.get(epoch, math.nan) for epoch in epochs]


def _linear(label: str, values: list[float]) -> Axis:
    known = [value for value in values if not math.isnan(value)]
    room = 0.05 * (max(known) - min(known)) or 0.05
    return Axis(label, max(min(known) - room, 0.0), min(max(known) + room, 1.0))


def _reading(panel: CurvePanel, measure: str) -> str:
    best = {
        curve.name: max(
            (value, -epoch) for epoch, value in zip(curve.epochs, curve.mean, strict=True) if value == value
        )
        for curve in panel.curves
        if any(value == value for value in curve.mean)
    }
    if not best:
        return "No epoch has a number of all seeds."
    if measure == "val_miou":
        name = max(best, key=lambda one: best[one][0])
        return f"Highest mean: {name}, {best[name][0]:.3f} in epoch {format_brief(-best[name][1])}."
    last = [f"{curve.name} {format_brief(curve.mean[-1])}" for curve in panel.curves]
    return f"In the last epoch: {format_list(last)}."
