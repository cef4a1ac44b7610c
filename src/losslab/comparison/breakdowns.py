"""Breakdowns of cells by class and by stratum, which show where one is better than another."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from losslab.comparison.evidence import RunEvidence, TextRow, check_judgeable
from losslab.comparison.looks import ONE_LOOK, LookPlan
from losslab.comparison.metrics import CLASS_MEANS
from losslab.comparison.result import Breakdown, BreakdownValue, ComparedMetric
from losslab.comparison.sentences import write_sentence
from losslab.comparison.statistics import Blocks
from losslab.comparison.verdicts import IndependentUnits, Verdict, judge_all
from losslab.formats import format_list

CellRuns = Mapping[str, Sequence[RunEvidence]]
QuestionBuilder = Callable[[str], Mapping[str, Mapping[str, Blocks]]]
STRATA = {
    "object_size": (
        "By size of objects",
        "recall",
        "Share of the true objects' pixels that were found, over all classes together.",
    ),
    "object_count": (
        "By number of objects",
        "iou",
        "IoU in images with that many objects of a class, mean over classes.",
    ),
    "border_distance": (
        "By distance to the nearest border",
        "error_rate",
        "Share of wrong pixels, by their distance in pixels from a true border.",
    ),
}
"""`by` of strata.csv → title, column, and what its numbers are."""


def break_down_by_class(
    cells: CellRuns,
    metric: ComparedMetric,
    build_questions: QuestionBuilder,
    units: IndependentUnits,
    looks: LookPlan = ONE_LOOK,
) -> Breakdown:
    """Break cells down by class: the score of each class, and sentences on the differences that are real.

    Args:
        cells: name → its runs, all on one test set.
        metric: its class score is shown, if it is the mean of one; else IoU.
        build_questions: from a metric's key to what is judged by it: axis (or "" for cells) → label → scores.
        units: independent units of the test set.
        looks: when the study is looked at, if more than once.
    """
    kind = CLASS_MEANS.get(metric.key, "iou")
    runs = list(itertools.chain.from_iterable(cells.values()))
    known = runs[0].list_metrics()
    metrics = {name: check_judgeable(known[f"{kind}_{name}"], runs) for name in runs[0].classes}
    judged = {name: build_questions(metric.key) for name, metric in metrics.items() if metric.has_images}
    verdicts = judge_all(
        {name: questions[""] for name, questions in judged.items()}, units=units, looks=looks, limits=(0, 1)
    )
    axes = [axis for axis in next(iter(judged.values()), {}) if axis] or [""]
    real = [
        (name, pair)
        for axis in axes
        for name, verdict in judge_all(
            {name: each[axis] for name, each in judged.items()}, units=units, looks=looks, limits=(0, 1)
        ).items()
        for pair in verdict.pairs
        if pair.is_real
    ]
    sentences = [f"{name}: {write_sentence(pair)}" for name, pair in real]
    unjudged: dict[str, list[str]] = {}
    for name, known_metric in metrics.items():
        if not known_metric.has_images:
            unjudged.setdefault(known_metric.why_not, []).append(name)
    for why, names in unjudged.items():
        sentences.append(f"{format_list(names)} {'is' if len(names) == 1 else 'are'} not judged: {why}.")
    clearest = max(real, key=lambda one: one[1].estimate.low if one[1].estimate else -math.inf, default=None)
    columns = [
        {cell: _find_value(verdicts[name], cell) for cell in cells}
        if name in verdicts
        else {cell: _average([run.compute_score(metric.key) for run in runs]) for cell, runs in cells.items()}
        for name, metric in metrics.items()
    ]
    return Breakdown(
        id="class",
        title=f"By class: {'IoU' if kind == 'iou' else kind}",
        about="Scores over the pixels of all test images: mean and standard deviation over seeds.",
        columns=runs[0].classes,
        rows=[(cell, [column[cell] for column in columns]) for cell in cells],
        is_judged=True,
        higher_is_better=True,
        sentences=sentences or ["No class has a real difference."],
        clearest=f"Clearest in {metrics[clearest[0]].title}: {write_sentence(clearest[1])}" if clearest else None,
    )


def break_down_by_strata(cells: CellRuns) -> list[Breakdown]:
    """Break cells down by the strata of strata.csv, without verdicts: it does not know single images."""
    breakdowns = []
    for by, (title, column, about) in STRATA.items():
        tables = {
            cell: [_compute_stratum_scores([row for row in run.strata if row["by"] == by], column) for run in runs]
            for cell, runs in cells.items()
        }
        columns = list(dict.fromkeys(name for runs in tables.values() for run in runs for name in run))
        if columns:
            rows = [
                (cell, [_average([run.get(name, math.nan) for run in runs]) for name in columns])
                for cell, runs in tables.items()
            ]
            breakdowns.append(
                Breakdown(
                    id=by,
                    title=title,
                    about=about,
                    columns=columns,
                    rows=rows,
                    is_judged=False,
                    higher_is_better=column != "error_rate",
                    sentences=(),
                )
            )
    return breakdowns


def _compute_stratum_scores(rows: Sequence[TextRow], column: str) -> dict[str, float]:
    """Compute the number of each stratum, in their order; NaN for one without pixels."""
    scores: dict[str, float] = {}
    for _, stratum in sorted({(int(row["position"]), row["stratum"]) for row in rows}):
        part = [row for row in rows if row["stratum"] == stratum]
        if column == "error_rate":
            part = [row for row in part if row["class"] == "all"]
        if column == "iou":
            known = [float(row["iou"]) for row in part if row["iou"]]
            scores[stratum] = float(np.mean(known)) if known else math.nan
        else:
            pixels, wrong = (sum(float(row[name] or 0) for row in part) for name in ("pixels", "wrong"))
            rate = wrong / pixels if pixels else math.nan
            scores[stratum] = rate if column == "error_rate" else 1 - rate
    return scores


def _find_value(verdict: Verdict, cell: str) -> BreakdownValue:
    standing = next(standing for standing in verdict.standings if standing.name == cell)
    return BreakdownValue(standing.mean, standing.sd, verdict.is_decided and verdict.best == [cell])


def _average(values: Sequence[float]) -> BreakdownValue:
    known = [value for value in values if not math.isnan(value)]
    sd = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return BreakdownValue(float(np.mean(known)) if known else math.nan, sd, False)
