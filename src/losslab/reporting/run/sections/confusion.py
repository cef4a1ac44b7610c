"""The test images' confusion matrix, as shares of truth (recall) and of prediction (precision)."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from losslab.formats import format_cell_percent, format_count, format_percent
from losslab.io.files import parse_number
from losslab.reporting.components.heatmap import Heatmap, HeatmapCell
from losslab.reporting.run.inputs import ReportInputs, select_split

MAX_CLASSES_SHOWN = 30
"""Classes of a matrix on a page; the rarest of more are added up."""
Counts = npt.NDArray[np.int64]


def build_confusion(outs: ReportInputs) -> list[tuple[str, Heatmap]]:
    """Build the matrix as shares of the truth and as shares of the prediction, each with its name."""
    names, counts = _count_pixels(outs)
    by_truth = _build_heatmap(
        names,
        counts,
        counts.sum(axis=1, keepdims=True),
        "{truth}, predicted as {predicted}: {pixels} pixels, {share} % of all {truth}.",
        "{truth} is most often mistaken for {predicted}: {share} % of its pixels.",
        id="confusion-truth",
        title="What the pixels of each class are predicted as",
        unit="% of the true class; a row adds up to 100",
    )
    by_prediction = _build_heatmap(
        names,
        counts,
        counts.sum(axis=0, keepdims=True),
        "{predicted} predicted where {truth} is: {pixels} pixels, {share} % of all predicted {predicted}.",
        "{share} % of the pixels predicted as {predicted} are {truth}.",
        id="confusion-prediction",
        title="What the pixels of each prediction are",
        unit="% of the predicted class; a column adds up to 100",
    )
    return [("by truth (recall)", by_truth), ("by prediction (precision)", by_prediction)]


def _count_pixels(outs: ReportInputs) -> tuple[list[str], Counts]:
    """Return the names of the classes, and pixels as truth x prediction."""
    rows = select_split(outs.confusion, "test")
    names = outs.classes
    counts = np.array([[int(parse_number(row[name])) for name in names] for row in rows], np.int64)
    if len(names) <= MAX_CLASSES_SHOWN:
        return names, counts
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    shown, rest = np.sort(order[: MAX_CLASSES_SHOWN - 1]), np.sort(order[MAX_CLASSES_SHOWN - 1 :])
    groups = [[index] for index in shown.tolist()] + [rest.tolist()]
    folded = np.array([[counts[np.ix_(a, b)].sum() for b in groups] for a in groups], np.int64)
    return [*(names[index] for index in shown), f"{len(rest)} other classes"], folded


def _build_heatmap(names: list[str], counts: Counts, totals: Counts, detail: str, worst: str, **texts: Any) -> Heatmap:
    """Build a matrix of shares of `totals`, with words that have fields for a cell and for the largest off the diagonal."""
    shares = np.where(totals > 0, counts / np.maximum(totals, 1), math.nan)

    def describe(words: str, i: int, j: int) -> str:
        share, pixels = format_percent(float(shares[i, j])), format_count(counts[i, j])
        return words.format(truth=names[i], predicted=names[j], pixels=pixels, share=share)

    rows = [
        (
            truth,
            [HeatmapCell(format_cell_percent(share), share, describe(detail, i, j)) for j, share in enumerate(row)],
        )
        for i, (truth, row) in enumerate(zip(names, shares.tolist(), strict=True))
    ]
    off = np.nan_to_num(shares) * (1 - np.eye(len(names)))
    i, j = divmod(int(off.argmax()), len(names))
    return Heatmap(
        reading=describe(worst, i, j) if off.any() else "No pixel is in the wrong class.",
        rows_are="true class",
        columns_are="predicted class",
        columns=names,
        rows=rows,
        tone="right",
        **texts,
    )
