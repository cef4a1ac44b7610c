"""Table of published numbers beside ours."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from losslab.comparison.result import ComparedCell, Comparison
from losslab.formats import ABSENT, format_brief, format_mean_sd, format_score
from losslab.reporting.comparison.ranking import build_lines
from losslab.study.spec import format_label


@dataclass(frozen=True)
class PublishedLine:
    labels: list[str]
    """Label of each axis; a dash where the source has none."""
    values: list[str]
    ours: str
    nearest: str
    """Our number by the metric that is nearest to theirs."""


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    axes: list[str]
    columns: list[str]
    """Names of the published numbers, in the source's own words."""
    rows: list[PublishedLine]
    source: str
    how: str
    metric: str
    ours: str
    """Words that say what our column is."""
    nearest_metric: str | None
    """Title of our metric that is nearest to theirs; None where it is not named."""
    caveat: str


def build_published_table(comparison: Comparison) -> PublishedTable | None:
    """Build the table; None where the study names no published numbers."""
    if comparison.published is None:
        return None
    published, metric, digits = comparison.published, comparison.metric, comparison.metric.digits
    axes = [axis for axis in comparison.axes if any(axis in row.cell for row in published.rows)]
    columns = list(dict.fromkeys(name for row in published.rows for name in row.values))
    lines = {line.name: line for line in build_lines(comparison)}
    rows = []
    for row in published.rows:
        wanted = {axis: format_label(value) for axis, value in row.cell.items()}
        cells = [cell for cell in comparison.cells if wanted.items() <= cell.labels.items()]
        ours = [lines[cell.name] for cell in cells]
        score = ABSENT
        if len(ours) == 1:
            score = format_mean_sd(ours[0].mean, ours[0].sd, digits)
        elif ours:
            score = f"{format_score(statistics.fmean(line.mean for line in ours), digits)}, mean of {len(ours)} cells"
        values = [format_brief(row.values[name]) if name in row.values else ABSENT for name in columns]
        rows.append(PublishedLine([wanted.get(axis, ABSENT) for axis in axes], values, score, _format_nearest(cells)))
    return PublishedTable(
        axes=axes,
        columns=columns,
        rows=rows,
        source=published.source,
        how=published.how,
        metric=published.metric,
        ours=f"{metric.title}, {metric.about}",
        nearest_metric=comparison.published_metric.title if comparison.published_metric is not None else None,
        caveat="Where theirs and ours were measured differently, compare the order and not the numbers.",
    )


def _format_nearest(cells: Sequence[ComparedCell]) -> str:
    scores = [run.like_published for cell in cells for run in cell.runs if run.like_published is not None]
    sd = statistics.stdev(scores) if len(cells) == 1 < len(scores) else None
    return format_mean_sd(statistics.fmean(scores), sd, 3) if scores else ABSENT
