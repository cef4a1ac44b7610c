"""The scores of each class, test beside val and the sample of training images."""

import math
from dataclasses import dataclass

from losslab.formats import format_count, format_percent, format_score
from losslab.reporting.run.outs import ReportInputs


@dataclass(frozen=True)
class ClassColumn:
    key: str
    title: str
    meaning: str


@dataclass(frozen=True)
class ClassCell:
    text: str
    sort: str
    """A number, or nothing: such rows come last."""


@dataclass(frozen=True)
class ClassRow:
    name: str
    colour: tuple[int, int, int]
    bars: list[tuple[str, float, str]]
    """Split, share of 1 and number, of the IoU."""
    sort: str
    cells: list[ClassCell]


@dataclass(frozen=True)
class ClassTable:
    columns: list[ClassColumn]
    rows: list[ClassRow]
    reading: str


def build_class_table(outs: ReportInputs) -> ClassTable:
    """The classes by their test IoU, the best first; those without one last."""
    columns = _columns(outs)
    rows = [
        _row(outs, name, tuple(colour), columns)
        for name, colour in zip(outs.classes, outs.model["palette"], strict=True)
    ]
    rows.sort(key=lambda row: -float(row.sort or -1))
    return ClassTable(columns, rows, _reading(outs))


def _columns(outs: ReportInputs) -> list[ClassColumn]:
    keys = list(outs.per_class[0]) if outs.per_class else []
    found = [
        ClassColumn("train", "IoU train", "on a sample of the training images, as they are"),
        ClassColumn("dice", "Dice", "2·overlap / (truth + prediction)"),
        ClassColumn("precision", "precision", "of the pixels called so, how many are"),
        ClassColumn("recall", "recall", "of the pixels that are, how many were found"),
        ClassColumn("boundary_iou", "boundary IoU", "IoU of thin bands along the borders"),
    ]
    found += [
        ClassColumn(
            key, f"surface Dice {key.removeprefix('surface_dice_')} px", "share of the border within that tolerance"
        )
        for key in keys
        if key.startswith("surface_dice_")
    ]
    found += [
        ClassColumn("hd95", "HD95, px", "95 % of the border is nearer than this to the true one, mean over images"),
        ClassColumn("share", "% of pixels", "of the test images' true pixels"),
        ClassColumn("images", "images", "test images that have the class"),
    ]
    return [column for column in found if column.key in (*keys, "train", "share")]


def _row(outs: ReportInputs, name: str, colour: tuple[int, int, int], columns: list[ClassColumn]) -> ClassRow:
    test = outs.of_class("test", name)
    bars = [
        (split, _or_zero(iou), format_score(iou))
        for split in ("test", "val")
        for iou in [outs.of_class(split, name).get("iou", math.nan)]
    ]
    total = sum(outs.class_scores("test", "support").values())
    numbers = test | {
        "train": outs.of_class("train", name).get("iou", math.nan),
        "share": test.get("support", math.nan) / total if total else math.nan,
    }
    cells = [
        ClassCell(_told(column.key, numbers.get(column.key, math.nan)), _sort(numbers.get(column.key, math.nan)))
        for column in columns
    ]
    return ClassRow(name, colour, bars, _sort(test.get("iou", math.nan)), cells)


def _told(key: str, value: float) -> str:
    if key == "share":
        return format_percent(value)
    if key == "images":
        return format_count(value) if not math.isnan(value) else format_score(value)
    return format_score(value, 1 if key == "hd95" else 3)


def _sort(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _reading(outs: ReportInputs) -> str:
    scores = outs.class_scores("test")
    if not scores:
        return "No class is in the test images or their predictions."
    best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    if best == worst:
        return f"Only {best} is in the test images or their predictions."
    left_out = [name for name in outs.classes if name not in scores]
    told = f"{best} is segmented best ({format_score(scores[best])}), {worst} worst ({format_score(scores[worst])})."
    return told + (f" In neither truth nor prediction, and in no mean: {', '.join(left_out)}." if left_out else "")
