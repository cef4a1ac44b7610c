"""The section on errors: by distance to a border, by size and by number of objects, and by image."""

import math
import statistics
from collections.abc import Callable

from losslab.formats import ABSENT, format_cell_percent, format_count, format_percent, format_plural, format_score
from losslab.io.files import parse_number
from losslab.reporting.components.axes import Axis
from losslab.reporting.components.charts import Chart, ChartSeries
from losslab.reporting.components.heatmap import Heatmap, HeatmapCell
from losslab.reporting.run.inputs import Line, ReportInputs, select_split

ANY_CLASS = "all"
"""Class of the rows about pixels of any class."""
BINS = 20
NEAR_POSITION = 2
"""Position of the stratum that ends 4 px from a border."""


def build_error_heatmaps(outs: ReportInputs) -> list[Heatmap]:
    """Build the tables of the test images' errors that have rows in strata.csv."""
    heatmaps = []
    if rows := _select_rows(outs, "border_distance"):
        heatmaps.append(_build_border_distance(rows, compute_near_border(outs)))
    if rows := _select_rows(outs, "object_size"):
        heatmaps.append(_build_object_size(rows))
    if rows := _select_rows(outs, "object_count"):
        heatmaps.append(_build_object_count(rows))
    return heatmaps


def compute_near_border(outs: ReportInputs) -> float:
    """Compute the share of wrong pixels within 4 px of a border between true classes; NaN if none is wrong."""
    rows = [row for row in _select_rows(outs, "border_distance") if row["class"] == ANY_CLASS]
    wrong = sum(_read_count(row, "wrong") for row in rows)
    near = sum(_read_count(row, "wrong") for row in rows if parse_number(row["position"]) <= NEAR_POSITION)
    return near / wrong if wrong else math.nan


def describe_near_border(near: float) -> str:
    """Describe the share of wrong pixels near a border as a clause."""
    if near < 0.5:
        return f"{format_percent(1 - near)} % of the wrong pixels lie more than 4 px from any border: entire areas are wrong"
    return f"{format_percent(near)} % of the wrong pixels lie within 4 px of a border between classes"


def _build_border_distance(rows: list[Line], near: float) -> Heatmap:
    def describe(row: Line) -> str:
        wrong, pixels = format_count(_read_count(row, "wrong")), format_count(_read_count(row, "pixels"))
        rate = format_percent(parse_number(row["error_rate"]))
        return f"{row['class']}, {row['stratum']} from a border: {wrong} of {pixels} pixels are wrong, {rate} %."

    return Heatmap(
        id="errors-border",
        title="Errors by distance to the nearest border",
        reading="No pixel is wrong." if math.isnan(near) else f"{describe_near_border(near)}.",
        rows_are="true class",
        columns_are="distance to the nearest border between true classes, in pixels",
        unit="% of the pixels that are wrong",
        columns=_list_strata(rows),
        rows=_arrange_cells(rows, "error_rate", format_cell_percent, describe),
        tone="wrong",
    )


def _build_object_size(rows: list[Line]) -> Heatmap:
    def describe(row: Line) -> str:
        counts = [format_plural(int(_read_count(row, f"{noun}s")), noun) for noun in ("object", "image")]
        correct = f"{format_percent(parse_number(row['recall']))} % of their pixels are predicted correctly"
        return f"{row['class']}, {row['stratum']}: {' in '.join(counts)}; {correct}."

    known = [row for row in rows if not math.isnan(parse_number(row["recall"]))]
    worst = min(known, key=lambda row: parse_number(row["recall"]), default=None)
    reading = "The test images contain no objects."
    if worst is not None:
        share = format_percent(parse_number(worst["recall"]))
        reading = f"Lowest: {worst['class']}, {worst['stratum']}, with {share} % of the pixels predicted correctly."
    return Heatmap(
        id="errors-size",
        title="Recall by size of the object",
        reading=reading,
        rows_are="true class",
        columns_are="connected area as a share of the image: tiny is under 0.1 %, small under 1 %, medium under 10 %",
        unit="% of the objects' pixels that are predicted correctly",
        columns=_list_strata(rows),
        rows=_arrange_cells(rows, "recall", format_cell_percent, describe),
        tone="right",
    )


def _build_object_count(rows: list[Line]) -> Heatmap:
    def describe(row: Line) -> str:
        iou, images = format_score(parse_number(row["iou"])), format_plural(int(_read_count(row, "images")), "image")
        return f"{row['class']}, {row['stratum']} in the image: IoU {iou} over {images}."

    return Heatmap(
        id="errors-count",
        title="IoU by number of objects in the image",
        reading="In an image without a class, a single pixel predicted as that class makes its IoU 0.",
        rows_are="class",
        columns_are="connected areas of that class in the image",
        unit="IoU over all these images, 0 to 1",
        columns=_list_strata(rows),
        rows=_arrange_cells(rows, "iou", lambda iou: format_score(iou, 2), describe),
        tone="right",
    )


def build_histogram(outs: ReportInputs) -> Chart | None:
    """Build a histogram of the mIoU of each test image; None if no image has one."""
    scores = outs.read_image_scores("test")
    if not scores:
        return None
    counts = [0.0] * BINS
    for one in scores:
        counts[min(int(one * BINS), BINS - 1)] += 1
    median = statistics.median(scores)
    low = sum(one < 0.5 for one in scores)
    below = format_plural(low, "image scores", "images score") if low else "none scores"
    middles = [(index + 0.5) / BINS for index in range(BINS)]
    return Chart(
        id="chart-images",
        title="Test images by their mIoU",
        reading=f"Half of the test images score above {format_score(median)}; {below} below 0.5.",
        x=Axis("mIoU of the image (0 to 1)", 0.0, 1.0),
        y=Axis("number of images", 0.0, max(counts) * 1.08, integer=True),
        series=[ChartSeries(name="test images", xs=middles, ys=counts, kind="bars")],
        marks=[(median, "median")],
        at=[f"{index / BINS:.2f}–{(index + 1) / BINS:.2f}" for index in range(BINS)],
    )


def _select_rows(outs: ReportInputs, by: str) -> list[Line]:
    return [row for row in select_split(outs.strata, "test") if row["by"] == by]


def _list_strata(rows: list[Line]) -> list[str]:
    order = {row["stratum"]: parse_number(row["position"]) for row in rows}
    return sorted(order, key=order.__getitem__)


def _arrange_cells(
    rows: list[Line], score: str, write: Callable[[float], str], describe: Callable[[Line], str]
) -> list[tuple[str, list[HeatmapCell]]]:
    """Arrange the cells as a row for all pixels, and a row for each class in the order of the file."""
    nothing = HeatmapCell(ABSENT, math.nan, "The test images contain nothing of this kind.")
    cells = {}
    for row in rows:
        value = parse_number(row[score])
        cells[row["class"], row["stratum"]] = HeatmapCell(write(value), value, describe(row))
    names = sorted(dict.fromkeys(row["class"] for row in rows), key=lambda name: name != ANY_CLASS)
    return [(name, [cells.get((name, stratum), nothing) for stratum in _list_strata(rows)]) for name in names]


def _read_count(row: Line, name: str) -> float:
    return parse_number(row[name] or "0")
