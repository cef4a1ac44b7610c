"""Whether the net's confidence can be believed, and what another threshold would give."""

import math

from losslab.reporting.axes import Axis
from losslab.reporting.charts import Chart, Mark, Series
from losslab.reporting.formats import percent, score
from losslab.reporting.outs import Line, Outs, column, number, of_split

SPLITS = ("test", "val")
MOST = 30
"""Sweeps on a page."""
LEAST_GAP = 0.005
"""Of mean confidence and accuracy: less has no direction."""


def calibration(outs: Outs) -> list[Chart]:
    """The reliability diagram, and how often each confidence occurs; none without calibration.csv's rows."""
    return [_reliability(outs), _confidences(outs)] if of_split(outs.calibration, "test") else []


def thresholds(outs: Outs) -> list[tuple[str, Chart]]:
    """For each class of thresholds.csv its sweep on the test images; of very many, for the weakest."""
    swept = {row["class"] for row in outs.thresholds}
    names = [name for name in outs.weakest(MOST) if name in swept]
    found = [(name, _sweep(outs, index, name)) for index, name in enumerate(names)]
    return [(name, chart) for name, chart in found if chart is not None]


def _reliability(outs: Outs) -> Chart:
    series = []
    for style, split in enumerate(SPLITS):
        rows = of_split(outs.calibration, split)
        series.append(Series(split, column(rows, "confidence"), column(rows, "accuracy"), style))
    ece = outs.score("test", "ece")
    gap = overconfidence(outs, "test")
    direction = "more" if gap > 0 else "less"
    reading = f"ECE {score(ece)} on test: confidence and accuracy differ by {percent(ece)} percentage points on average"
    reading += f"; the net is {direction} sure than it is right." if abs(gap) >= LEAST_GAP else "."
    return Chart(
        "chart-reliability",
        "Reliability",
        reading + " On the dashed line confidence is what it says.",
        Axis("mean confidence of the bin (0 to 1)", 0.0, 1.0),
        Axis("accuracy: share of its pixels that are right", 0.0, 1.0),
        series,
        diagonal=True,
        at=[f"{row['lower'][:4]}–{row['upper'][:4]}" for row in of_split(outs.calibration, "test")],
    )


def _confidences(outs: Outs) -> Chart:
    rows = of_split(outs.calibration, "test")
    pixels = column(rows, "pixels")
    shares = [100 * part / max(sum(pixels), 1) for part in pixels]
    middles = [(number(row["lower"]) + number(row["upper"])) / 2 for row in rows]
    surest = f"{number(rows[-1]['lower']):.2f}"
    reading = f"{percent(shares[-1] / 100)} % of the test pixels are predicted with a confidence above {surest}."
    return Chart(
        "chart-confidences",
        "How sure the net is",
        reading,
        Axis("confidence (0 to 1)", 0.0, 1.0),
        Axis("% of the test pixels", 0.0, max(shares) * 1.05),
        [Series("test pixels", middles, shares, 0, kind="bars")],
        at=[f"{row['lower'][:4]}–{row['upper'][:4]}" for row in rows],
    )


def overconfidence(outs: Outs, split: str) -> float:
    """Mean confidence less accuracy, over pixels; NaN without any."""
    rows = [row for row in of_split(outs.calibration, split) if number(row["pixels"])]
    pixels = sum(column(rows, "pixels"))
    gaps = [(number(row["confidence"]) - number(row["accuracy"])) * number(row["pixels"]) for row in rows]
    return sum(gaps) / pixels if pixels else math.nan


def _sweep(outs: Outs, index: int, name: str) -> Chart | None:
    test, val = (_of_class(outs, split, name) for split in SPLITS)
    if not test:
        return None
    at = column(test, "threshold")
    series = [
        Series(told, at, column(test, key), style, heavy=key == "iou")
        for style, (key, told) in enumerate(
            [("iou", "IoU"), ("dice", "Dice"), ("precision", "precision"), ("recall", "recall")]
        )
    ]
    if val:
        series.append(Series("IoU on val", column(val, "threshold"), column(val, "iou"), 4, dashed=True))
    chosen = [row for row in test if number(row["chosen"])]
    marks = [Mark(number(row["threshold"]), f"best on val: {row['threshold']}") for row in chosen]
    return Chart(
        f"chart-threshold-{index}",
        f"{name} against the rest, by threshold",
        _told(test, chosen),
        Axis("threshold of the probability", 0.0, 1.0),
        Axis("score on the test images (0 to 1)", 0.0, 1.0),
        series,
        marks,
    )


def _told(test: list[Line], chosen: list[Line]) -> str:
    half = min(test, key=lambda row: abs(number(row["threshold"]) - 0.5))
    if not chosen:
        return "No threshold is best on val: the class is in neither its truth nor its prediction."
    best = chosen[0]
    return (
        f"The threshold that is best on val, {best['threshold']}, gives IoU {score(number(best['iou']))} on test; "
        f"0.5 gives {score(number(half['iou']))}."
    )


def _of_class(outs: Outs, split: str, name: str) -> list[Line]:
    return [row for row in of_split(outs.thresholds, split) if row["class"] == name]
