"""Table of published numbers beside ours."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from losslab.comparison.doubt import Method, Metric, doubt_pair, find_kind, find_spread
from losslab.comparison.result import ComparedCell, Comparison
from losslab.formats import ABSENT, format_brief, format_mean_sd, format_percent, format_plural, format_score
from losslab.reporting.comparison.ranking import build_lines
from losslab.study.spec import PublishedNumbers, format_label

ASSUMED_SEEDS = 1
"""Seeds of published numbers that do not say it."""


@dataclass(frozen=True)
class PublishedLine:
    labels: list[str]
    """Label of each axis; a dash where the source has none."""
    values: list[str]
    """Published numbers, with the doubt about their order where it is known."""
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
    doubt: str | None
    """Words that say what the percentages beside the numbers are; None where there are none."""


def build_published_table(comparison: Comparison) -> PublishedTable | None:
    """Build the table; None where the study names no published numbers."""
    if comparison.published is None:
        return None
    published, metric, digits = comparison.published, comparison.metric, comparison.metric.digits
    axes = [axis for axis in comparison.axes if any(axis in row.cell for row in published.rows)]
    columns = list(dict.fromkeys(name for row in published.rows for name in row.values))
    lines = {line.name: line for line in build_lines(comparison)}
    rows, kind = [], find_kind(comparison.dataset)
    doubts = {name: _doubt_column(published, name, kind) for name in columns}
    for number, row in enumerate(published.rows):
        wanted = {axis: format_label(value) for axis, value in row.cell.items()}
        cells = [cell for cell in comparison.cells if wanted.items() <= cell.labels.items()]
        ours = [lines[cell.name] for cell in cells]
        score = ABSENT
        if len(ours) == 1:
            score = format_mean_sd(ours[0].mean, ours[0].sd, digits)
        elif ours:
            score = f"{format_score(statistics.fmean(line.mean for line in ours), digits)}, mean of {len(ours)} cells"
        values = [
            format_brief(row.values[name]) + doubts[name].get(number, "") if name in row.values else ABSENT
            for name in columns
        ]
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
        doubt=_explain_doubt(published, kind) if any(doubts.values()) else None,
    )


def _doubt_column(published: PublishedNumbers, name: str, kind: str) -> dict[int, str]:
    """Doubt that each number of a column is worse than its best: row → text; empty where that is not known."""
    metric = _find_measured_metric(name, published.ours)
    methods = {
        number: Method(
            name=str(number), mean=row.values[name], sd=row.sd.get(name), seeds=published.seeds or ASSUMED_SEEDS
        )
        for number, row in enumerate(published.rows)
        if name in row.values
    }
    if published.images is None or metric is None or any(not 0 <= one.mean <= 1 for one in methods.values()):
        return {}
    best, spread = max(methods, key=lambda number: methods[number].mean), find_spread(metric, kind)
    pairs = {
        number: doubt_pair(methods[best], method, published.images, spread)
        for number, method in methods.items()
        if number != best
    }
    return {number: f" ({format_percent(pair.reversal)} %)" for number, pair in pairs.items()}


def _find_measured_metric(name: str, ours: str | None) -> Metric | None:
    """Find the metric, of those whose spread is known, that a column of published numbers is of."""
    if ours == "seed_score" and name == "score":
        return "seed_score"
    return "iou" if name.startswith("iou") else "dice" if name.startswith("dice") else None


def _explain_doubt(published: PublishedNumbers, kind: str) -> str:
    seeds = format_plural(published.seeds or ASSUMED_SEEDS, "seed") + (" (assumed)" if published.seeds is None else "")
    return (
        "In brackets: the probability that the order of this number and the best of its column would be another with other "
        f"images and other seeds, as many as theirs: {format_plural(published.images or 0, 'image')}, {seeds}. "
        f"Spreads that they do not state are those that losslab measured on {kind} data: losslab docs doubt."
    )


def _format_nearest(cells: Sequence[ComparedCell]) -> str:
    scores = [run.like_published for cell in cells for run in cell.runs if run.like_published is not None]
    sd = statistics.stdev(scores) if len(cells) == 1 < len(scores) else None
    return format_mean_sd(statistics.fmean(scores), sd, 3) if scores else ABSENT
