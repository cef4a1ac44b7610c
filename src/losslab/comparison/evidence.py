"""What runs leave to compare them by, and whether they can be compared at all."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from losslab.comparison.metrics import LEAST_IMAGES, Numbers, compute_pooled_score, compute_shares, find_metric_class
from losslab.comparison.result import ComparedMetric
from losslab.errors import InputError
from losslab.io.files import JsonObject, read_csv, read_json

Line = Mapping[str, str]


@dataclass(frozen=True)
class RunEvidence:
    """The outs of one run, as far as comparisons read them."""

    name: str
    labels: Mapping[str, str]
    """Of its cell: axis → label."""
    seed: int
    params: Mapping[str, Any]
    model_md5: str
    model: JsonObject
    metrics: JsonObject
    """Of test, in metrics.json."""
    evaluation: JsonObject
    history: Sequence[Line]
    images: Sequence[Line]
    """Rows of per_image.csv, of test, by name."""
    strata: Sequence[Line]
    """Rows of strata.csv, of test."""
    examples: Sequence[Line]
    """Rows of predictions/examples.csv; none where the pictures are not at hand."""
    predictions: Path
    train_seconds: float | None
    mlflow_run: str | None

    @property
    def cell(self) -> str:
        return ", ".join(self.labels.values())

    @property
    def classes(self) -> list[str]:
        return list(self.model["classes"])

    @cached_property
    def truth(self) -> dict[str, tuple[int, ...]]:
        """Test image → its true pixels by class."""
        return {row["image"]: tuple(int(row[f"truth_{name}"]) for name in self.classes) for row in self.images}

    def score(self, metric: str) -> float:
        """Over the test set; NaN where it means nothing."""
        if find_metric_class(metric, self.classes) is not None:
            return compute_pooled_score(self.images, self.classes, metric)
        value = self.metrics.get(metric)
        return math.nan if value is None else float(value)

    def shares(self, metric: str) -> Numbers:
        """Of each test image, `[images]`, in the order of their names."""
        return compute_shares(self.images, self.classes, metric)


def check_judgeable(metric: ComparedMetric, runs: Sequence[RunEvidence]) -> ComparedMetric:
    """The metric, with a reason where it cannot be judged by these runs' images.

    Raises:
        InputError: a metric of single images that none has in every run.
    """
    name = find_metric_class(metric.key, runs[0].classes)
    if not metric.has_images:
        return metric
    if name is not None:
        having = sum(pixels[runs[0].classes.index(name)] > 0 for pixels in runs[0].truth.values())
        if having < LEAST_IMAGES:
            return replace(metric, has_images=False, why_not=f"only {having} of the test images have {name}")
    shared = np.stack([run.shares(metric.key) for run in runs])
    lacking = [run.name for run, shares in zip(runs, shared, strict=True) if np.isnan(shares).all()]
    if lacking:
        return replace(metric, has_images=False, why_not=f"{lacking[0]} has no {metric.title}, or by one image alone")
    if np.isnan(shared).any(axis=0).all():
        return replace(metric, has_images=False, why_not=f"no test image has {metric.title} in every run")
    return metric


def compute_score(run: RunEvidence, metric: ComparedMetric, images: npt.NDArray[np.bool_] | None = None) -> float:
    """A run's score; of what single images have, the mean of these images, so that what is shown is what is judged."""
    if not metric.has_images:
        return run.score(metric.key)
    found = run.shares(metric.key)
    return float(np.nanmean(found if images is None else found[images]))


def read_evidence(
    folder: Path,
    name: str,
    labels: Mapping[str, str],
    params: Mapping[str, Any],
    model_md5: str,
    train_seconds: float | None = None,
    mlflow_run: str | None = None,
) -> RunEvidence:
    """Read a run's outs.

    Args:
        folder: with `models/model.json` and `reports/`.

    Raises:
        InputError: a table is missing, or of an older losslab that did not count each image's pixels.
    """
    reports, predictions = folder / "reports", folder / "reports/predictions"
    try:
        images = [row for row in read_csv(reports / "per_image.csv") if row["split"] == "test"]
        found = RunEvidence(
            name=name,
            labels=labels,
            seed=int(params["seed"]),
            params=params,
            model_md5=model_md5,
            model=read_json(folder / "models/model.json"),
            metrics=read_json(reports / "metrics.json")["test"],
            evaluation=read_json(reports / "evaluation.json"),
            history=read_csv(reports / "history.csv"),
            images=sorted(images, key=lambda row: row["image"]),
            strata=[row for row in read_csv(reports / "strata.csv") if row["split"] == "test"],
            examples=read_csv(predictions / "examples.csv") if (predictions / "examples.csv").exists() else [],
            predictions=predictions,
            train_seconds=train_seconds,
            mlflow_run=mlflow_run,
        )
        _ = found.truth
    except FileNotFoundError as error:
        raise InputError(f"{name}: has no {Path(error.filename).relative_to(folder)}; evaluate it again") from None
    except KeyError as error:
        raise InputError(
            f"{name}: its tables have no {error}; they are of an older losslab: evaluate it again"
        ) from None
    return found


def group_test_sets(runs: Sequence[RunEvidence], axes: Mapping[str, Sequence[str]]) -> dict[str, list[RunEvidence]]:
    """The runs by test set. There is one, or one for each label of an axis, as of `dataset` or of folds: other datasets, or
    no image in two of them.

    Returns:
        Label of that axis → its runs; one entry named "" where all are of the same test set.

    Raises:
        InputError: other test sets, or other ways of scoring; says what differs.
    """
    if (reason := _difference(runs)) is None:
        return {"": list(runs)}
    for axis, labels in axes.items():
        parts = {label: [run for run in runs if run.labels.get(axis) == label] for label in labels}
        sets = [(str(part[0].params["dataset"]), part[0].truth.keys()) for part in parts.values() if part]
        apart = all(one[0] != other[0] or not one[1] & other[1] for one, other in itertools.combinations(sets, 2))
        if len(sets) == len(parts) > 1 and apart and all(_difference(part) is None for part in parts.values()):
            return parts
    raise InputError(f"cannot be compared: {reason}")


def _difference(runs: Sequence[RunEvidence]) -> str | None:
    """Why runs cannot be held against each other image by image."""
    first = runs[0]
    for run in runs[1:]:
        both = f"{first.name} and {run.name}"
        if run.classes != first.classes:
            return f"other classes: {first.name} has {', '.join(first.classes)}, {run.name} {', '.join(run.classes)}"
        if run.evaluation["resolution"] != first.evaluation["resolution"]:
            scored = [f"{one.name} at {one.evaluation['resolution']}" for one in (first, run)]
            return f"other metrics: {scored[0]}, {scored[1]} resolution; set evaluate.resolution alike"
        if run.truth.keys() != first.truth.keys():
            lone = sorted(run.truth.keys() ^ first.truth.keys())[0]
            owner = first if lone in first.truth else run
            numbers = f"{len(first.truth)} and {len(run.truth)} images"
            return f"other test sets: {both} have {numbers}; {lone} is in that of {owner.name} alone"
        if run.truth != first.truth:
            image = next(name for name in first.truth if first.truth[name] != run.truth[name])
            sizes = f"prepare.size {first.model['size']} and {run.model['size']}"
            return (
                f"other test sets: {both} have other true pixels in {image} ({sizes}; data "
                f"{first.model['data_md5']} and {run.model['data_md5']})"
            )
    return None
