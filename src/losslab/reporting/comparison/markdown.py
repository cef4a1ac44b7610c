"""Comparison as Markdown: comparison.md has the verdict for a pull request, where nobody opens a page."""

import re
from collections.abc import Sequence

from losslab.comparison.result import Breakdown, Comparison, FactorResult
from losslab.comparison.tuning import TuningReport
from losslab.formats import (
    format_duration,
    format_gflops,
    format_interval,
    format_line,
    format_mean_sd,
    format_milliseconds,
    format_parameters,
)
from losslab.reporting.comparison.critical_difference import describe_ranks
from losslab.reporting.comparison.looks import LOOK_HEADINGS, build_look_rows, describe_looks
from losslab.reporting.comparison.published import build_published_table
from losslab.reporting.comparison.ranking import SIGNS, RankingLine, build_lines, build_note, build_verdict_lines
from losslab.reporting.comparison.reading_guide import explain_no_verdict
from losslab.reporting.comparison.searches import build_search_tables

MAX_SENTENCES_SHOWN = 3
"""Sentences on pairs; where there are more, they are folded away."""


def build_markdown(comparison: Comparison) -> str:
    """Build comparison.md in GitHub's Markdown; names are escaped."""
    first, *rest = comparison.headline
    blocks = [
        f"## {escape_markdown(comparison.title)}",
        f"*{escape_markdown(comparison.question)}*",
        "\n".join([f"- **{escape_markdown(first)}**", *(f"- {escape_markdown(line)}" for line in rest)]),
    ]
    if (why := explain_no_verdict(comparison)) is not None:
        blocks.append(escape_markdown(why))
    blocks.append(escape_markdown(f"It rests on {comparison.basis}."))
    blocks += _write_list([f"⚠️ {warning}" for warning in comparison.warnings])
    if comparison.changes:
        blocks += ["**What would change this verdict**", *_write_list(comparison.changes)]
    headings, rows = build_cell_table(comparison)
    blocks += [build_table(headings, rows, 1 + len(comparison.axes)), escape_markdown(describe_cells(comparison))]
    for factor in comparison.factors:
        blocks += _write_factor(comparison, factor)
    if comparison.sentences:
        blocks += _write_pairs(comparison.sentences)
    blocks += _write_tuning(comparison.tuning)
    if comparison.looks:
        table = build_table(LOOK_HEADINGS, build_look_rows(comparison), 3)
        blocks += ["### Looks", escape_markdown(describe_looks(comparison)), table]
    for breakdown in comparison.breakdowns:
        blocks += _write_breakdown(breakdown)
    if comparison.ranks is not None:
        ranks = comparison.ranks
        rows = [[name, f"{rank:.2f}"] for rank, name in sorted(zip(ranks.mean_ranks, ranks.names, strict=True))]
        reading = f"{describe_ranks(ranks)} Critical difference: {ranks.critical_difference:.2f}."
        blocks += ["### Ranks", build_table(["cell", "mean rank"], rows, 1), escape_markdown(reading)]
    blocks += _write_published(comparison)
    if comparison.facts:
        (facts,) = _write_list([f"{name}: {value}" for name, value in comparison.facts.items()])
        blocks.append(f"<details><summary>How it was made</summary>\n\n{facts}\n\n</details>")
    return "\n\n".join(blocks) + "\n"


def escape_markdown(words: str) -> str:
    """Escape text so that no emphasis, link, code, table cell or tag begins in it."""
    line = format_line(re.sub(r"\s+", " ", words).strip())
    line = re.sub(r"&(?=[#\w]+;)", "&amp;", line)
    line = re.sub(r"<(?=[\w/!?])", "&lt;", line)
    line = re.sub(r"([\\`*|~]|\](?=[(\[]))", r"\\\1", line)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", line)


class BoldText(str):
    """Text of a table that is printed bold."""


def build_table(headings: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    """Build a table, whose first `names` columns hold names and not numbers."""
    cells = [
        [f"**{escape_markdown(one)}**" if isinstance(one, BoldText) else escape_markdown(one) for one in row]
        for row in rows
    ]
    ends = [":--"] * names + ["--:"] * (len(headings) - names)
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*map(escape_markdown, headings)], ends, *cells))


