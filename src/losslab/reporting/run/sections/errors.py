"""The section on errors: by distance to a border, by size of the object, and by number of objects."""

import math
from collections.abc import Callable

from losslab.formats import ABSENT, format_cell_percent, format_count, format_percent, format_plural, format_score
from losslab.io.files import parse_number
from losslab.reporting.components.heatmap import Heatmap, HeatmapCell
from losslab.reporting.run.inputs import Line, ReportInputs, select_split

ANY_CLASS = "all"
"""Class of the rows about pixels of any class."""
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
    def build_cell(row: Line) -> HeatmapCell:
        rate = parse_number(row["error_rate"])
        wrong, pixels = format_count(_read_count(row, "wrong")), format_count(_read_count(row, "pixels"))
        where = f"{row['class']}, {row['stratum']} from a border"
        return HeatmapCell(
            format_cell_percent(rate), rate, f"{where}: {wrong} of {pixels} pixels are wrong, {format_percent(rate)} %."
        )

    return Heatmap(
        id="errors-border",
        title="Errors by distance to the nearest border",
        reading="No pixel is wrong." if math.isnan(near) else f"{describe_near_border(near)}.",
        rows_are="true class",
        columns_are="distance to the nearest border between true classes, in pixels",
        unit="% of the pixels that are wrong",
        columns=_list_strata(rows),
        rows=_arrange_cells(rows, build_cell),
        tone="wrong",
    )


def _build_object_size(rows: list[Line]) -> Heatmap:
    def build_cell(row: Line) -> HeatmapCell:
        recall = parse_number(row["recall"])
        counts = [format_plural(int(_read_count(row, f"{noun}s")), noun) for noun in ("object", "image")]
        return HeatmapCell(
            format_cell_percent(recall),
            recall,
            f"{row['class']}, {row['stratum']}: {' in '.join(counts)}; {format_percent(recall)} % of their pixels are "
            "predicted correctly.",
        )

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
        rows=_arrange_cells(rows, build_cell),
        tone="right",
    )


def _build_object_count(rows: list[Line]) -> Heatmap:
    def build_cell(row: Line) -> HeatmapCell:
        iou, images = parse_number(row["iou"]), format_plural(int(_read_count(row, "images")), "image")
        return HeatmapCell(
            format_score(iou, 2),
            iou,
            f"{row['class']}, {row['stratum']} in the image: IoU {format_score(iou)} over {images}.",
        )

    return Heatmap(
        id="errors-count",
        title="IoU by number of objects in the image",
        reading="In an image without a class, a single pixel predicted as that class makes its IoU 0.",
        rows_are="class",
        columns_are="connected areas of that class in the image",
        unit="IoU over all these images, 0 to 1",
        columns=_list_strata(rows),
        rows=_arrange_cells(rows, build_cell),
        tone="right",
    )


def _select_rows(outs: ReportInputs, by: str) -> list[Line]:
    return [row for row in select_split(outs.strata, "test") if row["by"] == by]


def _list_strata(rows: list[Line]) -> list[str]:
    order = {row["stratum"]: parse_number(row["position"]) for row in rows}
    return sorted(order, key=order.__getitem__)


def _arrange_cells(rows: list[Line], build_cell: Callable[[Line], HeatmapCell]) -> list[tuple[str, list[HeatmapCell]]]:
    """Arrange the cells as a row for all pixels, and a row for each class in the order of the file."""
    cells = {(row["class"], row["stratum"]): build_cell(row) for row in rows}
    nothing = HeatmapCell(ABSENT, math.nan, "The test images contain nothing of this kind.")
    names = sorted(dict.fromkeys(row["class"] for row in rows), key=lambda name: name != ANY_CLASS)
    return [(name, [cells.get((name, stratum), nothing) for stratum in _list_strata(rows)]) for name in names]


def _read_count(row: Line, name: str) -> float:
    return parse_number(row[name] or "0")
