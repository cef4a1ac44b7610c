"""Cells by class and by stratum: where one is better than another."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from losslab.comparison.evidence import Line, RunEvidence, check_judgeable
from losslab.comparison.metrics import list_metrics
from losslab.comparison.result import Breakdown, BreakdownValue, ComparedMetric
from losslab.comparison.statistics import Blocks
from losslab.comparison.verdicts import Verdict, judge_all, write_sentence

Cells = Mapping[str, Sequence[RunEvidence]]
Subjects = Callable[[str], Mapping[str, Mapping[str, Blocks]]]
OF_CLASS = {"mdice": "dice", "mean_accuracy": "recall", "mprecision": "precision"}
STRATA = {
    "object_size": (
        "By size of objects",
        "recall",
        "share of the pixels of true objects that were found; all classes together",
    ),
    "object_count": ("By number of objects", "iou", "IoU in images with so many objects of a class; mean over classes"),
    "border_distance": (
        "By distance to the nearest border",
        "error_rate",
        "share of wrong pixels; in pixels from a true border",
    ),
}
"""`by` of strata.csv → title, column, and what a number is."""


def break_down_by_class(cells: Cells, metric: ComparedMetric, subjects: Subjects) -> Breakdown:
    """Each class's score, and what is real of its differences.

    Args:
        subjects: from a metric's key to what is told apart by it: axis (or "" for cells) → label → scores.
    """
    first = next(iter(cells.values()))[0]
    kind = OF_CLASS.get(metric.key, "iou")
    runs = [run for of_cell in cells.values() for run in of_cell]
    known = list_metrics(first.metrics, first.classes)
    metrics = {name: check_judgeable(known[f"{kind}_{name}"], runs) for name in first.classes}
    found = {name: subjects(metric.key) for name, metric in metrics.items() if metric.has_images}
    of_cells = judge_all({name: questions[""] for name, questions in found.items()})
    axes = [axis for axis in next(iter(found.values()), {}) if axis] or [""]
    told = [
        f"{name}: {write_sentence(pair)}"
        for axis in axes
        for name, verdict in judge_all({name: questions[axis] for name, questions in found.items()}).items()
        for pair in verdict.pairs
        if pair.is_real
    ]
    told += [f"{name} is not judged: {metric.why_not}." for name, metric in metrics.items() if not metric.has_images]
    columns = [
        {cell: _figure(of_cells[name], cell) for cell in cells}
        if name in of_cells
        else {cell: _spread([run.score(metric.key) for run in of_cell]) for cell, of_cell in cells.items()}
        for name, metric in metrics.items()
    ]
    return Breakdown(
        id="class",
        title=f"By class: {'IoU' if kind == 'iou' else kind}",
        about="Over the pixels of all test images; mean and standard deviation over seeds.",
        columns=first.classes,
        rows=[(cell, [column[cell] for column in columns]) for cell in cells],
        is_judged=True,
        higher_is_better=True,
        sentences=told or ["No class has a difference that is real."],
    )


def break_down_by_strata(cells: Cells) -> list[Breakdown]:
    """What strata.csv tells, without a verdict: it does not know single images."""
    found = []
    for by, (title, column, about) in STRATA.items():
        tables = {
            cell: [_stratum_scores([row for row in run.strata if row["by"] == by], column) for run in runs]
            for cell, runs in cells.items()
        }
        columns = list(dict.fromkeys(name for runs in tables.values() for run in runs for name in run))
        if columns:
            rows = [
                (cell, [_spread([run.get(name, math.nan) for run in runs]) for name in columns])
                for cell, runs in tables.items()
            ]
            found.append(Breakdown(by, title, f"{about}.", columns, rows, False, column != "error_rate", ()))
    return found


def _stratum_scores(rows: Sequence[Line], column: str) -> dict[str, float]:
    """Stratum → its number, in their order; those without pixels are left out."""
    found: dict[str, float] = {}
    order = sorted({(int(row["position"]), row["stratum"]) for row in rows})
    for _, stratum in order:
        part = [row for row in rows if row["stratum"] == stratum]
        if column == "error_rate":
            part = [row for row in part if row["class"] == "all"]
        if column == "iou":
            known = [float(row["iou"]) for row in part if row["iou"]]
            found[stratum] = float(np.mean(known)) if known else math.nan
        else:
            pixels, wrong = (sum(float(row[name] or 0) for row in part) for name in ("pixels", "wrong"))
            found[stratum] = (
                math.nan if pixels == 0 else wrong / pixels if column == "error_rate" else 1 - wrong / pixels
            )
    return found


def _figure(verdict: Verdict, cell: str) -> BreakdownValue:
    standing = next(standing for standing in verdict.standings if standing.name == cell)
    return BreakdownValue(standing.mean, standing.sd, verdict.is_decided and verdict.best == [cell])


def _spread(values: Sequence[float]) -> BreakdownValue:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return BreakdownValue(math.nan, None, False)
    return BreakdownValue(float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None, False)
