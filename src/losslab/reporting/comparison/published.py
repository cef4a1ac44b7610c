"""Published numbers beside ours."""

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
    """Of each axis; a dash where the source has none."""
    values: list[str]
    ours: str
    like: str
    """Ours by the metric that is nearest to theirs."""


@dataclass(frozen=True)
class PublishedTable:
    axes: list[str]
    columns: list[str]
    """The source's own words."""
    rows: list[PublishedLine]
    source: str
    how: str
    metric: str
    ours: str
    """What our column is."""
    like: str | None
    """What the metric is that is nearest to theirs; None where it is not named."""
    differs: str


def build_published_table(comparison: Comparison) -> PublishedTable | None:
    if comparison.published is None:
        return None
    published, metric, digits = comparison.published, comparison.metric, comparison.metric.digits
    axes = [axis for axis in comparison.axes if any(axis in row.cell for row in published.rows)]
    columns = list(dict.fromkeys(name for row in published.rows for name in row.values))
    lines = list(zip(comparison.cells, build_lines(comparison), strict=True))
    rows = []
    for row in published.rows:
        wanted = {axis: format_label(value) for axis, value in row.cell.items()}
        ours = [line for cell, line in lines if wanted.items() <= cell.labels.items()]
        told = ABSENT
        if len(ours) == 1:
            told = format_mean_sd(ours[0].mean, ours[0].sd, digits)
        elif ours:
            told = f"{format_score(statistics.fmean(line.mean for line in ours), digits)}, mean of {len(ours)} cells"
        cells = [cell for cell in comparison.cells if wanted.items() <= cell.labels.items()]
        values = [format_brief(row.values[name]) if name in row.values else ABSENT for name in columns]
        rows.append(PublishedLine([wanted.get(axis, ABSENT) for axis in axes], values, told, _like(cells)))
    return PublishedTable(
        axes,
        columns,
        rows,
        published.source,
        published.how,
        published.metric,
        f"{metric.title}, {metric.about}",
        comparison.published_metric.title if comparison.published_metric is not None else None,
        "Where theirs and ours were measured differently, orders compare and numbers do not.",
    )


def _like(cells: Sequence[ComparedCell]) -> str:
    scores = [run.like_published for cell in cells for run in cell.runs if run.like_published is not None]
    if not scores:
        return ABSENT
    return format_mean_sd(
        statistics.fmean(scores), statistics.stdev(scores) if len(cells) == 1 < len(scores) else None, 3
    )
