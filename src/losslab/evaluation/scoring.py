"""Predict a split with a trained net, and score it."""

import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from losslab.cards import SplitName
from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.evaluation.targets import Targets, build_prepared_targets
from losslab.inference.predictor import Predictor, TestTimeAugmentation
from losslab.inference.tensors import to_labels, to_probabilities
from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.confusion import SegmentationMetrics
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.images import Labels
from losslab.metrics.strata import StratifiedErrors
from losslab.runtime.devices import keep_freed_memory


class LabelMapStore:
    """Label maps uint8 `[H, W]` in the order they came, packed, in a temporary file: memory does not grow with the images."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 — closed, and gone, with this object
        self.places: list[tuple[int, int, tuple[int, int]]] = []

    def add(self, labels: Labels) -> None:
        packed = zlib.compress(labels.tobytes(), level=1)
        place = self.file.seek(0, os.SEEK_END)
        self.file.write(packed)
        self.places.append((place, len(packed), (labels.shape[0], labels.shape[1])))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Labels:
        place, length, shape = self.places[index]
        self.file.seek(place)
        return np.frombuffer(zlib.decompress(self.file.read(length)), np.uint8).reshape(shape)


@dataclass(frozen=True)
class SplitResult:
    classes: list[str]
    names: list[str]
    """Of the images scored, in the order of their values per image."""
    pixels: SegmentationMetrics
    details: "SplitDetails | None"
    """None where pixels alone were scored."""


@dataclass(frozen=True)
class SplitDetails:
    """What takes longer than counting pixels."""

    contours: ContourMetrics
    calibration: CalibrationMetrics
    strata: StratifiedErrors
    predictions: LabelMapStore


def evaluate_split(
    net: nn.Module,
    description: dict[str, Any],
    prepared: PreparedData,
    split: SplitName,
    batch_size: int,
    step: Callable[[int], object] = lambda images: None,
    *,
    tta: TestTimeAugmentation = "none",
    truths: Targets | None = None,
    tolerances: Sequence[int] | None = (1, 3),
    most: int | None = None,
) -> SplitResult:
    """Predict and score the images of a split.

    Args:
        step: called with the images done in each batch.
        truths: what predictions are held against, and at which size; None for the prepared masks.
        tolerances: pixels that a contour may be off; None to score pixels alone.
        most: no more images than these, at even distance.

    Raises:
        InputError: the model was trained for other classes or another size than the prepared data has.
    """
    data = prepared.describe()
    for key in ("classes", "size", "fit", "ignore_index"):
        if data[key] != description[key]:
            raise InputError(f"{key}: the model has {description[key]}, {prepared.folder} has {data[key]}; train again")
    keep_freed_memory()
    images, names = prepared.rows(split, "images"), prepared.names(split)
    chosen = choose_spread_indices(len(names), most)
    kind = description["num_classes"], description["ignore_index"]
    pixels = SegmentationMetrics(*kind)
    details = None
    if tolerances is not None:
        details = SplitDetails(
            ContourMetrics(*kind, tolerances), CalibrationMetrics(*kind), StratifiedErrors(*kind), LabelMapStore()
        )
    result = SplitResult(description["classes"], [names[index] for index in chosen], pixels, details)
    truths = truths or build_prepared_targets(prepared, split)
    predictor = Predictor(net, description, tta)
    # While a batch is scored, the net is at the next.
    with ThreadPoolExecutor(1, "scoring") as beside:
        scored: Future[int] | None = None
        for start in range(0, len(chosen), batch_size):
            indices = chosen[start : start + batch_size]
            logits = predictor.compute_logits(torch.from_numpy(images.read(indices)))
            if scored is not None:
                step(scored.result())
            scored = beside.submit(_score, result, truths, logits, indices)
        if scored is not None:
            step(scored.result())
    return result


def choose_spread_indices(count: int, most: int | None) -> list[int]:
    """No more than `most` of so many indices, at even distance."""
    kept = count if most is None else min(most, count)
    return [place * count // kept for place in range(kept)]


def _score(result: SplitResult, truths: Targets, logits: Tensor, indices: Sequence[int]) -> int:
    masks = truths.masks(indices)
    targets = [torch.from_numpy(mask) for mask in masks]
    predictions, details = list[Tensor](), result.details
    # One by one, since logits of large files are large: those of a batch would fill the memory.
    for image, target in zip(truths.fitted(logits, masks), targets, strict=True):
        predictions.append(to_labels(image[None])[0].to(torch.uint8).cpu())
        if details is not None:
            details.calibration.update(to_probabilities(image[None]).cpu(), target[None])
            details.predictions.add(predictions[-1].numpy())
    result.pixels.update(predictions, targets)
    if details is not None:
        details.contours.update(predictions, targets)
        details.strata.update(predictions, targets)
    return len(indices)
