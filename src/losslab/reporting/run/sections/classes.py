"""The table of classes: their scores on test, val and the sample of training images."""

import math
from dataclasses import dataclass

from losslab.formats import format_count, format_percent, format_score, format_sort_key
from losslab.reporting.run.inputs import ReportInputs


@dataclass(frozen=True)
class ClassRow:
    name: str
    colour: tuple[int, int, int]
    bars: list[tuple[str, float, str]]
    """IoU of each split as its name, a share of 1 for the bar, and text."""
    sort: str
    cells: list[tuple[str, str]]
    """Text, and the number to sort by: empty without one, and such rows come last."""


@dataclass(frozen=True)
class ClassTable:
    columns: list[tuple[str, str]]
    """Title and meaning of each."""
    rows: list[ClassRow]
    reading: str


def build_class_table(outs: ReportInputs) -> ClassTable:
    """Build the table of classes, those with the highest test IoU first and those without one last."""
    columns = _list_columns(outs)
    rows = [
        _build_row(outs, name, tuple(colour), list(columns))
        for name, colour in zip(outs.classes, outs.model["palette"], strict=True)
    ]
    rows.sort(key=lambda row: -float(row.sort or -1))
    return ClassTable(list(columns.values()), rows, _describe_extremes(outs))


def _list_columns(outs: ReportInputs) -> dict[str, tuple[str, str]]:
    """List key → title and meaning of the columns that per_class.csv has, or which follow from it."""
    keys = list(outs.per_class[0]) if outs.per_class else []
    tolerances = [key.removeprefix("surface_dice_") for key in keys if key.startswith("surface_dice_")]
    within = "share of the border within this tolerance"
    columns = {
        "train": ("IoU train", "on a sample of the training images, without augmentation"),
        "dice": ("Dice", "2 · overlap / (truth + prediction)"),
        "precision": ("precision", "share of the pixels predicted as this class that are correct"),
        "recall": ("recall", "share of the pixels of this class that are predicted as such"),
        "boundary_iou": ("boundary IoU", "IoU of thin bands along the borders"),
        **{f"surface_dice_{pixels}": (f"surface Dice {pixels} px", within) for pixels in tolerances},
        "hd95": ("HD95, px", "95 % of the border is closer than this to the true border; mean over images"),
        **{key: (facts["title"], "a metric of this project") for key, facts in outs.own_metrics.items()},
        "share": ("% of pixels", "share of the test images' true pixels"),
        "images": ("images", "test images that contain the class"),
    }
    return {key: words for key, words in columns.items() if key in (*keys, "train", "share")}


def _build_row(outs: ReportInputs, name: str, colour: tuple[int, int, int], keys: list[str]) -> ClassRow:
    test = outs.read_class("test", name)
    ious = {split: outs.read_class(split, name).get("iou", math.nan) for split in ("test", "val", "train")}
    bars = [(split, 0.0 if math.isnan(iou) else iou, format_score(iou)) for split, iou in list(ious.items())[:2]]
    total = sum(outs.read_class_scores("test", "support").values())
    numbers = test | {"train": ious["train"], "share": test.get("support", math.nan) / total if total else math.nan}
    values = [(key, numbers.get(key, math.nan)) for key in keys]
    cells = [(_format_cell(key, value), format_sort_key(value)) for key, value in values]
    return ClassRow(name, colour, bars, format_sort_key(ious["test"]), cells)


def _format_cell(key: str, value: float) -> str:
    if key == "share":
        return format_percent(value)
    if key == "images":
        return format_count(value) if not math.isnan(value) else format_score(value)
    return format_score(value, 1 if key == "hd95" else 3)


def _describe_extremes(outs: ReportInputs) -> str:
    scores = outs.read_class_scores("test")
    if not scores:
        return "No class is in the test images or their predictions."
    best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    if best == worst:
        return f"Only {best} is in the test images or their predictions."
    left_out = [name for name in outs.classes if name not in scores]
    extremes = f"Best: {best} ({format_score(scores[best])}). Worst: {worst} ({format_score(scores[worst])})."
    return extremes + (f" In neither truth nor prediction, so in no mean: {', '.join(left_out)}." if left_out else "")
