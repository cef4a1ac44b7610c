"""Page of a comparison, one file readable offline, that says which cell is best and whether that is real."""

from collections.abc import Mapping, Sequence

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
from losslab.reporting.comparison.heatmaps import build_heatmaps, compute_shades
from losslab.reporting.comparison.looks import LOOK_HEADINGS, build_look_rows, describe_looks
from losslab.reporting.comparison.markdown import MAX_SENTENCES_SHOWN
from losslab.reporting.comparison.pareto import build_pareto_plots
from losslab.reporting.comparison.published import build_published_table
from losslab.reporting.comparison.ranking import RankingLine, build_lines, build_note, build_verdict_lines
from losslab.reporting.comparison.reading_guide import build_reading_guide, explain_no_verdict
from losslab.reporting.comparison.searches import build_search_tables
from losslab.reporting.components.rendering import render_template
from losslab.reporting.run.sections.gallery import VOID_COLOUR

MAX_FOREST_ROWS = 15
"""Pairs in a forest plot; where there are more, only those of the best are in sight."""


TableEntry = tuple[str, str]
"""Text of a table, and the key by which it is sorted."""
ShownLine = tuple[RankingLine, str, str, DotStrip]
"""Line of a table, with its mean ± sd, interval and strip."""


def build_comparison_page(comparison: Comparison) -> str:
    lines = build_lines(comparison)
    verdict = comparison.verdict
    pairs = list(verdict.pairs) if verdict is not None else []
    shown = pairs if len(pairs) <= MAX_FOREST_ROWS else [pair for pair in pairs if pair.better == lines[0].name]
    plots, left_out = build_pareto_plots(comparison)
    title = "All pairs of cells" if shown == pairs else "The best mean against every other"
    scores = {cell.name: [run.score for run in cell.runs] for cell in comparison.cells}
    return render_template(
        "comparison/index.html.j2",
        comparison=comparison,
        metric=comparison.metric,
        lines=lines,
        rows=[
            (line, _list_labels(comparison, cell), _list_costs(cell))
            for cell, line in zip(comparison.cells, _show_lines(lines, scores, comparison.metric.digits), strict=True)
        ],
        note=build_note(verdict),
        unjudged=explain_no_verdict(comparison),
        factors=[_view_factor(comparison, factor, number) for number, factor in enumerate(comparison.factors)],
        forest=build_forest("forest-cells", title, shown, comparison.metric),
        all_pairs=build_forest("forest-all", "All pairs of cells", pairs, comparison.metric)
        if shown != pairs
        else None,
        folded=len(comparison.sentences) > MAX_SENTENCES_SHOWN,
        look_headings=LOOK_HEADINGS,
        looks=build_look_rows(comparison),
        searches=None if comparison.tuning is None else build_search_tables(comparison.tuning),
        about_looks=describe_looks(comparison),
        heats=build_heatmaps(comparison),
        breakdowns=[(breakdown, _shade_rows(breakdown)) for breakdown in comparison.breakdowns],
        groupings=build_chart_groups(comparison),
        paretos=plots,
        left_out=left_out,
        gallery=build_gallery(comparison),
        published=build_published_table(comparison),
        diagram=None if comparison.ranks is None else build_diagram(comparison.ranks),
        how_to_read=build_reading_guide(comparison),
        legend=comparison.picture_labels,
        void_colour=VOID_COLOUR,
    )


def _show_lines(lines: Sequence[RankingLine], scores: Mapping[str, Sequence[float]], digits: int) -> list[ShownLine]:
    return [
        (line, format_mean_sd(line.mean, line.sd, digits), format_interval(line.interval, digits), strip)
        for line, strip in zip(lines, build_strips(lines, scores), strict=True)
    ]


def _list_labels(comparison: Comparison, cell: ComparedCell) -> list[TableEntry]:
    """List the label of each axis, which sorts in the card's order."""
    return [(cell.labels[axis], str(list(labels).index(cell.labels[axis]))) for axis, labels in comparison.axes.items()]


def _list_costs(cell: ComparedCell) -> list[TableEntry]:
    return [
        (format_parameters(cell.parameters), str(cell.parameters)),
        (format_gflops(cell.gflops), format_sort_key(cell.gflops)),
        (format_duration(cell.train_seconds), format_sort_key(cell.train_seconds)),
        (format_milliseconds(cell.image_ms), format_sort_key(cell.image_ms)),
    ]


def _view_factor(
    comparison: Comparison, factor: FactorResult, number: int
) -> tuple[FactorResult, list[ShownLine], str, ForestPlot | None]:
    """Add the lines of an axis to it, their note, and a forest plot."""
    lines = _show_lines(build_verdict_lines(factor.verdict), {}, comparison.metric.digits)
    forest = build_forest(f"forest-axis-{number}", "Differences", factor.verdict.pairs, comparison.metric)
    return factor, lines, build_note(factor.verdict), forest


def _shade_rows(breakdown: Breakdown) -> list[tuple[str, list[tuple[TableEntry, bool, float]]]]:
    """Add to each number of a breakdown's rows whether it is best, and its shade."""
    columns = zip(*(values for _, values in breakdown.rows), strict=True)
    means = [[one.mean for one in column] for column in columns]
    shades = zip(*compute_shades(means, breakdown.higher_is_better), strict=True)
    return [
        (
            name,
            [
                (
                    (format_mean_sd(one.mean, one.sd, breakdown.digits), format_sort_key(one.mean)),
                    one.is_best and breakdown.is_judged,
                    shade,
                )
                for one, shade in zip(values, row_shades, strict=True)
            ],
        )
        for (name, values), row_shades in zip(breakdown.rows, shades, strict=True)
    ]
