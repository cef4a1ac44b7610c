"""Evidence that runs leave to compare them by, and checks that they can be compared at all."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from losslab.comparison.metrics import (
    Counts,
    Numbers,
    Score,
    compute_effective_number,
    compute_pooled_score,
    compute_shares,
    find_metric_class,
    list_metrics,
    read_counts,
)
from losslab.comparison.result import ComparedMetric
from losslab.comparison.verdicts import MIN_UNITS
from losslab.errors import InputError
from losslab.formats import format_plural
from losslab.io.files import JsonObject, read_csv, read_json
from losslab.metrics.plugin_metric import load_metric

TextRow = Mapping[str, str]
"""One row of a CSV file: column → text."""


@dataclass(frozen=True, kw_only=True)
class RunEvidence:
    """Outs of one run, as far as comparisons read them."""

    name: str
    labels: Mapping[str, str]
    """Labels of its cell: axis → label."""
    seed: int
    params: Mapping[str, Any]
    model_md5: str
    """MD5 of its model, by which the same model is recognised."""
    model: JsonObject
    metrics: JsonObject
    """Scores on test, from scores.json."""
    evaluation: JsonObject
    history: Sequence[TextRow]
    """Rows of history.csv; none for an ensemble."""
    images: Sequence[TextRow]
    """Rows of per_image.csv for test, sorted by image."""
    strata: Sequence[TextRow]
    """Rows of strata.csv for test."""
    examples: Sequence[TextRow]
    """Rows of predictions/examples.csv; empty where there are no pictures."""
    predictions: Path
    train_seconds: float | None
    """Seconds of training; None where they are not known."""
    mlflow_run: str | None

    @property
    def cell(self) -> str:
        """Name of its cell: the labels."""
        return " + ".join(self.labels.values())

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(self.model["classes"])

    @property
    def resolution(self) -> str:
        """The size at which it was scored, original or prepared; tiles are prepared at the original size."""
        return "original" if self.model["fit"] == "tile" else str(self.evaluation["resolution"])

    @cached_property
    def truth(self) -> dict[str, tuple[int, ...]]:
        """Test image → true pixels of each class."""
        return {row["image"]: tuple(int(row[f"truth_{name}"]) for name in self.classes) for row in self.images}

    def list_metrics(self) -> dict[str, ComparedMetric]:
        """List by key the metrics that the run can be compared by."""
        return list_metrics(self.metrics, self.classes, self.evaluation.get("metric_facts"))

    def describe_own(self, metric: str) -> tuple[Any, Any]:
        """Return a plug-in's metric's options, and its code if images were scored by it; `compute_shares` tries the others."""
        facts = self.evaluation.get("metric_facts", {}).get(metric, {})
        code = facts.get("code") if facts.get("of") == "images" else None
        return self.evaluation.get("metrics", {}).get(metric), code

    def compute_score(self, metric: str) -> float:
        """Compute the score of the test set; NaN where it means nothing."""
        if find_metric_class(metric, self.classes) is not None:
            return compute_pooled_score(self.images, self.classes, metric)
        value = self.metrics.get(metric)
        return math.nan if value is None else float(value)

    @cached_property
    def groups(self) -> list[str] | None:
        """Group of each test image, in the order of their names; None where each image is one of its own."""
        groups = [row["group"] for row in self.images if row.get("group")]
        return groups if len(set(groups)) < len(self.images) == len(groups) else None

    @property
    def units(self) -> list[str]:
        """Independent unit of each test image: its group where there are groups, else the image."""
        return self.groups or list(self.truth)

    @property
    def unit_count(self) -> int:
        """Number of independent units; of groups that differ in size the effective number, rounded."""
        return round(compute_effective_number(self.units))

    @property
    def unit_noun(self) -> str:
        """Noun of the independent units."""
        if self.groups is None:
            return "test image"
        return "test group" if self.unit_count == len(set(self.groups)) else "effective test group"

    def compute_shares(self, metric: str) -> Numbers:
        """Compute each test image's share of the score, `[images]`, in the order of their names."""
        return compute_shares(self.images, self.classes, metric, own=self._find_own(metric))

    def compute_unit_shares(self, metric: str, scored: npt.NDArray[np.bool_]) -> Numbers:
        """Compute the share of each independent unit `[units]` of the score of the images in the mask `[images]`."""
        if self.groups is None:
            return self.compute_shares(metric)[scored]
        images, groups = itertools.compress(self.images, scored), itertools.compress(self.groups, scored)
        return compute_shares(list(images), self.classes, metric, list(groups), self._find_own(metric))

    def _find_own(self, metric: str) -> Score | str | None:
        """Find the function of a plug-in's metric of classes, or the column of one of images; None: it is losslab's.

        Raises InputError if the function does not give the score that the run has.
        """
        facts = self.evaluation.get("metric_facts", {}).get(metric)
        if facts is None or facts["of"] == "images":
            return metric if facts else None
        found = load_metric(metric, self.evaluation["metrics"][metric])

        def compute(counts: Counts) -> Numbers:
            return torch.from_numpy(found.score_classes(counts)).nanmean(dim=-1).numpy()

        counts = {name: part.sum(axis=0) for name, part in read_counts(self.images, self.classes).items()}
        now, then = float(compute(counts)), self.compute_score(metric)
        if not np.isclose(now, then, atol=1e-5, equal_nan=True):
            raise InputError(
                f"{found.entry.place}: {metric} has changed: {self.name} was scored {then:.4f}, now it is {now:.4f}; "
                "evaluate it again"
            )
        return compute


