"""index.html: one file, readable offline, that says which cell is best and whether that is real."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from losslab.comparison.result import Breakdown, ComparedCell, Comparison, FactorResult
from losslab.formats import (
    format_duration,
    format_gflops,
    format_interval,
    format_mean_sd,
    format_milliseconds,
    format_parameters,
    format_sort_key,
)
from losslab.reporting.comparison.critical_difference import build_diagram
from losslab.reporting.comparison.curves import build_chart_groups
from losslab.reporting.comparison.dot_strip import DotStrip, build_strips
from losslab.reporting.comparison.forest import ForestPlot, build_forest
from losslab.reporting.comparison.gallery import build_gallery
from losslab.reporting.comparison.heatmaps import build_heatmaps
from losslab.reporting.comparison.pareto import build_pareto_plots
from losslab.reporting.comparison.published import build_published_table
from losslab.reporting.comparison.ranking import RankingLine, build_lines, build_note, build_verdict_lines
from losslab.reporting.comparison.reading import build_reading_guide, explain_no_verdict
from losslab.reporting.components.rendering import render_template
from losslab.reporting.run.sections.gallery import VOID_COLOUR

MOST_SENTENCES = 6
"""Of pairs, beyond which they are folded away."""
MOST_ARMS = 15
"""Pairs in a forest plot, beyond which only those of the best are in sight."""


@dataclass(frozen=True)
class TableNumber:
    text: str
    sort: str


@dataclass(frozen=True)
class CellRow:
    line: RankingLine
    score: str
    interval: str
    strip: DotStrip
    labels: list[TableNumber]
    """Sorted in the card's order."""
    numbers: list[TableNumber]


@dataclass(frozen=True)
class FactorView:
    axis: str
    over: str
    rows: list[tuple[RankingLine, str, str, DotStrip]]
    """With mean ± sd and interval."""
    note: str
    forest: ForestPlot | None
    sentences: Sequence[str]


@dataclass(frozen=True)
class BreakdownView:
    id: str
    title: str
    about: str
    columns: Sequence[str]
    rows: list[tuple[str, list[tuple[TableNumber, bool]]]]
    """Name, and a number for each column with whether it is best."""
    is_judged: bool
    higher_is_better: bool
    sentences: Sequence[str]


def build_comparison_page(comparison: Comparison) -> str:
    lines = build_lines(comparison)
    verdict = comparison.verdict
    pairs = list(verdict.pairs) if verdict is not None else []
    shown = pairs if len(pairs) <= MOST_ARMS else [pair for pair in pairs if pair.better == lines[0].name]
    plots, left_out = build_pareto_plots(comparison)
    title = "Every two cells" if shown == pairs else "The best mean against every other"
    return render_template(
        "comparison/index.html.j2",
        comparison=comparison,
        metric=comparison.metric,
        lines=lines,
        rows=_rows(comparison, lines),
        note=build_note(verdict),
        unjudged=explain_no_verdict(comparison),
        factors=[_factor(comparison, factor, number) for number, factor in enumerate(comparison.factors)],
        forest=build_forest("forest-cells", title, shown, comparison.metric),
        all_pairs=build_forest("forest-all", "Every two cells", pairs, comparison.metric) if shown != pairs else None,
        folded=len(comparison.sentences) > MOST_SENTENCES,
        heats=build_heatmaps(comparison),
        breakdowns=[_breakdown(one) for one in comparison.breakdowns],
        groupings=build_chart_groups(comparison),
        paretos=plots,
        left_out=left_out,
        gallery=build_gallery(comparison),
        published=build_published_table(comparison),
        diagram=None if comparison.ranks is None else build_diagram(comparison.ranks),
        how_to_read=build_reading_guide(comparison),
        legend=list(zip(comparison.classes, comparison.palette, strict=True)),
        void_colour=VOID_COLOUR,
    )


def _rows(comparison: Comparison, lines: Sequence[RankingLine]) -> list[CellRow]:
    scores = {cell.name: [run.score for run in cell.runs] for cell in comparison.cells}
    digits = comparison.metric.digits
    return [
        CellRow(
            line,
            format_mean_sd(line.mean, line.sd, digits),
            format_interval(line.interval, digits),
            strip,
            [
                TableNumber(cell.labels[axis], str(list(labels).index(cell.labels[axis])))
                for axis, labels in comparison.axes.items()
            ],
            _costs(cell),
        )
        for cell, line, strip in zip(comparison.cells, lines, build_strips(lines, scores), strict=True)
    ]


def _costs(cell: ComparedCell) -> list[TableNumber]:
    return [
        TableNumber(format_parameters(cell.parameters), str(cell.parameters)),
        TableNumber(format_gflops(cell.gflops), format_sort_key(cell.gflops)),
        TableNumber(format_duration(cell.train_seconds), format_sort_key(cell.train_seconds)),
        TableNumber(format_milliseconds(cell.image_ms), format_sort_key(cell.image_ms)),
    ]


def _factor(comparison: Comparison, factor: FactorResult, number: int) -> FactorView:
    lines = build_verdict_lines(factor.verdict)
    digits = comparison.metric.digits
    rows = [
        (line, format_mean_sd(line.mean, line.sd, digits), format_interval(line.interval, digits), strip)
        for line, strip in zip(lines, build_strips(lines, {}), strict=True)
    ]
    forest = build_forest(f"forest-axis-{number}", "Differences", factor.verdict.pairs, comparison.metric)
    return FactorView(factor.axis, factor.over, rows, build_note(factor.verdict), forest, factor.sentences)


def _breakdown(breakdown: Breakdown) -> BreakdownView:
    digits = breakdown.digits
    rows = [
        (
            name,
            [
                (
                    TableNumber(
                        format_mean_sd(one.mean, one.sd, digits), "" if math.isnan(one.mean) else f"{one.mean:.9g}"
                    ),
                    one.is_best and breakdown.is_judged,
                )
                for one in figures
            ],
        )
        for name, figures in breakdown.rows
    ]
    return BreakdownView(
        breakdown.id,
        breakdown.title,
        breakdown.about,
        breakdown.columns,
        rows,
        breakdown.is_judged,
        breakdown.higher_is_better,
        breakdown.sentences,
    )
