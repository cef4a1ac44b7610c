"""The tables of the evaluate stage: metrics.json, scores.json, and the CSV files that they summarize."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from losslab.cards import SplitName
from losslab.evaluation.ensemble import Ensemble
from losslab.evaluation.scoring import SplitDetails, SplitResult
from losslab.io.files import Row, write_csv, write_json
from losslab.metrics.calibration import BIN_COUNT, THRESHOLDS, find_best_threshold
from losslab.metrics.confusion import compute_exact_mean
from losslab.metrics.overlapping import OverlappingSegmentation
from losslab.metrics.strata import BORDER_LIMITS_PX, OBJECT_LIMITS, SIZE_LIMITS
from losslab.params import EvaluateParams

Results = Mapping[SplitName, SplitResult]
SUMMARY = ("miou", "mdice", "mprecision", "mean_accuracy", "fwiou", "pixel_accuracy", "mcc", "miou_per_image")
PER_CLASS = ("iou", "dice", "precision", "recall")
PIXEL_COUNTS = {"hit": "hit", "truth": "support", "predicted": "predicted"}
"""Columns of per_image.csv that count pixels of each class, from which the scores of any set of images follow."""
HEADLINES = {"test": ("miou", "mdice", "boundary_iou", "ece"), "val": ("miou",)}
"""What metrics.json has of scores.json, beside the plug-ins' metrics: DVC's tables have a column for each."""
SWEPT_SCORES = ("precision", "recall", "dice", "iou")


def write_tables(results: Results, folder: Path) -> None:
    """Write the JSON files and all CSVs, rounded to six decimals; splits with pixel scores only are in per_class.csv."""
    detailed = {split: result for split, result in results.items() if result.details is not None}
    # For each class the index in THRESHOLDS of the one that is best on val.
    chosen = [find_best_threshold(iou) for iou in results["val"].get_details().calibration.compute()["iou"]]
    scores: dict[str, Any] = {split: _summarize(detailed[split], chosen) for split in sorted(detailed)}
    own = [*detailed["test"].get_details().own] if "test" in detailed else []
    shown = {name: [*names, *(own if name == "test" else [])] for name, names in HEADLINES.items()}
    write_json(folder / "scores.json", scores)
    write_json(
        folder / "metrics.json", {split: {key: row[key] for key in shown[split]} for split, row in scores.items()}
    )
    _write_rows(folder / "per_class.csv", results, _list_classes)
    _write_rows(folder / "per_image.csv", detailed, _list_images)
    _write_rows(folder / "confusion.csv", detailed, _list_confusion)
    _write_rows(folder / "calibration.csv", detailed, _list_bins)
    _write_rows(folder / "strata.csv", detailed, _list_strata)
    _write_rows(folder / "thresholds.csv", detailed, lambda result: _list_thresholds(result, chosen))


def describe_evaluation(settings: EvaluateParams, results: Results, ensemble: Ensemble | None = None) -> dict[str, Any]:
    """Describe how was scored, for evaluation.json: params, and facts about an ensemble and the metrics of plug-ins, if any."""
    described = settings.model_dump(include={"resolution", "tta", "tolerances"})
    own = results["test"].get_details().own
    facts = {name: metric.describe() for name, (metric, _) in own.items()}
    if ensemble is not None:
        described |= {"ensemble": ensemble.params.model_dump(), "ensemble_facts": ensemble.describe()}
    return described | ({"metrics": settings.metrics, "metric_facts": facts} if own else {})


def summarize_results(results: Results) -> Iterator[str]:
    """Yield a line for each split: its mIoU, and the IoU of each class."""
    for split, result in results.items():
        scores = result.pixels.compute()
        per_class = ", ".join(f"{name} {iou:.3f}" for name, iou in zip(result.classes, scores["iou"], strict=True))
        yield f"{split} mIoU {scores['miou']:.4f} (IoU: {per_class})"


def _write_rows(path: Path, results: Results, list_rows: Callable[[SplitResult], Iterator[Row]]) -> None:
    """Write rows one by one; those of a split all have the keys of its first."""
    firsts = [next(list_rows(result), {}) for result in results.values()]
    columns = dict.fromkeys(["split", *(name for row in firsts for name in row)])
    rows = ({"split": split, **row} for split, result in results.items() for row in list_rows(result))
    write_csv(path, (columns | row for row in rows))


def _summarize(result: SplitResult, chosen: list[int | None]) -> dict[str, Any]:
    pixels, details = result.pixels.compute(), result.get_details()
    contours, calibration = details.contours.compute(), details.calibration.compute()
    summary: dict[str, Any] = {name: _round(pixels[name]) for name in SUMMARY if name in pixels}
    distances = {"boundary_iou": contours["boundary_iou"], **_name_surface_dice(details, contours)}
    summary |= {name: _average(scores) for name, scores in (distances | {"hd95": contours["hd95"]}).items()}
    summary |= {"ece": _round(calibration["ece"]), "classes_scored": int(pixels["classes_scored"])}
    if result.pixels.is_binary:
        summary["seed_score"] = _round(pixels["seed_score"])
        summary |= _score_at_threshold(calibration, chosen[1])
    elif isinstance(result.pixels, OverlappingSegmentation):
        at = [math.nan if best is None else float(calibration["iou"][label, best]) for label, best in enumerate(chosen)]
        summary["miou_at_threshold"] = _average(torch.tensor(at, dtype=torch.float64))
    for name, scores in (_score_own_classes(result) | _list_own(details)).items():
        summary[name] = _round(compute_exact_mean(torch.tensor(scores, dtype=torch.float64)))
    return summary | {"iou": _name_classes(result, pixels["iou"])}


def _score_own_classes(result: SplitResult) -> dict[str, list[float]]:
    """Score each class by the plug-ins' metrics of classes: name → scores."""
    own = [metric for metric, _ in result.get_details().own.values() if metric.is_of_classes]
    pixels = result.pixels.compute() if own else {}
    counts = {name: pixels[key].numpy() for name, key in PIXEL_COUNTS.items()} if own else {}
    return {metric.name: metric.score_classes(counts).tolist() for metric in own}