def _mark_score(line: RankingLine, digits: int) -> str:
    score = format_mean_sd(line.mean, line.sd, digits)
    return BoldText(score) if line.mark == "best" else f"{score} {SIGNS.get(line.mark, '')}".rstrip()


def build_cell_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Build the headings and rows of the table of cells, as text, the best first."""
    metric, digits = comparison.metric, comparison.metric.digits
    headings = [
        "#",
        *comparison.axes,
        metric.title,
        "95 % CI",
        "seeds",
        "parameters",
        "GFLOPs",
        "training",
        "per image",
    ]
    rows = [
        [
            str(line.rank),
            *(cell.labels[axis] for axis in comparison.axes),
            _mark_score(line, digits),
            format_interval(line.interval, digits),
            str(line.seeds),
            format_parameters(cell.parameters),
            format_gflops(cell.gflops),
            format_duration(cell.train_seconds),
            format_milliseconds(cell.image_ms),
        ]
        for cell, line in zip(comparison.cells, build_lines(comparison), strict=True)
    ]
    return headings, rows


def describe_cells(comparison: Comparison) -> str:
    """Say what the numbers of the table of cells are, and what bold means there."""
    metric = comparison.metric
    direction = "higher" if metric.higher_is_better else "lower"
    return (
        f"{metric.title} on {comparison.test_set} of {comparison.dataset}, mean ± standard deviation over seeds; "
        f"{direction} is better. {build_note(comparison.verdict)}"
    )


def _write_factor(comparison: Comparison, factor: FactorResult) -> list[str]:
    digits = comparison.metric.digits
    rows = [
        [line.name, _mark_score(line, digits), format_interval(line.interval, digits)]
        for line in build_verdict_lines(factor.verdict)
    ]
    return [
        f"### By {escape_markdown(factor.axis)}",
        escape_markdown(f"Averaged over {factor.over}."),
        build_table([factor.axis, comparison.metric.title, "95 % CI"], rows, 1),
        *_write_list(factor.sentences),
    ]


def _write_breakdown(breakdown: Breakdown) -> list[str]:
    rows = []
    for name, figures in breakdown.rows:
        kinds = [BoldText if one.is_best and breakdown.is_judged else str for one in figures]
        cells = [format_mean_sd(one.mean, one.sd, breakdown.digits) for one in figures]
        rows.append([name, *(kind(cell) for kind, cell in zip(kinds, cells, strict=True))])
    return [
        f"### {escape_markdown(breakdown.title)}",
        escape_markdown(breakdown.about + ("" if breakdown.higher_is_better else " Lower is better.")),
        build_table(["cell", *breakdown.columns], rows, 1),
        *_write_list(breakdown.sentences),
    ]


def _write_tuning(tuning: TuningReport | None) -> list[str]:
    if tuning is None:
        return []
    tables = build_search_tables(tuning)
    shown = build_table(tables.headings, tables.rows, tables.names)
    about = f"{tuning.about} Shared: {tuning.shared}, which every cell has tried."
    return ["### How each cell was tuned", escape_markdown(about), shown, *_write_list(tuning.sentences)]


def _write_published(comparison: Comparison) -> list[str]:
    table = build_published_table(comparison)
    if table is None:
        return []
    headings = [
        *table.axes,
        *(f"published {name}" for name in table.columns),
        *([f"ours: {table.nearest_metric}"] if table.nearest_metric else []),
        f"ours: {comparison.metric.title}",
    ]
    rows = [
        [*row.labels, *row.values, *([row.nearest] if table.nearest_metric else []), row.ours] for row in table.rows
    ]
    words = [f"Source: {table.source}", f"Theirs ({table.metric}): {table.how}", f"Ours: {table.ours}", table.caveat]
    words += [table.doubt] if table.doubt else []
    return ["### Published numbers beside ours", build_table(headings, rows, len(table.axes)), *_write_list(words)]


def _write_list(sentences: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences)] if sentences else []


def _write_pairs(sentences: Sequence[str]) -> list[str]:
    if len(sentences) <= MAX_SENTENCES_SHOWN:
        return ["### All pairs of cells", *_write_list(sentences)]
    (items,) = _write_list(sentences)
    return [f"<details><summary>All {len(sentences)} pairs of cells</summary>\n\n{items}\n\n</details>"]
