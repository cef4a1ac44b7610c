"""Scores of a trained net on a split, and the tables and pictures that the evaluate stage writes."""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from losslab.data.cards import SplitName
from losslab.data.prepared import Prepared, evaluation_loader
from losslab.devices import keep_freed_memory
from losslab.errors import InputError
from losslab.files import Row, whole, write_csv, write_json
from losslab.inference import to_labels
from losslab.metrics.confusion import SegmentationMetrics, scores_of
from losslab.predictor import Predictor

Labels = npt.NDArray[np.uint8]
SUMMARY = ("miou", "mdice", "pixel_accuracy", "mean_accuracy", "miou_per_image")
SCORED: tuple[SplitName, ...] = ("val", "test")


class LabelMaps:
    """Label maps in the order they came, in a temporary file: memory does not grow with the images."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 — closed, and gone, with this object
        self.shape: tuple[int, ...] = (0, 0)
        self.count = 0

    def add(self, maps: Labels) -> None:
        """Append `[N, H, W]`."""
        self.file.seek(0, os.SEEK_END)
        self.file.write(maps.tobytes())
        self.count, self.shape = self.count + len(maps), maps.shape[1:]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Labels:
        if not 0 <= index < self.count:
            raise IndexError(index)
        pixels = math.prod(self.shape)
        self.file.seek(index * pixels)
        return np.frombuffer(self.file.read(pixels), np.uint8).reshape(self.shape)


@dataclass(frozen=True)
class SplitResult:
    classes: list[str]
    scores: dict[str, Any]
    """SegmentationMetrics.compute()."""
    names: list[str]
    confusions: torch.Tensor
    """One matrix per image, in the order of `names`."""
    predictions: LabelMaps


def evaluate(
    net: nn.Module,
    description: dict[str, Any],
    prepared: Prepared,
    split: SplitName,
    batch_size: int,
    step: Callable[[int], object] = lambda images: None,
) -> SplitResult:
    """Predict and score every image of a split; `step` is called with the images done in each batch.

    Raises:
        InputError: the model was trained for other classes or another size than the prepared data has.
    """
    data = prepared.describe()
    for key in ("classes", "size", "fit", "ignore_index"):
        if data[key] != description[key]:
            raise InputError(f"{key}: the model has {description[key]}, {prepared.folder} has {data[key]}; train again")
    keep_freed_memory()
    metrics = SegmentationMetrics(description["num_classes"], description["ignore_index"])
    predictions = LabelMaps()
    batches = evaluation_loader(prepared, split, batch_size)
    predictor = Predictor(net, description)
    for images, target in batches:
        prediction = to_labels(predictor.logits(images)).cpu()
        metrics.update(prediction, target.long())
        predictions.add(prediction.to(torch.uint8).numpy())
        step(len(prediction))
    return SplitResult(
        description["classes"],
        metrics.compute(),
        prepared.names(split),
        metrics.per_image(),
        predictions,
    )


def write_tables(results: dict[SplitName, SplitResult], folder: Path) -> None:
    """Write metrics.json, per_class.csv, per_image.csv and confusion.csv."""
    summary: dict[str, Any] = {
        split: {name: _rounded(result.scores[name]) for name in SUMMARY}
        | {"iou": {name: _rounded(iou) for name, iou in zip(result.classes, result.scores["iou"], strict=True)}}
        for split, result in sorted(results.items())
    }
    write_json(folder / "metrics.json", summary)
    for name, rows in (("per_class", _per_class), ("per_image", _per_image), ("confusion", _confusion)):
        write_csv(folder / f"{name}.csv", [row for split, result in results.items() for row in rows(split, result)])


def write_predictions(
    result: SplitResult,
    prepared: Prepared,
    split: SplitName,
    palette: Sequence[Sequence[int]],
    count: int,
    folder: Path,
) -> None:
    """Write up to `count` images as `NAME.image.png`, `NAME.truth.png`, `NAME.prediction.png`, and their order in `examples.csv`.

    The best third and the worst third by mIoU, and between them images at even distance of rank. Label maps are palette
    PNGs in the dataset's colours, void black.
    """
    miou = scores_of(result.confusions)["miou"].tolist()
    ranked = sorted(range(len(miou)), key=lambda index: (-_sortable(miou[index]), index))
    images, masks = prepared.images(split), prepared.masks(split)
    with whole(folder) as partial:
        partial.mkdir()
        rows: list[Row] = []
        for rank in _chosen(len(ranked), count):
            index = ranked[rank]
            name = f"{split}-{index:05d}"
            Image.fromarray(images[index]).save(partial / f"{name}.image.png")
            _save_labels(masks[index], palette, partial / f"{name}.truth.png")
            _save_labels(result.predictions[index], palette, partial / f"{name}.prediction.png")
            rows.append(
                {
                    "file": name,
                    "image": result.names[index],
                    "rank": rank + 1,
                    "of": len(ranked),
                    "iou": _rounded(miou[index]),
                }
            )
        write_csv(partial / "examples.csv", rows)


def _chosen(images: int, count: int) -> list[int]:
    """Ranks (0 = best) to keep, in order: two ends and an even spread between."""
    count = min(count, images)
    end = math.ceil(count / 3)
    best, worst = list(range(end)), list(range(images - min(end, count - end), images))
    middle, between = count - len(best) - len(worst), images - len(best) - len(worst)
    spread = [len(best) + (2 * i + 1) * between // (2 * middle) for i in range(middle)]
    return sorted({*best, *spread, *worst})


def _per_class(split: str, result: SplitResult) -> Iterator[Row]:
    scores = result.scores
    for label, name in enumerate(result.classes):
        values = {key: _rounded(scores[key][label]) for key in ("iou", "dice", "accuracy")}
        yield {"split": split, "class": name, **values, "support": int(scores["support"][label])}


def _per_image(split: str, result: SplitResult) -> Iterator[Row]:
    scores = scores_of(result.confusions)
    for index, name in enumerate(result.names):
        row: dict[str, object] = {"split": split, "image": name}
        row |= {"iou": _rounded(scores["miou"][index]), "dice": _rounded(scores["mdice"][index])}
        row |= {"pixel_accuracy": _rounded(scores["pixel_accuracy"][index])}
        yield row | {
            f"iou_{label}": _rounded(iou) for label, iou in zip(result.classes, scores["iou"][index], strict=True)
        }


def _confusion(split: str, result: SplitResult) -> Iterator[Row]:
    for name, counts in zip(result.classes, result.scores["confusion"].tolist(), strict=True):
        yield {"split": split, "truth": name, **dict(zip(result.classes, counts, strict=True))}


def _rounded(value: Any) -> float:
    return round(float(value), 6)


def _sortable(score: float) -> float:
    return -1.0 if math.isnan(score) else score


def _save_labels(labels: Labels, palette: Sequence[Sequence[int]], path: Path) -> None:
    image = Image.fromarray(np.ascontiguousarray(labels))
    colours = [channel for colour in palette for channel in colour]
    image.putpalette(colours + [0] * (768 - len(colours)))
    image.save(path)