def _list_own(details: SplitDetails) -> dict[str, list[float]]:
    """List the scores of images by the plug-ins' metrics of images: name → scores."""
    return {name: scores for name, (metric, scores) in details.own.items() if not metric.is_of_classes}


def _score_at_threshold(calibration: Mapping[str, Tensor], chosen: int | None) -> dict[str, float]:
    """Score binary data with the pixels above a threshold as foreground."""
    if chosen is None:
        return dict.fromkeys(("threshold", "miou_at_threshold", "iou_at_threshold"), math.nan)
    tp, fp, fn, tn = (int(calibration[name][1, chosen]) for name in ("tp", "fp", "fn", "tn"))
    ious = torch.tensor([tn, tp], dtype=torch.float64) / torch.tensor([tn + fn + fp, tp + fn + fp])
    return {"threshold": THRESHOLDS[chosen], "miou_at_threshold": _average(ious), "iou_at_threshold": _round(ious[1])}


def _list_classes(result: SplitResult) -> Iterator[Row]:
    pixels, details = result.pixels.compute(), result.details
    if details is not None:
        contours = details.contours.compute()
        columns = {"boundary_iou": contours["boundary_iou"], **_name_surface_dice(details, contours)}
        columns |= {"hd95": contours["hd95"], "hd95_images": contours["hd95_images"]}
        own = _score_own_classes(result)
        images = result.pixels.compute_per_image()
        one_sided = ((images["support"] > 0) != (images["predicted"] > 0)).sum(dim=0)
    for label, name in enumerate(result.classes):
        row: dict[str, object] = {"class": name, **{key: _round(pixels[key][label]) for key in PER_CLASS}}
        row |= {key: int(pixels[key][label]) for key in ("support", "predicted", "images")}
        if details is not None:
            row |= {key: _round(scores[label]) for key, scores in columns.items()}
            row |= {key: _round(scores[label]) for key, scores in own.items()}
            row |= {"hd95_images": int(columns["hd95_images"][label]), "hd95_one_sided": int(one_sided[label])}
        yield row


def _list_images(result: SplitResult) -> Iterator[Row]:
    pixels, contours = result.pixels.compute_per_image(), result.get_details().contours.compute_per_image()
    columns = {"iou": pixels["miou"], "dice": pixels["mdice"], "pixel_accuracy": pixels["pixel_accuracy"]}
    columns |= {name: contours[name] for name in ("boundary_iou", "hd95")}
    bands = [(name, contours[name]) for name in ("overlap", "band")]
    if result.pixels.is_binary:
        columns["score"] = pixels["seed_score"]
    for index, name in enumerate(result.names):
        row: dict[str, object] = {"image": name, **({"group": result.groups[index]} if result.groups else {})}
        row |= {key: _round(values[index]) for key, values in columns.items()}
        row |= {f"iou_{label}": iou for label, iou in _name_classes(result, pixels["iou"][index]).items()}
        for name, counts in (*((name, pixels[key]) for name, key in PIXEL_COUNTS.items()), *bands):
            numbers = zip(result.classes, counts[index].tolist(), strict=True)
            row |= {f"{name}_{label}": int(number) for label, number in numbers}
        row |= {f"hd95_{label}": far for label, far in _name_classes(result, contours["class_hd95"][index]).items()}
        row |= {key: _round(scores[index]) for key, scores in _list_own(result.get_details()).items()}
        yield row


