"""The test images' confusion matrix, as shares of truth (recall) and of prediction (precision)."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from losslab.formats import format_cell_percent, format_count, format_percent
from losslab.io.files import parse_number
from losslab.reporting.components.heatmap import Heatmap, HeatmapCell
from losslab.reporting.run.outs import ReportInputs, select_split

MOST = 30
"""Classes that a matrix on a page may have; the rarest of more are added up."""
Counts = npt.NDArray[np.int64]


def build_confusion(outs: ReportInputs) -> list[tuple[str, Heatmap]]:
    """What is normalised, with its matrix."""
    names, counts = _counts(outs)
    return [
        ("by truth (recall)", _by_truth(names, counts)),
        ("by prediction (precision)", _by_prediction(names, counts)),
    ]


def _counts(outs: ReportInputs) -> tuple[list[str], Counts]:
    """Truth × prediction, in pixels."""
    rows = select_split(outs.confusion, "test")
    names = outs.classes
    counts = np.array([[int(parse_number(row[name])) for name in names] for row in rows], np.int64)
    if len(names) <= MOST:
        return names, counts
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    shown, rest = np.sort(order[: MOST - 1]), np.sort(order[MOST - 1 :])
    groups = [[index] for index in shown.tolist()] + [rest.tolist()]
    folded = np.array([[counts[np.ix_(a, b)].sum() for b in groups] for a in groups], np.int64)
    return [*(names[index] for index in shown), f"{len(rest)} other classes"], folded


def _by_truth(names: list[str], counts: Counts) -> Heatmap:
    totals = counts.sum(axis=1)
    rows = []
    for i, truth in enumerate(names):
        cells = [
            _cell(
                counts[i, j],
                totals[i],
                f"{truth}, predicted as {predicted}: {format_count(counts[i, j])} pixels, ",
                f" % of all {truth}",
            )
            for j, predicted in enumerate(names)
        ]
        rows.append((truth, cells))
    shares = counts / np.maximum(totals, 1)[:, None]
    reading = _worst(
        names, shares, lambda row, column, share: f"{row} is most often taken for {column}: {share} % of its pixels."
    )
    return _heat(
        "confusion-truth",
        "Where the pixels of each class went",
        reading,
        names,
        rows,
        "% of the true class; a row adds up to 100",
    )


def _by_prediction(names: list[str], counts: Counts) -> Heatmap:
    totals = counts.sum(axis=0)
    rows = []
    for i, truth in enumerate(names):
        cells = [
            _cell(
                counts[i, j],
                totals[j],
                f"{predicted} predicted where {truth} is: {format_count(counts[i, j])} pixels, ",
                f" % of all predicted {predicted}",
            )
            for j, predicted in enumerate(names)
        ]
        rows.append((truth, cells))
    shares = counts / np.maximum(totals, 1)[None, :]
    reading = _worst(names, shares, lambda row, column, share: f"{share} % of what is called {column} is {row}.")
    return _heat(
        "confusion-prediction",
        "What is behind each prediction",
        reading,
        names,
        rows,
        "% of the predicted class; a column adds up to 100",
    )


def _cell(pixels: int, total: int, before: str, after: str) -> HeatmapCell:
    share = float(pixels / total) if total else math.nan
    return HeatmapCell(format_cell_percent(share), share, f"{before}{format_percent(share)}{after}.")


def _worst(names: list[str], shares: npt.NDArray[np.float64], sentence: Callable[[str, str, str], str]) -> str:
    off = shares * (1 - np.eye(len(names)))
    if not off.any():
        return "No pixel is in the wrong class."
    row, column = np.unravel_index(int(off.argmax()), off.shape)
    return sentence(names[row], names[column], format_percent(float(off[row, column])))


def _heat(
    name: str, title: str, reading: str, names: list[str], rows: list[tuple[str, list[HeatmapCell]]], unit: str
) -> Heatmap:
    return Heatmap(name, title, reading, "true class", "predicted class", unit, names, rows, "right")
