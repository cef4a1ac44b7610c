"""The scores of each class, test beside val and the sample of training images."""

import math
from dataclasses import dataclass

from losslab.reporting.formats import count, percent, score
from losslab.reporting.outs import Outs


@dataclass(frozen=True)
class Column:
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
    columns: list[Column]
    rows: list[ClassRow]
    reading: str


def class_table(outs: Outs) -> ClassTable:
    """The classes by their test IoU, the best first; those without one last."""
    columns = _columns(outs)
    rows = [
        _row(outs, name, tuple(colour), columns)
        for name, colour in zip(outs.classes, outs.model["palette"], strict=True)
    ]
    rows.sort(key=lambda row: -float(row.sort or -1))
    return ClassTable(columns, rows, _reading(outs))


def _columns(outs: Outs) -> list[Column]:
    keys = list(outs.per_class[0]) if outs.per_class else []
    found = [
        Column("train", "IoU train", "on a sample of the training images, as they are"),
        Column("dice", "Dice", "2·overlap / (truth + prediction)"),
        Column("precision", "precision", "of the pixels called so, how many are"),
        Column("recall", "recall", "of the pixels that are, how many were found"),
        Column("boundary_iou", "boundary IoU", "IoU of thin bands along the borders"),
    ]
    found += [
        Column(key, f"surface Dice {key.removeprefix('surface_dice_')} px", "share of the border within that tolerance")
        for key in keys
        if key.startswith("surface_dice_")
    ]
    found += [
        Column("hd95", "HD95, px", "95 % of the border is nearer than this to the true one, mean over images"),
        Column("share", "% of pixels", "of the test images' true pixels"),
        Column("images", "images", "test images that have the class"),
    ]
    return [column for column in found if column.key in (*keys, "train", "share")]


def _row(outs: Outs, name: str, colour: tuple[int, int, int], columns: list[Column]) -> ClassRow:
    test = outs.of_class("test", name)
    bars = [
        (split, _or_zero(iou), score(iou))
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
        return percent(value)
    if key == "images":
        return count(value) if not math.isnan(value) else score(value)
    return score(value, 1 if key == "hd95" else 3)


def _sort(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _reading(outs: Outs) -> str:
    scores = outs.class_scores("test")
    if not scores:
        return "No class is in the test images or their predictions."
    best, worst = max(scores, key=scores.__getitem__), min(scores, key=scores.__getitem__)
    if best == worst:
        return f"Only {best} is in the test images or their predictions."
    left_out = [name for name in outs.classes if name not in scores]
    told = f"{best} is segmented best ({score(scores[best])}), {worst} worst ({score(scores[worst])})."
    return told + (f" In neither truth nor prediction, and in no mean: {', '.join(left_out)}." if left_out else "")
