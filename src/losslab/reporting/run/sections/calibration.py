"""The section on the net's confidence: how well it matches accuracy, and the scores at other thresholds."""

import math

from losslab.formats import format_percent, format_score
from losslab.io.files import parse_number
from losslab.reporting.components.axes import Axis
from losslab.reporting.components.charts import Chart, ChartSeries
from losslab.reporting.run.inputs import Line, ReportInputs, read_column, select_split

SPLITS = ("test", "val")
MAX_SWEEPS = 30
"""Threshold sweeps on a page."""
MIN_CONFIDENCE_GAP = 0.005
"""Difference between mean confidence and accuracy below which neither is called higher."""


def build_calibration(outs: ReportInputs) -> list[Chart]:
    """Build the reliability diagram and the histogram of confidence; none if calibration.csv has no rows."""
    return [_build_reliability(outs), _build_histogram(outs)] if select_split(outs.calibration, "test") else []


def build_thresholds(outs: ReportInputs) -> list[tuple[str, Chart]]:
    """Build the threshold sweep on the test images of each class in thresholds.csv, of the weakest if there are many."""
    swept = {row["class"] for row in select_split(outs.thresholds, "test")}
    names = [name for name in outs.find_weakest(MAX_SWEEPS) if name in swept]
    return [(name, _build_sweep(outs, index, name)) for index, name in enumerate(names)]


def _build_reliability(outs: ReportInputs) -> Chart:
    bins = {split: select_split(outs.calibration, split) for split in SPLITS}
    series = [
        ChartSeries(
            name=split, xs=read_column(rows, "confidence"), ys=read_column(rows, "accuracy"), style=SPLITS.index(split)
        )
        for split, rows in bins.items()
    ]
    ece, gap = outs.read_score("test", "ece"), compute_overconfidence(outs, "test")
    direction = f", and the net is {'over' if gap > 0 else 'under'}confident" if abs(gap) >= MIN_CONFIDENCE_GAP else ""
    return Chart(
        id="chart-reliability",
        title="Reliability",
        reading=f"ECE {format_score(ece)} on test: confidence and accuracy differ by {format_percent(ece)} percentage points "
        f"on average{direction}. On the dashed line they are equal.",
        x=Axis("mean confidence of the bin (0 to 1)", 0.0, 1.0),
        y=Axis("accuracy: share of its pixels that are correct", 0.0, 1.0),
        series=series,
        diagonal=True,
        at=[f"{row['lower'][:4]}–{row['upper'][:4]}" for row in bins["test"]],
    )


def _build_histogram(outs: ReportInputs) -> Chart:
    rows = select_split(outs.calibration, "test")
    pixels = read_column(rows, "pixels")
    shares = [100 * part / max(sum(pixels), 1) for part in pixels]
    middles = [(parse_number(row["lower"]) + parse_number(row["upper"])) / 2 for row in rows]
    highest = f"{parse_number(rows[-1]['lower']):.2f}"
    return Chart(
        id="chart-confidences",
        title="How confident the net is",
        reading=f"{format_percent(shares[-1] / 100)} % of the test pixels are predicted with a confidence above {highest}.",
        x=Axis("confidence (0 to 1)", 0.0, 1.0),
        y=Axis("% of the test pixels", 0.0, max(shares) * 1.05),
        series=[ChartSeries(name="test pixels", xs=middles, ys=shares, kind="bars")],
        at=[f"{row['lower'][:4]}–{row['upper'][:4]}" for row in rows],
    )


def compute_overconfidence(outs: ReportInputs, split: str) -> float:
    """Compute mean confidence minus accuracy over all pixels; NaN without any."""
    rows = [row for row in select_split(outs.calibration, split) if parse_number(row["pixels"])]
    pixels = sum(read_column(rows, "pixels"))
    gaps = [
        (parse_number(row["confidence"]) - parse_number(row["accuracy"])) * parse_number(row["pixels"]) for row in rows
    ]
    return sum(gaps) / pixels if pixels else math.nan


def _build_sweep(outs: ReportInputs, index: int, name: str) -> Chart:
    test, val = ([row for row in select_split(outs.thresholds, split) if row["class"] == name] for split in SPLITS)
    at = read_column(test, "threshold")
    series = [
        ChartSeries(name=title, xs=at, ys=read_column(test, title.lower()), style=style, heavy=title == "IoU")
        for style, title in enumerate(("IoU", "Dice", "precision", "recall"))
    ]
    if val:
        xs, ys = read_column(val, "threshold"), read_column(val, "iou")
        series.append(ChartSeries(name="IoU on val", xs=xs, ys=ys, style=4, dashed=True))
    chosen = [row for row in test if parse_number(row["chosen"])]
    marks = [(parse_number(row["threshold"]), f"best on val: {row['threshold']}") for row in chosen]
    return Chart(
        id=f"chart-threshold-{index}",
        title=f"{name} against the rest, by threshold",
        reading=_describe_sweep(test, chosen),
        x=Axis("threshold of the probability", 0.0, 1.0),
        y=Axis("score on the test images (0 to 1)", 0.0, 1.0),
        series=series,
        marks=marks,
    )


def _describe_sweep(test: list[Line], chosen: list[Line]) -> str:
    if not chosen:
        return "Val has no best threshold: neither its truth nor its prediction contains the class."
    best, half = chosen[0], min(test, key=lambda row: abs(parse_number(row["threshold"]) - 0.5))
    return (
        f"The best threshold on val, {best['threshold']}, gives IoU {format_score(parse_number(best['iou']))} on test; "
        f"0.5 gives {format_score(parse_number(half['iou']))}."
    )
