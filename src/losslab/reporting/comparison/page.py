"""index.html: one file, readable offline, that says which cell is best and whether that is real."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from losslab.reporting.comparison.told import digits_of, digits_of_breakdown, duration, gflops, interval, mean_sd, milliseconds, parameters, sort_key
from losslab.reporting.comparison.curves import groupings
from losslab.reporting.comparison.forest import Forest, forest_of
from losslab.reporting.comparison.gallery import gallery
from losslab.reporting.comparison.heats import heats
from losslab.reporting.comparison.pareto import paretos
from losslab.reporting.comparison.published import published_table
from losslab.reporting.comparison.ranking import Line, lines_of, lines_of_verdict, note_of
from losslab.reporting.comparison.ranks import diagram
from losslab.reporting.comparison.reading import how_to_read, unjudged
from losslab.reporting.comparison.strip import Strip, strips_of
from losslab.reporting.rendering import render
from losslab.reporting.sections.gallery import VOID_COLOUR
from losslab.study.comparing.comparison import Breakdown, ComparedCell, Comparison, Factor

MOST_SENTENCES = 6
"""Of pairs, beyond which they are folded away."""
MOST_ARMS = 15
"""Pairs in a forest plot, beyond which only those of the best are in sight."""


@dataclass(frozen=True)
class Number:
    text: str
    sort: str


@dataclass(frozen=True)
class CellRow:
    line: Line
    score: str
    interval: str
    strip: Strip
    labels: list[Number]
    """Sorted in the card's order."""
    numbers: list[Number]


@dataclass(frozen=True)
class FactorView:
    axis: str
    over: str
    rows: list[tuple[Line, str, str, Strip]]
    """With mean ± sd and interval."""
    note: str
    forest: Forest | None
    sentences: Sequence[str]


@dataclass(frozen=True)
class BreakdownView:
    id: str
    title: str
    about: str
    columns: Sequence[str]
    rows: list[tuple[str, list[tuple[Number, bool]]]]
    """Name, and a number for each column with whether it is best."""
    is_judged: bool
    higher_is_better: bool
    sentences: Sequence[str]


def page_of(comparison: Comparison) -> str:
    lines = lines_of(comparison)
    verdict = comparison.verdict
    pairs = list(verdict.pairs) if verdict is not None else []
    shown = pairs if len(pairs) <= MOST_ARMS else [pair for pair in pairs if pair.better == lines[0].name]
    plots, left_out = paretos(comparison)
    title = "Every two cells" if shown == pairs else "The best mean against every other"
    return render(
        "comparison/index.html.j2",
        comparison=comparison,
        metric=comparison.metric,
        lines=lines,
        rows=_rows(comparison, lines),
        note=note_of(verdict),
        unjudged=unjudged(comparison),
        factors=[_factor(comparison, factor, number) for number, factor in enumerate(comparison.factors)],
        forest=forest_of("forest-cells", title, shown, comparison.metric),
        all_pairs=forest_of("forest-all", "Every two cells", pairs, comparison.metric) if shown != pairs else None,
        folded=len(comparison.sentences) > MOST_SENTENCES,
        heats=heats(comparison),
        breakdowns=[_breakdown(one) for one in comparison.breakdowns],
        groupings=groupings(comparison),
        paretos=plots,
        left_out=left_out,
        gallery=gallery(comparison),
        published=published_table(comparison),
        diagram=None if comparison.ranks is None else diagram(comparison.ranks),
        how_to_read=how_to_read(comparison),
        legend=list(zip(comparison.classes, comparison.palette, strict=True)),
        void_colour=VOID_COLOUR,
    )


def _rows(comparison: Comparison, lines: Sequence[Line]) -> list[CellRow]:
    scores = {cell.name: [run.score for run in cell.runs] for cell in comparison.cells}
    digits = digits_of(comparison.metric)
    return [
        CellRow(
            line,
            mean_sd(line.mean, line.sd, digits),
            interval(line.interval, digits),
            strip,
            [
                Number(cell.labels[axis], str(list(labels).index(cell.labels[axis])))
                for axis, labels in comparison.axes.items()
            ],
            _costs(cell),
        )
        for cell, line, strip in zip(comparison.cells, lines, strips_of(lines, scores), strict=True)
    ]


def _costs(cell: ComparedCell) -> list[Number]:
    return [
        Number(parameters(cell.parameters), str(cell.parameters)),
        Number(gflops(cell.gflops), sort_key(cell.gflops)),
        Number(duration(cell.train_seconds), sort_key(cell.train_seconds)),
        Number(milliseconds(cell.image_ms), sort_key(cell.image_ms)),
    ]


def _factor(comparison: Comparison, factor: Factor, number: int) -> FactorView:
    lines = lines_of_verdict(factor.verdict)
    digits = digits_of(comparison.metric)
    rows = [
        (line, mean_sd(line.mean, line.sd, digits), interval(line.interval, digits), strip)
        for line, strip in zip(lines, strips_of(lines, {}), strict=True)
    ]
    forest = forest_of(f"forest-axis-{number}", "Differences", factor.verdict.pairs, comparison.metric)
    return FactorView(factor.axis, factor.over, rows, note_of(factor.verdict), forest, factor.sentences)


def _breakdown(breakdown: Breakdown) -> BreakdownView:
    digits = digits_of_breakdown(breakdown)
    rows = [
        (
            name,
            [
                (
                    Number(mean_sd(one.mean, one.sd, digits), "" if math.isnan(one.mean) else f"{one.mean:.9g}"),
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
