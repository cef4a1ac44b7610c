"""Predictions of a trained net on the images of a split, and their scores."""

import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from losslab.cards import SPLITS, SplitName
from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.evaluation.targets import PreparedTargets, Targets, build_targets
from losslab.inference.predictor import Predictor, TestTimeAugmentation
from losslab.inference.tensors import to_labels, to_probabilities
from losslab.io.files import name_errors
from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.confusion import SegmentationMetrics, find_ignored
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.images import Labels
from losslab.metrics.plugin_metric import PluginMetric, load_metric
from losslab.metrics.strata import StratifiedErrors
from losslab.params import EvaluateParams
from losslab.runtime.devices import keep_freed_memory


class LabelMapStore:
    """Label maps uint8 `[H, W]` in the order they were added, packed in a temporary file to keep memory free."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 — closed and removed with this object
        self.entries: list[tuple[int, int, tuple[int, int]]] = []
        """Offset, length and shape of each label map."""

    def add(self, labels: Labels) -> None:
        packed = zlib.compress(labels.tobytes(), level=1)
        with name_errors(Path(tempfile.gettempdir())):
            offset = self.file.seek(0, os.SEEK_END)
            self.file.write(packed)
            self.file.flush()
        self.entries.append((offset, len(packed), (labels.shape[0], labels.shape[1])))

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Labels:
        offset, length, shape = self.entries[index]
        self.file.seek(offset)
        return np.frombuffer(zlib.decompress(self.file.read(length)), np.uint8).reshape(shape)


@dataclass(frozen=True)
class SplitResult:
    classes: list[str]
    names: list[str]
    """Names of the scored images, in the order of their values per image."""
    targets: Targets
    """The masks and images that predictions were compared with, of all images of the split."""
    pixels: SegmentationMetrics
    details: "SplitDetails | None"
    """The other scores; None if only pixels were scored."""
    groups: list[str] | None = None
    """Group of each image, such as its patient; None where the card names no groups."""

    def get_details(self) -> "SplitDetails":
        """Return the details. Raises ValueError if only pixels were scored."""
        if self.details is None:
            raise ValueError("only pixels were scored; evaluate with tolerances")
        return self.details


@dataclass(frozen=True)
class SplitDetails:
    """Scores that take longer than counting pixels, and the predictions."""

    contours: ContourMetrics
    calibration: CalibrationMetrics
    strata: StratifiedErrors
    predictions: LabelMapStore
    own: dict[str, tuple[PluginMetric, list[float]]]
    """Metrics of plug-ins by name, each with the scores of the images if it is of images."""


def evaluate_splits(
    net: nn.Module, description: dict[str, Any], prepared: PreparedData, dataset: str, settings: EvaluateParams
) -> dict[SplitName, SplitResult]:
    """Predict and score val and test, and the pixels of as many training images as val has; show progress.

    Raises InputError if the model was trained for other data, or files have changed since they were prepared.
    """
    score = partial(evaluate_split, net, description, prepared, batch_size=settings.batch_size, tta=settings.tta)
    metrics = [load_metric(name, options) for name, options in settings.metrics.items()]
    results: dict[SplitName, SplitResult] = {}
    counts = {split: len(prepared.names(split)) for split in SPLITS}
    counts["train"] = min(counts["train"], counts["val"])
    for split, images in counts.items():
        targets = build_targets(prepared, split, dataset, settings.resolution)
        with tqdm(total=images, desc=f"evaluate {split}", unit=" images", disable=None) as bar:
            tolerances = None if split == "train" else settings.tolerances
            results[split] = score(
                split, step=bar.update, targets=targets, tolerances=tolerances, metrics=metrics, max_images=images
            )
    return results


def evaluate_split(
    net: nn.Module,
    description: dict[str, Any],
    prepared: PreparedData,
    split: SplitName,
    batch_size: int,
    step: Callable[[int], object] = lambda images: None,
    *,
    tta: TestTimeAugmentation = "none",
    targets: Targets | None = None,
    tolerances: Sequence[int] | None = (1, 3),
    metrics: Sequence[PluginMetric] = (),
    max_images: int | None = None,
) -> SplitResult:
    """Predict and score the images of a split.

    Args:
        step: called after each batch with its number of images.
        targets: the masks that predictions are compared with, at their size; None for the prepared masks.
        tolerances: distances in pixels by which a contour may be off; None scores only pixels.
        metrics: those of plug-ins, which are scored where tolerances are given.
        max_images: score no more images than these, chosen at even distance.

    Raises:
        InputError: the model was trained for other classes or another size than the prepared data have.
    """
    data = prepared.describe()
    for key in ("classes", "size", "fit", "ignore_index"):
        if data[key] != description[key]:
            raise InputError(f"{key}: the model has {description[key]}, {prepared.folder} has {data[key]}; train again")
    keep_freed_memory()
    images, names, groups = prepared.rows(split, "images"), prepared.names(split), prepared.groups(split)
    chosen = choose_spread_indices(len(names), max_images)
    kind = description["num_classes"], description["ignore_index"]
    pixels = SegmentationMetrics(*kind)
    details = None
    if tolerances is not None:
        contours = ContourMetrics(*kind, tolerances)
        own = {metric.name: (metric, list[float]()) for metric in metrics}
        details = SplitDetails(contours, CalibrationMetrics(*kind), StratifiedErrors(*kind), LabelMapStore(), own)
    targets = targets or PreparedTargets(prepared, split)
    names, groups = [names[index] for index in chosen], groups and [groups[index] for index in chosen]
    result = SplitResult(description["classes"], names, targets, pixels, details, groups)
    predictor = Predictor(net, description, tta)
    # A thread scores each batch while the net predicts the next.
    with ThreadPoolExecutor(1, "scoring") as pool:
        scored: Future[int] | None = None
        for start in range(0, len(chosen), batch_size):
            indices = chosen[start : start + batch_size]
            logits = predictor.compute_logits(torch.from_numpy(images.read(indices)))
            if scored is not None:
                step(scored.result())
            scored = pool.submit(_score_batch, result, logits, indices)
        if scored is not None:
            step(scored.result())
    return result


def choose_spread_indices(count: int, max_indices: int | None) -> list[int]:
    """Choose at most `max_indices` of the indices below `count`, at even distance."""
    kept = count if max_indices is None else min(max_indices, count)
    return [place * count // kept for place in range(kept)]


def _score_batch(result: SplitResult, logits: Tensor, indices: Sequence[int]) -> int:
    masks = result.targets.read_masks(indices)
    targets = [torch.from_numpy(mask) for mask in masks]
    predictions, details = list[Tensor](), result.details
    # One image at a time: at the size of large files, the logits of a batch would fill the memory.
    for image, target in zip(result.targets.restore_logits(logits, masks), targets, strict=True):
        predictions.append(to_labels(image[None])[0].to(torch.uint8).cpu())
        if details is not None:
            probabilities = to_probabilities(image[None]).cpu()
            details.calibration.update(probabilities, target[None])
            details.predictions.add(predictions[-1].numpy())
            for metric, scores in details.own.values():
                if not metric.is_of_classes:
                    inputs = {"prediction": predictions[-1], "target": target, "probabilities": probabilities[0]}
                    inputs["valid"] = ~find_ignored(target, details.contours.ignore_index)
                    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
                    scores.append(metric.score_image(arrays | {"classes": result.classes}))
    result.pixels.update(predictions, targets)
    if details is not None:
        details.contours.update(predictions, targets)
        details.strata.update(predictions, targets)
    return len(indices)
