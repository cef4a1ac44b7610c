"""Page of a comparison, one file readable offline, that says which cell is best and whether that is real."""

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
from losslab.reporting.comparison.markdown import MAX_SENTENCES_SHOWN
from losslab.reporting.comparison.pareto import build_pareto_plots
from losslab.reporting.comparison.published import build_published_table
from losslab.reporting.comparison.ranking import RankingLine, build_lines, build_note, build_verdict_lines
from losslab.reporting.comparison.reading_guide import build_reading_guide, explain_no_verdict
from losslab.reporting.components.rendering import render_template
from losslab.reporting.run.sections.gallery import VOID_COLOUR

MAX_FOREST_ROWS = 15
"""Pairs in a forest plot; where there are more, only those of the best are in sight."""


@dataclass(frozen=True)
class TableEntry:
    """Text of a table, and the key by which it is sorted."""

    text: str
    sort: str


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One cell in the table of cells."""

    line: RankingLine
    score: str
    interval: str
    strip: DotStrip
    labels: list[TableEntry]
    """Label of each axis, which sorts in the card's order."""
    costs: list[TableEntry]


@dataclass(frozen=True, kw_only=True)
class FactorView:
    """One axis, as the page shows it."""

    axis: str
    over: str
    rows: list[tuple[RankingLine, str, str, DotStrip]]
    """Line, mean ± sd, interval and strip of each label."""
    note: str
    forest: ForestPlot | None
    sentences: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class BreakdownView:
    """A breakdown, as the page shows it."""

    id: str
    title: str
    about: str
    columns: Sequence[str]
    rows: list[tuple[str, list[tuple[TableEntry, bool]]]]
    """Name of the cell, and for each column a number with whether it is best."""
    is_judged: bool
    higher_is_better: bool
    sentences: Sequence[str]


def build_comparison_page(comparison: Comparison) -> str:
    """Build index.html."""
    lines = build_lines(comparison)
    verdict = comparison.verdict
    pairs = list(verdict.pairs) if verdict is not None else []
    shown = pairs if len(pairs) <= MAX_FOREST_ROWS else [pair for pair in pairs if pair.better == lines[0].name]
    plots, left_out = build_pareto_plots(comparison)
    title = "All pairs of cells" if shown == pairs else "The best mean against every other"
    return render_template(
        "comparison/index.html.j2",
        comparison=comparison,
        metric=comparison.metric,
        lines=lines,
        rows=_build_rows(comparison, lines),
        note=build_note(verdict),
        unjudged=explain_no_verdict(comparison),
        factors=[_view_factor(comparison, factor, number) for number, factor in enumerate(comparison.factors)],
        forest=build_forest("forest-cells", title, shown, comparison.metric),
        all_pairs=build_forest("forest-all", "All pairs of cells", pairs, comparison.metric)
        if shown != pairs
        else None,
        folded=len(comparison.sentences) > MAX_SENTENCES_SHOWN,
        heats=build_heatmaps(comparison),
        breakdowns=[_view_breakdown(one) for one in comparison.breakdowns],
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


def _build_rows(comparison: Comparison, lines: Sequence[RankingLine]) -> list[CellRow]:
    scores = {cell.name: [run.score for run in cell.runs] for cell in comparison.cells}
    digits = comparison.metric.digits
    return [
        CellRow(
            line=line,
            score=format_mean_sd(line.mean, line.sd, digits),
            interval=format_interval(line.interval, digits),
            strip=strip,
            labels=[
                TableEntry(cell.labels[axis], str(list(labels).index(cell.labels[axis])))
                for axis, labels in comparison.axes.items()
            ],
            costs=_list_costs(cell),
        )
        for cell, line, strip in zip(comparison.cells, lines, build_strips(lines, scores), strict=True)
    ]


def _list_costs(cell: ComparedCell) -> list[TableEntry]:
    return [
        TableEntry(format_parameters(cell.parameters), str(cell.parameters)),
        TableEntry(format_gflops(cell.gflops), format_sort_key(cell.gflops)),
        TableEntry(format_duration(cell.train_seconds), format_sort_key(cell.train_seconds)),
        TableEntry(format_milliseconds(cell.image_ms), format_sort_key(cell.image_ms)),
    ]


def _view_factor(comparison: Comparison, factor: FactorResult, number: int) -> FactorView:
    lines = build_verdict_lines(factor.verdict)
    digits = comparison.metric.digits
    rows = [
        (line, format_mean_sd(line.mean, line.sd, digits), format_interval(line.interval, digits), strip)
        for line, strip in zip(lines, build_strips(lines, {}), strict=True)
    ]
    forest = build_forest(f"forest-axis-{number}", "Differences", factor.verdict.pairs, comparison.metric)
    return FactorView(
        axis=factor.axis,
        over=factor.over,
        rows=rows,
        note=build_note(factor.verdict),
        forest=forest,
        sentences=factor.sentences,
    )


def _view_breakdown(breakdown: Breakdown) -> BreakdownView:
    digits = breakdown.digits
    rows = [
        (
            name,
            [
                (
                    TableEntry(format_mean_sd(one.mean, one.sd, digits), format_sort_key(one.mean)),
                    one.is_best and breakdown.is_judged,
                )
                for one in values
            ],
        )
        for name, values in breakdown.rows
    ]
    return BreakdownView(
        id=breakdown.id,
        title=breakdown.title,
        about=breakdown.about,
        columns=breakdown.columns,
        rows=rows,
        is_judged=breakdown.is_judged,
        higher_is_better=breakdown.higher_is_better,
        sentences=breakdown.sentences,
    )