def check_judgeable(metric: ComparedMetric, runs: Sequence[RunEvidence]) -> ComparedMetric:
    """Return the metric, with `why_not` where it cannot be judged by these runs' test images."""
    first = runs[0]
    name, noun = find_metric_class(metric.key, first.classes), "group" if first.groups else "image"
    if not metric.has_images:
        return metric
    if len(set(first.units)) == 1 and first.groups:
        return replace(metric, has_images=False, why_not="all test images are of one group")
    if name is not None:
        label = first.classes.index(name)
        having = {unit for unit, pixels in zip(first.units, first.truth.values(), strict=True) if pixels[label] > 0}
        if first.groups and first.unit_count < MIN_UNITS:
            few = format_plural(first.unit_count, first.unit_noun)
            return replace(metric, has_images=False, why_not=f"there are only {few}")
        if len(having) < MIN_UNITS:
            return replace(metric, has_images=False, why_not=f"only {len(having)} of the test {noun}s have {name}")
    shares = np.stack([run.compute_shares(metric.key) for run in runs])
    scored = np.asarray(~np.isnan(shares).any(axis=0))
    lacking = [run.name for run, row in zip(runs, shares, strict=True) if np.isnan(row).all()]
    if scored.any():
        lacking = [run.name for run in runs if np.isnan(run.compute_unit_shares(metric.key, scored)).all()]
    if lacking:
        why = f"{lacking[0]} has no {metric.title}, or has it from only one {noun}"
        return replace(metric, has_images=False, why_not=why)
    if not scored.any():
        return replace(metric, has_images=False, why_not=f"no test image has {metric.title} in every run")
    return metric


def compute_score(run: RunEvidence, metric: ComparedMetric, images: npt.NDArray[np.bool_] | None = None) -> float:
    """Compute a run's score in the unit of the metric, so that what is shown is what is judged.

    `images` is a mask `[images]` of the test images to average, where single images have the metric; None: all.
    """
    if not metric.has_images:
        return run.compute_score(metric.key)
    shares = run.compute_shares(metric.key)
    return float(np.nanmean(shares if images is None else shares[images]))


