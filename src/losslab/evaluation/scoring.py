"""Predictions of a trained net on the images of a split, and their scores."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from losslab.bands import RGB, Bands, read_bands
from losslab.cards import SPLITS, SplitName, has_overlapping_labels
from losslab.data.loading.arrays import ArrayRows, ImageRow, PreparedData
from losslab.errors import InputError
from losslab.evaluation.ensemble import Ensemble
from losslab.evaluation.label_store import LabelMapStore
from losslab.evaluation.targets import PreparedTargets, Targets, build_targets
from losslab.inference.predictor import Predictor, TestTimeAugmentation
from losslab.inference.tensors import to_labels, to_probabilities
from losslab.inference.tiling import predict_whole, split_rows
from losslab.io.windows import PixelWindows, read_whole
from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.confusion import SegmentationMetrics, find_ignored
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.overlapping import (
    OverlappingCalibration,
    OverlappingContours,
    OverlappingSegmentation,
    OverlappingStrata,
)
from losslab.metrics.plugin_metric import PluginMetric, load_metric
from losslab.metrics.strata import StratifiedErrors
from losslab.params import EvaluateParams
from losslab.runtime.devices import keep_freed_memory


@dataclass(frozen=True)
class SplitResult:
    classes: list[str]
    names: list[str]
    """Names of the scored images, in the order of their values per image."""
    targets: Targets
    """The masks and images that predictions were compared with, of all images of the split."""
    pixels: SegmentationMetrics | OverlappingSegmentation
    details: "SplitDetails | None"
    """The other scores; None if only pixels were scored."""
    groups: list[str] | None = None
    """Group of each image, such as its patient; None where the card names no groups."""
    bands: Bands = RGB
    """Bands of the images."""

    def get_details(self) -> "SplitDetails":
        """Return the details. Raises ValueError if only pixels were scored."""
        if self.details is None:
            raise ValueError("only pixels were scored; evaluate with tolerances")
        return self.details


@dataclass(frozen=True)
class SplitDetails:
    """Scores that take longer than counting pixels, and the predictions."""

    contours: ContourMetrics | OverlappingContours
    calibration: CalibrationMetrics | OverlappingCalibration
    strata: StratifiedErrors | OverlappingStrata
    predictions: LabelMapStore
    own: dict[str, tuple[PluginMetric, list[float]]]
    """Metrics of plug-ins by name, each with the scores of the images if it is of images."""

    def list_image_metrics(self) -> list[tuple[PluginMetric, list[float]]]:
        return [(metric, scores) for metric, scores in self.own.values() if not metric.is_of_classes]


def evaluate_splits(
    net: nn.Module,
    description: dict[str, Any],
    prepared: PreparedData,
    dataset: str,
    settings: EvaluateParams,
    ensemble: Ensemble | None = None,
) -> dict[SplitName, SplitResult]:
    """Predict and score val and test, and the pixels of as many training images as val has; show progress.

    An ensemble predicts in place of the net, and says which images val has.
    Raises InputError if the model was trained for other data, or files have changed since they were prepared.
    """
    sample = min(len(prepared.names("train")), len(prepared.names("val")))
    prepared = prepared if ensemble is None else ensemble.data
    score = partial(evaluate_split, net, description, prepared, batch_size=settings.batch_size, tta=settings.tta)
    metrics = [load_metric(name, options) for name, options in settings.metrics.items()]
    results: dict[SplitName, SplitResult] = {}
    counts = {split: len(prepared.names(split)) for split in SPLITS} | {"train": sample}
    for split, images in counts.items():
        targets = build_targets(prepared, split, dataset, settings.resolution)
        with tqdm(total=images, desc=f"evaluate {split}", unit=" images", disable=None) as bar:
            tolerances = None if split == "train" else settings.tolerances
            results[split] = score(
                split,
                step=bar.update,
                targets=targets,
                tolerances=tolerances,
                metrics=metrics,
                max_images=images,
                pick=None if ensemble is None else partial(ensemble.pick, split),
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
    pick: Callable[[str], Predictor] | None = None,
) -> SplitResult:
    """Predict and score the images of a split.

    Args:
        step: called after each batch with its number of images.
        targets: the masks that predictions are compared with, at their size; None for the prepared masks.
        tolerances: distances in pixels by which a contour may be off; None scores only pixels.
        metrics: those of plug-ins, which are scored where tolerances are given.
        max_images: score no more images than these, chosen at even distance.
        pick: returns what predicts an image, by its name, in place of the net.

    Raises:
        InputError: the model was trained for other classes or another size than the prepared data have.
    """
    data = prepared.describe()
    for key in ("labels", "classes", "size", "fit", "ignore_index"):
        if data.get(key) != description.get(key):
            raise InputError(
                f"{key}: the model has {description.get(key)}, {prepared.folder} has {data.get(key)}; train again"
            )
    keep_freed_memory()
    images, names, groups = prepared.rows(split, "images"), prepared.names(split), prepared.groups(split)
    chosen = choose_spread_indices(len(names), max_images)
    kind = description["num_classes"], description["ignore_index"]
    overlapping = has_overlapping_labels(description)
    pixels = OverlappingSegmentation(*kind) if overlapping else SegmentationMetrics(*kind)
    details = None if tolerances is None else _build_details(kind, tolerances, metrics, overlapping)
    targets = targets or PreparedTargets(prepared, split)
    names, groups = [names[index] for index in chosen], groups and [groups[index] for index in chosen]
    result = SplitResult(description["classes"], names, targets, pixels, details, groups, read_bands(data))
    if pick is None:
        alone = Predictor(net, description, tta)
        predictors = [alone] * len(names)
    else:
        predictors = list(map(pick, names))
    predict = _predict_whole_images if description["fit"] == "tile" else _predict_batches
    predicted = predict(result, list(zip(predictors, chosen, strict=True)), images, batch_size)
    # A thread scores each batch while the net predicts the next.
    with ThreadPoolExecutor(1, "scoring") as pool:
        scored: Future[int] | None = None
        for score in predicted:
            if scored is not None:
                step(scored.result())
            scored = pool.submit(score)
        if scored is not None:
            step(scored.result())
    return result


def _build_details(
    kind: tuple[int, int | None], tolerances: Sequence[int], metrics: Sequence[PluginMetric], overlapping: bool
) -> SplitDetails:
    own = {metric.name: (metric, list[float]()) for metric in metrics}
    if not overlapping:
        contours = ContourMetrics(*kind, tolerances)
        return SplitDetails(contours, CalibrationMetrics(*kind), StratifiedErrors(*kind), LabelMapStore(), own)
    for metric in metrics:
        if not metric.is_of_classes:
            metric.refuse_overlapping()
    return SplitDetails(
        OverlappingContours(*kind, tolerances),
        OverlappingCalibration(*kind),
        OverlappingStrata(*kind),
        LabelMapStore(kind[0]),
        own,
    )


def _predict_batches(
    result: SplitResult, chosen: Sequence[tuple[Predictor, int]], images: ArrayRows, batch_size: int
) -> Iterator[Callable[[], int]]:
    """Predict images batch by batch; yield what scores a batch, and returns its number of images."""
    for predictor, same in groupby(chosen, key=itemgetter(0)):
        indices = [index for _, index in same]
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            logits = predictor.compute_logits(torch.from_numpy(images.read(batch)))
            yield partial(_score_batch, result, logits, batch)


def _predict_whole_images(
    result: SplitResult, chosen: Sequence[tuple[Predictor, int]], images: ArrayRows, batch_size: int
) -> Iterator[Callable[[], int]]:
    """Predict images of any size by overlapping windows; yield what scores an image, and returns 1."""
    for predictor, index in chosen:
        image, truth = ImageRow(images, index), result.targets.open_mask(index)
        planes = len(result.classes) if predictor.overlapping else None
        store = LabelMapStore(planes) if result.details is None else result.details.predictions
        prediction, kept = store.begin(image.height, image.width), list[Tensor]()
        for top, logits in split_rows(predict_whole(predictor, image, batch_size)):
            labels = to_labels(logits, predictor.overlapping)[0].to(torch.uint8).cpu()
            prediction.append(labels.numpy())
            if result.details is not None:
                target = torch.from_numpy(truth.read(top, 0, len(labels), image.width))
                probabilities = to_probabilities(logits, predictor.overlapping).cpu()
                result.details.calibration.update(probabilities, target[None])
                kept += [probabilities[0]] if result.details.list_image_metrics() else []
        yield partial(_score_windows, result, prediction, truth, kept)


def choose_spread_indices(count: int, max_indices: int | None) -> list[int]:
    """Choose at most `max_indices` of the indices below `count`, at even distance."""
    kept = count if max_indices is None else min(max_indices, count)
    return [place * count // kept for place in range(kept)]


def _score_batch(result: SplitResult, logits: Tensor, indices: Sequence[int]) -> int:
    masks = result.targets.read_masks(indices)
    targets = [torch.from_numpy(mask) for mask in masks]
    predictions, details = list[Tensor](), result.details
    overlapping = isinstance(result.pixels, OverlappingSegmentation)
    # One image at a time: at the size of large files, the logits of a batch would fill the memory.
    for image, target in zip(result.targets.restore_logits(logits, masks), targets, strict=True):
        predictions.append(to_labels(image[None], overlapping)[0].to(torch.uint8).cpu())
        if details is not None:
            probabilities = to_probabilities(image[None], overlapping).cpu()
            details.calibration.update(probabilities, target[None])
            details.predictions.add(predictions[-1].numpy())
            _score_own_metrics(result.classes, details, predictions[-1], target, probabilities[0])
    result.pixels.update(predictions, targets)
    if details is not None:
        details.contours.update(predictions, targets)
        details.strata.update(predictions, targets)
    return len(indices)


def _score_windows(
    result: SplitResult, prediction: PixelWindows, truth: PixelWindows, probabilities: Sequence[Tensor]
) -> int:
    """Score an image of any size; metrics of plug-ins alone need all of it in memory."""
    details = result.details
    result.pixels.update_windows(prediction, truth)
    if details is not None:
        details.contours.update_windows(prediction, truth)
        details.strata.update_windows(prediction, truth)
        if details.list_image_metrics():
            guess, target = (torch.from_numpy(read_whole(image)) for image in (prediction, truth))
            _score_own_metrics(result.classes, details, guess, target, torch.cat(list(probabilities), dim=1))
    return 1


def _score_own_metrics(
    classes: list[str], details: SplitDetails, prediction: Tensor, target: Tensor, probabilities: Tensor
) -> None:
    """Score an image by the metrics of plug-ins: labels uint8 `[H, W]`, probabilities float32 `[C, H, W]`."""
    for metric, scores in details.list_image_metrics():
        inputs = {"prediction": prediction, "target": target, "probabilities": probabilities}
        inputs["valid"] = ~find_ignored(target, details.contours.ignore_index)
        arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
        scores.append(metric.score_image(arrays | {"classes": classes}))
