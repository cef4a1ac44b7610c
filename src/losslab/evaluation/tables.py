"""The tables of the evaluate stage: metrics.json, and what it sums up as CSV."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from losslab.cards import SplitName
from losslab.evaluation.scoring import SplitDetails, SplitResult
from losslab.io.files import Row, write_csv, write_json
from losslab.metrics.calibration import BIN_COUNT, THRESHOLDS, find_best_threshold
from losslab.metrics.strata import BORDER_LIMITS_PX, OBJECT_LIMITS, SIZE_LIMITS

Results = Mapping[SplitName, SplitResult]
SUMMARY = ("miou", "mdice", "mprecision", "mean_accuracy", "fwiou", "pixel_accuracy", "mcc", "miou_per_image")
PER_CLASS = ("iou", "dice", "precision", "recall")
COUNTED = {"hit": "hit", "truth": "support", "predicted": "predicted"}
"""Columns of per_image.csv: pixels of each class, from which the scores of any set of images follow."""
SWEPT = ("precision", "recall", "dice", "iou")


def write_tables(results: Results, folder: Path) -> None:
    """Write metrics.json, per_class.csv, per_image.csv, confusion.csv, calibration.csv, thresholds.csv and strata.csv.

    Splits that were scored by pixels alone are in per_class.csv only. Floats are rounded to six decimals; NaN is null, or
    an empty cell.
    """
    detailed = {split: result for split, result in results.items() if result.details is not None}
    chosen = _chosen_thresholds(results["val"])
    write_json(folder / "metrics.json", {split: _summary(detailed[split], chosen) for split in sorted(detailed)})
    write_csv(folder / "per_class.csv", _rows(results, _per_class))
    tables = {"per_image": _per_image, "confusion": _confusion, "calibration": _calibration, "strata": _strata}
    for name, rows in tables.items():
        write_csv(folder / f"{name}.csv", _rows(detailed, rows))
    write_csv(folder / "thresholds.csv", _rows(detailed, lambda result: _thresholds(result, chosen)))


def _rows(results: Results, rows: Callable[[SplitResult], Iterator[Row]]) -> list[Row]:
    found = [{"split": split, **row} for split, result in results.items() for row in rows(result)]
    columns = dict.fromkeys(name for row in found for name in row)
    return [columns | row for row in found]


def _summary(result: SplitResult, chosen: list[int | None]) -> dict[str, Any]:
    pixels, details = result.pixels.compute(), _details(result)
    contours, calibration = details.contours.compute(), details.calibration.compute()
    summary: dict[str, Any] = {name: _rounded(pixels[name]) for name in SUMMARY}
    summary["boundary_iou"] = _mean(contours["boundary_iou"])
    for name, scores in _surface_dice(details, contours).items():
        summary[name] = _mean(scores)
    summary |= {"hd95": _mean(contours["hd95"]), "ece": _rounded(calibration["ece"])}
    summary["classes_scored"] = int(pixels["classes_scored"])
    if result.pixels.is_binary:
        summary["seed_score"] = _rounded(pixels["seed_score"])
        summary |= _at_threshold(calibration, chosen[1])
    return summary | {"iou": _by_class(result, pixels["iou"])}


def _at_threshold(calibration: Mapping[str, Tensor], chosen: int | None) -> dict[str, float]:
    """Scores of binary data where the foreground is what is more likely than a threshold."""
    if chosen is None:
        return dict.fromkeys(("threshold", "miou_at_threshold", "iou_at_threshold"), math.nan)
    tp, fp, fn, tn = (int(calibration[name][1, chosen]) for name in ("tp", "fp", "fn", "tn"))
    ious = torch.tensor([tn, tp], dtype=torch.float64) / torch.tensor([tn + fn + fp, tp + fn + fp])
    return {
        "threshold": THRESHOLDS[chosen],
        "miou_at_threshold": _mean(ious),
        "iou_at_threshold": _rounded(ious[1]),
    }


def _per_class(result: SplitResult) -> Iterator[Row]:
    pixels, details = result.pixels.compute(), result.details
    if details is not None:
        contours = details.contours.compute()
        columns = {"boundary_iou": contours["boundary_iou"], **_surface_dice(details, contours)}
        columns |= {"hd95": contours["hd95"], "hd95_images": contours["hd95_images"]}
    for label, name in enumerate(result.classes):
        row: dict[str, object] = {"class": name, **{key: _rounded(pixels[key][label]) for key in PER_CLASS}}
        row |= {key: int(pixels[key][label]) for key in ("support", "predicted", "images")}
        if details is not None:
            row |= {key: _rounded(scores[label]) for key, scores in columns.items()}
            row["hd95_images"] = int(columns["hd95_images"][label])
        yield row


def _per_image(result: SplitResult) -> Iterator[Row]:
    pixels, contours = result.pixels.compute_per_image(), _details(result).contours.compute_per_image()
    columns = {"iou": pixels["miou"], "dice": pixels["mdice"], "pixel_accuracy": pixels["pixel_accuracy"]} | contours
    if result.pixels.is_binary:
        columns["score"] = pixels["seed_score"]
    for index, name in enumerate(result.names):
        row: dict[str, object] = {"image": name}
        row |= {key: _rounded(values[index]) for key, values in columns.items()}
        row |= {f"iou_{label}": iou for label, iou in _by_class(result, pixels["iou"][index]).items()}
        for name, key in COUNTED.items():
            counts = zip(result.classes, pixels[key][index].tolist(), strict=True)
            row |= {f"{name}_{label}": int(number) for label, number in counts}
        yield row


def _confusion(result: SplitResult) -> Iterator[Row]:
    for name, counts in zip(result.classes, result.pixels.compute()["confusion"].tolist(), strict=True):
        yield {"truth": name, **dict(zip(result.classes, counts, strict=True))}


def _calibration(result: SplitResult) -> Iterator[Row]:
    curve = _details(result).calibration.compute()
    for place in range(BIN_COUNT):
        yield {
            "bin": place,
            "lower": _rounded(place / BIN_COUNT),
            "upper": _rounded((place + 1) / BIN_COUNT),
            "confidence": _rounded(curve["confidence"][place]),
            "accuracy": _rounded(curve["accuracy"][place]),
            "pixels": int(curve["pixels"][place]),
        }


def _thresholds(result: SplitResult, chosen: list[int | None]) -> Iterator[Row]:
    sweep = _details(result).calibration.compute()
    for label in _swept(result):
        for place, threshold in enumerate(THRESHOLDS):
            scores = {key: _rounded(sweep[key][label, place]) for key in SWEPT}
            row = {"class": result.classes[label], "threshold": threshold, **scores}
            yield row | {"chosen": int(chosen[label] == place)}


def _chosen_thresholds(val: SplitResult) -> list[int | None]:
    """Of each class the place in THRESHOLDS of what is best on val."""
    return [find_best_threshold(iou) for iou in _details(val).calibration.compute()["iou"]]


def _swept(result: SplitResult) -> list[int]:
    """Of two classes that share one logit, the foreground says it all."""
    return [1] if result.pixels.is_binary else list(range(len(result.classes)))


def _strata(result: SplitResult) -> Iterator[Row]:
    counts = _details(result).strata.compute()
    for label, name in enumerate(result.classes):
        for place, stratum in enumerate(SIZE_LIMITS):
            objects, images, pixels, found = counts["sizes"][label, place].tolist()
            yield _stratum("object_size", name, stratum, place, objects, images, pixels, pixels - found, is_recall=True)
        for place, stratum in enumerate(OBJECT_LIMITS):
            objects, images, pixels, found, union = counts["counts"][label, place].tolist()
            row = _stratum(
                "object_count", name, stratum, place, objects, images, pixels, pixels - found, is_recall=True
            )
            yield row | {"iou": _share(found, union)}
    borders = counts["borders"]
    for name, of_class in [*zip(result.classes, borders, strict=True), ("all", borders.sum(dim=0))]:
        for place, (stratum, (pixels, wrong)) in enumerate(zip(BORDER_LIMITS_PX, of_class.tolist(), strict=True)):
            yield _stratum("border_distance", name, stratum, place, None, None, pixels, wrong, is_recall=name != "all")


def _stratum(
    by: str,
    name: str,
    stratum: str,
    place: int,
    objects: int | None,
    images: int | None,
    pixels: int,
    wrong: int,
    is_recall: bool,
) -> dict[str, object]:
    return {
        "by": by,
        "class": name,
        "stratum": stratum,
        "position": place,
        "objects": objects,
        "images": images,
        "pixels": pixels,
        "wrong": wrong,
        "error_rate": _share(wrong, pixels),
        "recall": _share(pixels - wrong, pixels) if is_recall else None,
        "iou": None,
    }


def _surface_dice(details: SplitDetails, contours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = [f"surface_dice_{pixels}" for pixels in details.contours.tolerances]
    return dict(zip(names, contours["surface_dice"], strict=True))


def _by_class(result: SplitResult, values: Tensor) -> dict[str, float]:
    return {name: _rounded(value) for name, value in zip(result.classes, values, strict=True)}


def _details(result: SplitResult) -> SplitDetails:
    if result.details is None:
        raise ValueError("only pixels were scored; evaluate with tolerances")
    return result.details


def _mean(values: Tensor) -> float:
    return _rounded(values.nanmean())


def _share(part: int, whole: int) -> float:
    return _rounded(part / whole) if whole else math.nan


def _rounded(value: Any) -> float:
    return round(float(value), 6)