def read_evidence(
    folder: Path,
    name: str,
    labels: Mapping[str, str],
    params: Mapping[str, Any],
    model_md5: str,
    train_seconds: float | None = None,
    mlflow_run: str | None = None,
) -> RunEvidence:
    """Read a run's outs from its repository, which has `models/model.json` and `reports/`; the rest is as in RunEvidence.

    Raises:
        InputError: a table is missing, or an older losslab wrote it, which did not count each image's pixels.
    """
    reports, predictions = folder / "reports", folder / "reports/predictions"
    try:
        images = [row for row in read_csv(reports / "per_image.csv") if row["split"] == "test"]
        evaluation = read_json(reports / "evaluation.json")
        evidence = RunEvidence(
            name=name,
            labels=labels,
            seed=int(params["seed"]),
            params=params,
            model_md5=model_md5,
            model=read_json(folder / "models/model.json"),
            metrics=read_json(reports / "scores.json")["test"],
            evaluation=evaluation,
            history=[] if evaluation.get("ensemble") else read_csv(reports / "history.csv"),  # that of its first member
            images=sorted(images, key=lambda row: row["image"]),
            strata=[row for row in read_csv(reports / "strata.csv") if row["split"] == "test"],
            examples=read_csv(predictions / "examples.csv") if (predictions / "examples.csv").exists() else [],
            predictions=predictions,
            train_seconds=train_seconds,
            mlflow_run=mlflow_run,
        )
        _ = evidence.truth, read_counts(images[:1], evidence.classes)
    except FileNotFoundError as error:
        raise InputError(f"{name} has no {Path(error.filename).relative_to(folder)}: evaluate it again") from None
    except KeyError as error:
        message = f"{name}: its tables have no {error}, as an older losslab wrote them: evaluate it again"
        raise InputError(message) from None
    return evidence


def group_test_sets(runs: Sequence[RunEvidence], axes: Mapping[str, Sequence[str]]) -> dict[str, list[RunEvidence]]:
    """Group runs by test set; images whose groups some run knows have these in all runs.

    There is one test set, named "", or one for each label of an axis, such as `dataset` or folds, by that label: then two
    labels have different datasets, or no image in common.

    Raises:
        InputError: test sets or ways of scoring differ otherwise; the message says how.
    """
    if (reason := _find_difference(runs)) is None:
        return {"": _share_groups(runs)}
    for axis, labels in axes.items():
        parts = {label: [run for run in runs if run.labels.get(axis) == label] for label in labels}
        sets = [(str(part[0].params["dataset"]), part[0].truth.keys()) for part in parts.values() if part]
        disjoint = all(one[0] != other[0] or not one[1] & other[1] for one, other in itertools.combinations(sets, 2))
        if len(sets) == len(parts) > 1 and disjoint and all(_find_difference(part) is None for part in parts.values()):
            return {label: _share_groups(part) for label, part in parts.items()}
    raise InputError(f"cannot be compared: {reason}")


def _share_groups(runs: Sequence[RunEvidence]) -> list[RunEvidence]:
    """Give the groups of the test images to runs whose tables were written before these had any."""
    known = next((run.images for run in runs if run.groups), None)
    if known is None:
        return list(runs)
    groups = [row["group"] for row in known]
    return [
        run
        if run.groups
        else replace(run, images=[{**row, "group": group} for row, group in zip(run.images, groups, strict=True)])
        for run in runs
    ]


def _find_difference(runs: Sequence[RunEvidence]) -> str | None:
    """Find why runs cannot be compared image by image; None: they can."""
    first, grouped = runs[0], next((run for run in runs if run.groups), runs[0])
    for run in runs[1:]:
        if run.classes != first.classes:
            return (
                f"different classes: {first.name} has {', '.join(first.classes)}; {run.name} {', '.join(run.classes)}"
            )
        if run.resolution != first.resolution:
            scored = f"{first.name} was scored at {first.resolution}, {run.name} at {run.resolution}"
            return f"different resolutions: {scored}; use the same evaluate.resolution"
        if run.truth.keys() != first.truth.keys():
            lone = sorted(run.truth.keys() ^ first.truth.keys())[0]
            owner = first if lone in first.truth else run
            counts = f"{first.name} has {len(first.truth)} images, {run.name} {len(run.truth)}"
            return f"different test sets: {counts}; only {owner.name} has {lone}"
        if run.truth != first.truth:
            image = next(name for name in first.truth if first.truth[name] != run.truth[name])
            made = [f"{one.model['fit']} {one.model['size']}" for one in (first, run)]
            resized = (
                "; score both at the size of the files: evaluate.resolution=original" if made[0] != made[1] else ""
            )
            return (
                f"different test sets: {first.name} and {run.name} have different true pixels in {image} (prepare.fit and "
                f"size {made[0]} and {made[1]}; data {first.model['data_md5']} and {run.model['data_md5']}){resized}"
            )
        if run.groups and run.groups != grouped.groups:
            return f"different groups of test images: {grouped.name} and {run.name} were prepared with other groups"
    return None
