"""comparison.md: the verdict for a pull request, where nobody opens a page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from losslab.comparison.result import Breakdown, Comparison, FactorResult
from losslab.formats import (
    format_duration,
    format_gflops,
    format_interval,
    format_mean_sd,
    format_milliseconds,
    format_parameters,
)
from losslab.reporting.comparison.critical_difference import describe_ranks
from losslab.reporting.comparison.published import build_published_table
from losslab.reporting.comparison.ranking import RankingLine, build_lines, build_note, build_verdict_lines
from losslab.reporting.comparison.reading import explain_no_verdict

MOST_SENTENCES = 6


def build_markdown(comparison: Comparison) -> str:
    """GitHub's Markdown; every name is text, whatever it holds."""
    blocks = [
        f"## {escape_markdown(comparison.title)}",
        f"*{escape_markdown(comparison.question)}*",
        f"**{escape_markdown(comparison.headline)}**",
    ]
    if (why := explain_no_verdict(comparison)) is not None:
        blocks.append(escape_markdown(why))
    if comparison.warnings:
        blocks.append("\n".join(f"- ⚠️ {escape_markdown(warning)}" for warning in comparison.warnings))
    blocks += _cells(comparison)
    for factor in comparison.factors:
        blocks += _factor(comparison, factor)
    if comparison.sentences:
        blocks += _folded("Every two cells", comparison.sentences)
    for breakdown in comparison.breakdowns:
        blocks += _breakdown(breakdown)
    if comparison.ranks is not None:
        rows = [
            [name, f"{rank:.2f}"]
            for rank, name in sorted(zip(comparison.ranks.mean_ranks, comparison.ranks.names, strict=True))
        ]
        told_ranks = (
            f"{describe_ranks(comparison.ranks)} Critical difference: {comparison.ranks.critical_difference:.2f}."
        )
        blocks += ["### Ranks", build_table(["cell", "mean rank"], rows, 1), escape_markdown(told_ranks)]
    blocks += _published(comparison)
    if comparison.facts:
        facts = "\n".join(
            f"- {escape_markdown(name)}: {escape_markdown(value)}" for name, value in comparison.facts.items()
        )
        blocks.append(f"<details><summary>How it was made</summary>\n\n{facts}\n\n</details>")
    return "\n\n".join(blocks) + "\n"


def escape_markdown(words: str) -> str:
    """As it stands: no emphasis, link, code, table cell or tag begins in it."""
    line = re.sub(r"\s+", " ", words).strip()
    line = re.sub(r"&(?=[#\w]+;)", "&amp;", line)
    line = re.sub(r"<(?=[\w/!?])", "&lt;", line)
    line = re.sub(r"([\\`*|~]|\](?=[(\[]))", r"\\\1", line)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", line)


@dataclass(frozen=True)
class BoldText:
    words: str


def build_table(headings: Sequence[str], rows: Sequence[Sequence[str | BoldText]], names: int) -> str:
    """Args:
    names: so many columns are of text, to the left.
    """
    cells = [
        [f"**{escape_markdown(one.words)}**" if isinstance(one, BoldText) else escape_markdown(one) for one in row]
        for row in rows
    ]
    ends = [":--"] * names + ["--:"] * (len(headings) - names)
    return "\n".join(_row(row) for row in ([escape_markdown(one) for one in headings], ends, *cells))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _marked(line: RankingLine, digits: int) -> str | BoldText:
    score = format_mean_sd(line.mean, line.sd, digits)
    return BoldText(score) if line.mark == "best" else f"{score} †" if line.mark == "together" else score


def _cells(comparison: Comparison) -> list[str]:
    metric, digits = comparison.metric, comparison.metric.digits
    headings = [*comparison.axes, metric.title, "95 % CI", "seeds", "parameters", "GFLOPs", "training", "per image"]
    rows = [
        [
            str(line.rank),
            *(cell.labels[axis] for axis in comparison.axes),
            _marked(line, digits),
            format_interval(line.interval, digits),
            str(line.seeds),
            format_parameters(cell.parameters),
            format_gflops(cell.gflops),
            format_duration(cell.train_seconds),
            format_milliseconds(cell.image_ms),
        ]
        for cell, line in zip(comparison.cells, build_lines(comparison), strict=True)
    ]
    direction = "higher" if metric.higher_is_better else "lower"
    note = (
        f"{metric.title} on {comparison.images} test images of {comparison.dataset}, mean ± standard deviation over seeds; "
        f"{direction} is better. {build_note(comparison.verdict)}"
    )
    return [build_table(["#", *headings], rows, 1 + len(comparison.axes)), escape_markdown(note)]


def _factor(comparison: Comparison, factor: FactorResult) -> list[str]:
    digits = comparison.metric.digits
    rows = [
        [line.name, _marked(line, digits), format_interval(line.interval, digits)]
        for line in build_verdict_lines(factor.verdict)
    ]
    return [
        f"### By {escape_markdown(factor.axis)}",
        escape_markdown(f"Averaged over {factor.over}."),
        build_table([factor.axis, comparison.metric.title, "95 % CI"], rows, 1),
        *_listed(factor.sentences),
    ]


def _breakdown(breakdown: Breakdown) -> list[str]:
    digits = breakdown.digits
    rows = []
    for name, figures in breakdown.rows:
        cells = [format_mean_sd(one.mean, one.sd, digits) for one in figures]
        bold = [one.is_best and breakdown.is_judged for one in figures]
        rows.append([name, *(BoldText(cell) if best else cell for cell, best in zip(cells, bold, strict=True))])
    return [
        f"### {escape_markdown(breakdown.title)}",
        escape_markdown(breakdown.about + ("" if breakdown.higher_is_better else " Lower is better.")),
        build_table(["cell", *breakdown.columns], rows, 1),
        *_listed(breakdown.sentences),
    ]


def _published(comparison: Comparison) -> list[str]:
    found = build_published_table(comparison)
    if found is None:
        return []
    headings = [
        *found.axes,
        *(f"published {name}" for name in found.columns),
        *([f"ours: {found.like}"] if found.like else []),
        f"ours: {comparison.metric.title}",
    ]
    rows = [[*row.labels, *row.values, *([row.like] if found.like else []), row.ours] for row in found.rows]
    words = [f"Source: {found.source}", f"Theirs ({found.metric}): {found.how}", f"Ours: {found.ours}", found.differs]
    return ["### Published numbers beside ours", build_table(headings, rows, len(found.axes)), *_listed(words)]


def _listed(sentences: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences)] if sentences else []


def _folded(title: str, sentences: Sequence[str]) -> list[str]:
    (listed,) = _listed(sentences)
    if len(sentences) <= MOST_SENTENCES:
        return [f"### {title}", listed]
    return [f"<details><summary>{title}: {len(sentences)} pairs</summary>\n\n{listed}\n\n</details>"]