def _list_confusion(result: SplitResult) -> Iterator[Row]:
    for name, counts in zip(result.classes, result.pixels.compute()["confusion"].tolist(), strict=True):
        if isinstance(result.pixels, OverlappingSegmentation):
            (tn, fp), (fn, tp) = counts
            yield {"class": name, "tp": tp, "fp": fp, "fn": fn, "tn": tn}
        else:
            yield {"truth": name, **dict(zip(result.classes, counts, strict=True))}


def _list_bins(result: SplitResult) -> Iterator[Row]:
    curve = result.get_details().calibration.compute()
    for place in range(BIN_COUNT):
        row: Row = {"bin": place, "lower": _round(place / BIN_COUNT), "upper": _round((place + 1) / BIN_COUNT)}
        scores = {key: _round(curve[key][place]) for key in ("confidence", "accuracy")}
        yield {**row, **scores, "pixels": int(curve["pixels"][place])}


def _list_thresholds(result: SplitResult, chosen: list[int | None]) -> Iterator[Row]:
    sweep = result.get_details().calibration.compute()
    # Two classes that share one logit have only the foreground's thresholds.
    for label in [1] if result.pixels.is_binary else range(len(result.classes)):
        for place, threshold in enumerate(THRESHOLDS):
            scores = {key: _round(sweep[key][label, place]) for key in SWEPT_SCORES}
            row = {"class": result.classes[label], "threshold": threshold, **scores}
            yield row | {"chosen": int(chosen[label] == place)}


def _list_strata(result: SplitResult) -> Iterator[Row]:
    counts = result.get_details().strata.compute()
    for label, name in enumerate(result.classes):
        for place, stratum in enumerate(SIZE_LIMITS):
            objects, images, pixels, hit = counts["sizes"][label, place].tolist()
            yield _build_stratum("object_size", name, stratum, place, pixels, pixels - hit, objects, images)
        for place, stratum in enumerate(OBJECT_LIMITS):
            objects, images, pixels, hit, union = counts["counts"][label, place].tolist()
            row = _build_stratum("object_count", name, stratum, place, pixels, pixels - hit, objects, images)
            yield row | {"iou": _divide(hit, union)}
    borders = counts["borders"]
    everywhere = borders.sum(dim=0) + counts.get(
        "elsewhere", 0
    )  # of overlapping classes, each pixel once for each class
    for name, counted in [*zip(result.classes, borders, strict=True), ("all", everywhere)]:
        for place, (stratum, (pixels, wrong)) in enumerate(zip(BORDER_LIMITS_PX, counted.tolist(), strict=True)):
            row = _build_stratum("border_distance", name, stratum, place, pixels, wrong, None, None)
            yield row if name != "all" else row | {"recall": None}


def _build_stratum(
    by: str, name: str, stratum: str, place: int, pixels: int, wrong: int, objects: int | None, images: int | None
) -> dict[str, object]:
    row = {"by": by, "class": name, "stratum": stratum, "position": place, "objects": objects, "images": images}
    row |= {"pixels": pixels, "wrong": wrong, "error_rate": _divide(wrong, pixels)}
    return row | {"recall": _divide(pixels - wrong, pixels), "iou": None}


def _name_surface_dice(details: SplitDetails, contours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = [f"surface_dice_{pixels}" for pixels in details.contours.tolerances]
    return dict(zip(names, contours["surface_dice"], strict=True))


def _name_classes(result: SplitResult, values: Tensor) -> dict[str, float]:
    return {name: _round(value) for name, value in zip(result.classes, values, strict=True)}


def _average(values: Tensor) -> float:
    return _round(values.nanmean())


def _divide(part: int, total: int) -> float:
    return _round(part / total) if total else math.nan


def _round(value: Any) -> float:
    return round(float(value), 6)
