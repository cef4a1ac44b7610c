"""Where the errors are: by distance to a border, by size of the object, by number of objects."""

import math
from collections.abc import Callable

from losslab.formats import format_cell_percent, format_count, format_percent, format_plural, format_score
from losslab.io.files import parse_number
from losslab.reporting.components.heatmap import Heatmap, HeatmapCell
from losslab.reporting.run.outs import Line, ReportInputs, select_split

ALL = "all"
"""The class of the rows about pixels of any class."""
NEAR = 2
"""Position of the stratum that ends 4 px from a border."""


def build_error_heatmaps(outs: ReportInputs) -> list[Heatmap]:
    """Of the test images; those without a row in strata.csv are left out."""
    found = []
    if rows := _rows(outs, "border_distance"):
        found.append(_by_border_distance(rows, compute_near_border(outs)))
    if rows := _rows(outs, "object_size"):
        found.append(_by_object_size(rows))
    if rows := _rows(outs, "object_count"):
        found.append(_by_object_count(rows))
    return found


def compute_near_border(outs: ReportInputs) -> float:
    """Share of the wrong pixels that lie within 4 px of a border between true classes; NaN if none is wrong."""
    rows = [row for row in _rows(outs, "border_distance") if row["class"] == ALL]
    wrong = sum(_part(row, "wrong") for row in rows)
    return (
        sum(_part(row, "wrong") for row in rows if parse_number(row["position"]) <= NEAR) / wrong if wrong else math.nan
    )


def describe_near_border(near: float) -> str:
    """What that share says, as a clause."""
    if near < 0.5:
        return f"{format_percent(1 - near)} % of the wrong pixels lie farther than 4 px from any border: whole areas are wrong"
    return f"{format_percent(near)} % of the wrong pixels lie within 4 px of a border between classes"


def _by_border_distance(rows: list[Line], near: float) -> Heatmap:
    def cell(row: Line) -> HeatmapCell:
        rate = parse_number(row["error_rate"])
        wrong, pixels = format_count(_part(row, "wrong")), format_count(_part(row, "pixels"))
        where = f"{row['class']}, {row['stratum']} from a border"
        return HeatmapCell(
            format_cell_percent(rate), rate, f"{where}: {wrong} of {pixels} pixels are wrong, {format_percent(rate)} %."
        )

    return Heatmap(
        "errors-border",
        "Error by distance to the nearest border",
        "No pixel is wrong." if math.isnan(near) else f"{describe_near_border(near)}.",
        "true class",
        "distance to the nearest border between true classes, in pixels",
        "% of the pixels that are wrong",
        _strata(rows),
        _cells(rows, cell),
        "wrong",
    )


def _by_object_size(rows: list[Line]) -> Heatmap:
    def cell(row: Line) -> HeatmapCell:
        recall = parse_number(row["recall"])
        of = f"{format_plural(int(_part(row, 'objects')), 'object')} in {format_plural(int(_part(row, 'images')), 'image')}"
        return HeatmapCell(
            format_cell_percent(recall),
            recall,
            f"{row['class']}, {row['stratum']}: {of}; {format_percent(recall)} % of their pixels are found.",
        )

    known = [row for row in rows if not math.isnan(parse_number(row["recall"]))]
    worst = min(known, key=lambda row: parse_number(row["recall"]), default=None)
    reading = "No object is in the test images."
    if worst is not None:
        share = format_percent(parse_number(worst["recall"]))
        reading = f"Least is found of {worst['class']}, {worst['stratum']}: {share} % of the pixels."
    return Heatmap(
        "errors-size",
        "Found, by size of the object",
        reading,
        "true class",
        "connected area as a share of the image: tiny is under 0.1 %, small under 1 %, medium under 10 %",
        "% of the objects' pixels that are found",
        _strata(rows),
        _cells(rows, cell),
        "right",
    )


def _by_object_count(rows: list[Line]) -> Heatmap:
    def cell(row: Line) -> HeatmapCell:
        iou, images = parse_number(row["iou"]), format_plural(int(_part(row, "images")), "image")
        return HeatmapCell(
            format_score(iou, 2),
            iou,
            f"{row['class']}, {row['stratum']} in the image: IoU {format_score(iou)} over {images}.",
        )

    return Heatmap(
        "errors-count",
        "IoU, by number of objects in the image",
        "Where an image has none of a class, one pixel called so makes its IoU 0.",
        "class",
        "connected areas of that class in the image",
        "IoU over those images together, 0 to 1",
        _strata(rows),
        _cells(rows, cell),
        "right",
    )


def _rows(outs: ReportInputs, by: str) -> list[Line]:
    return [row for row in select_split(outs.strata, "test") if row["by"] == by]


def _strata(rows: list[Line]) -> list[str]:
    order = {row["stratum"]: parse_number(row["position"]) for row in rows}
    return sorted(order, key=order.__getitem__)


def _cells(rows: list[Line], cell: Callable[[Line], HeatmapCell]) -> list[tuple[str, list[HeatmapCell]]]:
    """A row of cells for all pixels, and for each class in the order of the file."""
    found = {(row["class"], row["stratum"]): cell(row) for row in rows}
    nothing = HeatmapCell("–", math.nan, "Nothing of this kind is in the test images.")
    names = sorted(dict.fromkeys(row["class"] for row in rows), key=lambda name: name != ALL)
    return [(name, [found.get((name, stratum), nothing) for stratum in _strata(rows)]) for name in names]


def _part(row: Line, name: str) -> float:
    return parse_number(row[name] or "0")
