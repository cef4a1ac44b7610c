"""Whether the net's confidence can be believed, and what another threshold would give."""

import math

from losslab.formats import format_percent, format_score
from losslab.io.files import parse_number
from losslab.reporting.components.axes import Axis
from losslab.reporting.components.charts import Chart, ChartMark, ChartSeries
from losslab.reporting.run.outs import Line, ReportInputs, read_column, select_split

SPLITS = ("test", "val")
MOST = 30
"""Sweeps on a page."""
LEAST_GAP = 0.005
"""Of mean confidence and accuracy: less has no direction."""


def build_calibration(outs: ReportInputs) -> list[Chart]:
    """The reliability diagram, and how often each confidence occurs; none without calibration.csv's rows."""
    return [_reliability(outs), _confidences(outs)] if select_split(outs.calibration, "test") else []


def build_thresholds(outs: ReportInputs) -> list[tuple[str, Chart]]:
    """For each class of thresholds.csv its sweep on the test images; of very many, for the weakest."""
    swept = {row["class"] for row in outs.thresholds}
    names = [name for name in outs.weakest(MOST) if name in swept]
    found = [(name, _sweep(outs, index, name)) for index, name in enumerate(names)]
    return [(name, chart) for name, chart in found if chart is not None]


def _reliability(outs: ReportInputs) -> Chart:
    series = []
    for style, split in enumerate(SPLITS):
        rows = select_split(outs.calibration, split)
        series.append(ChartSeries(split, read_column(rows, "confidence"), read_column(rows, "accuracy"), style))
    ece = outs.score("test", "ece")
    gap = compute_overconfidence(outs, "test")
    direction = "more" if gap > 0 else "less"
    reading = (
        f"ECE {format_score(ece)} on test: confidence and accuracy differ by {format_percent(ece)} percentage points "
    )
    reading += "on average"
    reading += f"; the net is {direction} sure than it is right." if abs(gap) >= LEAST_GAP else "."
    return Chart(
        "chart-reliability",
        "Reliability",
        reading + " On the dashed line confidence is what it says.",
        Axis("mean confidence of the bin (0 to 1)", 0.0, 1.0),
        Axis("accuracy: share of its pixels that are right", 0.0, 1.0),
        series,
        diagonal=True,
        at=[f"{row['lower'][:4]}–{row['upper'][:4]}" for row in select_split(outs.calibration, "test")],
    )


def _confidences(outs: ReportInputs) -> Chart:
    rows = select_split(outs.calibration, "test")
    pixels = read_column(rows, "pixels")
    shares = [100 * part / max(sum(pixels), 1) for part in pixels]
    middles = [(parse_number(row["lower"]) + parse_number(row["upper"])) / 2 for row in rows]
    surest = f"{parse_number(rows[-1]['lower']):.2f}"
    reading = f"{format_percent(shares[-1] / 100)} % of the test pixels are predicted with a confidence above {surest}."
    return Chart(
        "chart-confidences",
        "How sure the net is",
        reading,
        Axis("confidence (0 to 1)", 0.0, 1.0),
        Axis("% of the test pixels", 0.0, max(shares) * 1.05),
        [ChartSeries("test pixels", middles, shares, 0, kind="bars")],
        at=[f"{row['lower'][:4]}–{row['upper'][:4]}" for row in rows],
    )


def compute_overconfidence(outs: ReportInputs, split: str) -> float:
    """Mean confidence less accuracy, over pixels; NaN without any."""
    rows = [row for row in select_split(outs.calibration, split) if parse_number(row["pixels"])]
    pixels = sum(read_column(rows, "pixels"))
    gaps = [
        (parse_number(row["confidence"]) - parse_number(row["accuracy"])) * parse_number(row["pixels"]) for row in rows
    ]
    return sum(gaps) / pixels if pixels else math.nan


def _sweep(outs: ReportInputs, index: int, name: str) -> Chart | None:
    test, val = (_of_class(outs, split, name) for split in SPLITS)
    if not test:
        return None
    at = read_column(test, "threshold")
    series = [
        ChartSeries(told, at, read_column(test, key), style, heavy=key == "iou")
        for style, (key, told) in enumerate(
            [("iou", "IoU"), ("dice", "Dice"), ("precision", "precision"), ("recall", "recall")]
        )
    ]
    if val:
        series.append(ChartSeries("IoU on val", read_column(val, "threshold"), read_column(val, "iou"), 4, dashed=True))
    chosen = [row for row in test if parse_number(row["chosen"])]
    marks = [ChartMark(parse_number(row["threshold"]), f"best on val: {row['threshold']}") for row in chosen]
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
    half = min(test, key=lambda row: abs(parse_number(row["threshold"]) - 0.5))
    if not chosen:
        return "No threshold is best on val: the class is in neither its truth nor its prediction."
    best = chosen[0]
    return (
        f"The threshold that is best on val, {best['threshold']}, gives IoU {format_score(parse_number(best['iou']))} on test; "
        f"0.5 gives {format_score(parse_number(half['iou']))}."
    )


def _of_class(outs: ReportInputs, split: str, name: str) -> list[Line]:
    return [row for row in select_split(outs.thresholds, split) if row["class"] == name]
