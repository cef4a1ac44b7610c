"""Where the errors are: by distance to a border, by size of the object, by number of objects."""

import math
from collections.abc import Callable

from losslab.reporting.formats import cell_percent, count, percent, plural, score
from losslab.reporting.heat import Cell, Heat
from losslab.reporting.outs import Line, Outs, number, of_split

ALL = "all"
"""The class of the rows about pixels of any class."""
NEAR = 2
"""Position of the stratum that ends 4 px from a border."""


def where_errors_are(outs: Outs) -> list[Heat]:
    """Of the test images; those without a row in strata.csv are left out."""
    found = []
    if rows := _rows(outs, "border_distance"):
        found.append(_by_border_distance(rows, near_border(outs)))
    if rows := _rows(outs, "object_size"):
        found.append(_by_object_size(rows))
    if rows := _rows(outs, "object_count"):
        found.append(_by_object_count(rows))
    return found


def near_border(outs: Outs) -> float:
    """Share of the wrong pixels that lie within 4 px of a border between true classes; NaN if none is wrong."""
    rows = [row for row in _rows(outs, "border_distance") if row["class"] == ALL]
    wrong = sum(_part(row, "wrong") for row in rows)
    return sum(_part(row, "wrong") for row in rows if number(row["position"]) <= NEAR) / wrong if wrong else math.nan


def told_near(near: float) -> str:
    """What that share says, as a clause."""
    if near < 0.5:
        return f"{percent(1 - near)} % of the wrong pixels lie farther than 4 px from any border: whole areas are wrong"
    return f"{percent(near)} % of the wrong pixels lie within 4 px of a border between classes"


def _by_border_distance(rows: list[Line], near: float) -> Heat:
    def cell(row: Line) -> Cell:
        rate = number(row["error_rate"])
        wrong, pixels = count(_part(row, "wrong")), count(_part(row, "pixels"))
        where = f"{row['class']}, {row['stratum']} from a border"
        return Cell(cell_percent(rate), rate, f"{where}: {wrong} of {pixels} pixels are wrong, {percent(rate)} %.")

    return Heat(
        "errors-border",
        "Error by distance to the nearest border",
        "No pixel is wrong." if math.isnan(near) else f"{told_near(near)}.",
        "true class",
        "distance to the nearest border between true classes, in pixels",
        "% of the pixels that are wrong",
        _strata(rows),
        _cells(rows, cell),
        "wrong",
    )


def _by_object_size(rows: list[Line]) -> Heat:
    def cell(row: Line) -> Cell:
        recall = number(row["recall"])
        of = f"{plural(int(_part(row, 'objects')), 'object')} in {plural(int(_part(row, 'images')), 'image')}"
        return Cell(
            cell_percent(recall),
            recall,
            f"{row['class']}, {row['stratum']}: {of}; {percent(recall)} % of their pixels are found.",
        )

    known = [row for row in rows if not math.isnan(number(row["recall"]))]
    worst = min(known, key=lambda row: number(row["recall"]), default=None)
    reading = "No object is in the test images."
    if worst is not None:
        reading = f"Least is found of {worst['class']}, {worst['stratum']}: {percent(number(worst['recall']))} % of the pixels."
    return Heat(
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


def _by_object_count(rows: list[Line]) -> Heat:
    def cell(row: Line) -> Cell:
        iou, images = number(row["iou"]), plural(int(_part(row, "images")), "image")
        return Cell(
            score(iou, 2), iou, f"{row['class']}, {row['stratum']} in the image: IoU {score(iou)} over {images}."
        )

    return Heat(
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


def _rows(outs: Outs, by: str) -> list[Line]:
    return [row for row in of_split(outs.strata, "test") if row["by"] == by]


def _strata(rows: list[Line]) -> list[str]:
    order = {row["stratum"]: number(row["position"]) for row in rows}
    return sorted(order, key=order.__getitem__)


def _cells(rows: list[Line], cell: Callable[[Line], Cell]) -> list[tuple[str, list[Cell]]]:
    """A row of cells for all pixels, and for each class in the order of the file."""
    found = {(row["class"], row["stratum"]): cell(row) for row in rows}
    nothing = Cell("–", math.nan, "Nothing of this kind is in the test images.")
    names = sorted(dict.fromkeys(row["class"] for row in rows), key=lambda name: name != ALL)
    return [(name, [found.get((name, stratum), nothing) for stratum in _strata(rows)]) for name in names]


def _part(row: Line, name: str) -> float:
    return number(row[name] or "0")
