"""comparison.md: the verdict for a pull request, where nobody opens a page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from losslab.reporting.comparison.told import digits_of, digits_of_breakdown, duration, gflops, interval, mean_sd, milliseconds, parameters
from losslab.reporting.comparison.published import published_table
from losslab.reporting.comparison.ranking import Line, lines_of, lines_of_verdict, note_of
from losslab.reporting.comparison.ranks import reading_of
from losslab.reporting.comparison.reading import unjudged
from losslab.study.comparing.comparison import Breakdown, Comparison, Factor

MOST_SENTENCES = 6


def markdown_of(comparison: Comparison) -> str:
    """GitHub's Markdown; every name is text, whatever it holds."""
    blocks = [f"## {text(comparison.title)}", f"*{text(comparison.question)}*", f"**{text(comparison.headline)}**"]
    if (why := unjudged(comparison)) is not None:
        blocks.append(text(why))
    if comparison.warnings:
        blocks.append("\n".join(f"- ⚠️ {text(warning)}" for warning in comparison.warnings))
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
        told_ranks = f"{reading_of(comparison.ranks)} Critical difference: {comparison.ranks.critical_difference:.2f}."
        blocks += ["### Ranks", table(["cell", "mean rank"], rows, 1), text(told_ranks)]
    blocks += _published(comparison)
    if comparison.facts:
        facts = "\n".join(f"- {text(name)}: {text(value)}" for name, value in comparison.facts.items())
        blocks.append(f"<details><summary>How it was made</summary>\n\n{facts}\n\n</details>")
    return "\n\n".join(blocks) + "\n"


def text(words: str) -> str:
    """As it stands: no emphasis, link, code, table cell or tag begins in it."""
    line = re.sub(r"\s+", " ", words).strip()
    line = re.sub(r"&(?=[#\w]+;)", "&amp;", line)
    line = re.sub(r"<(?=[\w/!?])", "&lt;", line)
    line = re.sub(r"([\\`*|~]|\](?=[(\[]))", r"\\\1", line)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", line)


@dataclass(frozen=True)
class Bold:
    words: str


def table(headings: Sequence[str], rows: Sequence[Sequence[str | Bold]], names: int) -> str:
    """
    Args:
        names: so many columns are of text, to the left.
    """
    cells = [[f"**{text(one.words)}**" if isinstance(one, Bold) else text(one) for one in row] for row in rows]
    ends = [":--"] * names + ["--:"] * (len(headings) - names)
    return "\n".join(_row(row) for row in ([text(one) for one in headings], ends, *cells))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _marked(line: Line, digits: int) -> str | Bold:
    score = mean_sd(line.mean, line.sd, digits)
    return Bold(score) if line.mark == "best" else f"{score} †" if line.mark == "together" else score


def _cells(comparison: Comparison) -> list[str]:
    metric, digits = comparison.metric, digits_of(comparison.metric)
    headings = [*comparison.axes, metric.title, "95 % CI", "seeds", "parameters", "GFLOPs", "training", "per image"]
    rows = [
        [
            str(line.rank),
            *(cell.labels[axis] for axis in comparison.axes),
            _marked(line, digits),
            interval(line.interval, digits),
            str(line.seeds),
            parameters(cell.parameters),
            gflops(cell.gflops),
            duration(cell.train_seconds),
            milliseconds(cell.image_ms),
        ]
        for cell, line in zip(comparison.cells, lines_of(comparison), strict=True)
    ]
    direction = "higher" if metric.higher_is_better else "lower"
    note = (
        f"{metric.title} on {comparison.images} test images of {comparison.dataset}, mean ± standard deviation over seeds; "
        f"{direction} is better. {note_of(comparison.verdict)}"
    )
    return [table(["#", *headings], rows, 1 + len(comparison.axes)), text(note)]


def _factor(comparison: Comparison, factor: Factor) -> list[str]:
    digits = digits_of(comparison.metric)
    rows = [
        [line.name, _marked(line, digits), interval(line.interval, digits)]
        for line in lines_of_verdict(factor.verdict)
    ]
    return [
        f"### By {text(factor.axis)}",
        text(f"Averaged over {factor.over}."),
        table([factor.axis, comparison.metric.title, "95 % CI"], rows, 1),
        *_listed(factor.sentences),
    ]


def _breakdown(breakdown: Breakdown) -> list[str]:
    digits = digits_of_breakdown(breakdown)
    rows = []
    for name, figures in breakdown.rows:
        cells = [mean_sd(one.mean, one.sd, digits) for one in figures]
        bold = [one.is_best and breakdown.is_judged for one in figures]
        rows.append([name, *(Bold(cell) if best else cell for cell, best in zip(cells, bold, strict=True))])
    return [
        f"### {text(breakdown.title)}",
        text(breakdown.about + ("" if breakdown.higher_is_better else " Lower is better.")),
        table(["cell", *breakdown.columns], rows, 1),
        *_listed(breakdown.sentences),
    ]


def _published(comparison: Comparison) -> list[str]:
    found = published_table(comparison)
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
    return ["### Published numbers beside ours", table(headings, rows, len(found.axes)), *_listed(words)]


def _listed(sentences: Sequence[str]) -> list[str]:
    return ["\n".join(f"- {text(sentence)}" for sentence in sentences)] if sentences else []


def _folded(title: str, sentences: Sequence[str]) -> list[str]:
    (listed,) = _listed(sentences)
    if len(sentences) <= MOST_SENTENCES:
        return [f"### {title}", listed]
    return [f"<details><summary>{title}: {len(sentences)} pairs</summary>\n\n{listed}\n\n</details>"]
