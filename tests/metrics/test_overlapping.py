"""Metrics of overlapping classes: each class is scored against the rest of the image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score  # type: ignore[import-untyped]
from torch import Tensor

from losslab.io.windows import ArrayWindows
from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.confusion import SegmentationMetrics, compute_overlapping_scores, count_overlapping
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.overlapping import (
    OverlappingCalibration,
    OverlappingContours,
    OverlappingSegmentation,
    OverlappingStrata,
)
from losslab.metrics.strata import StratifiedErrors

generator = torch.Generator().manual_seed(0)
PROBABILITIES = torch.rand(4, 3, 24, 24, generator=generator)
PREDICTION = (PROBABILITIES > 0.5).to(torch.uint8).permute(0, 2, 3, 1)
TARGET = (torch.rand(4, 24, 24, 3, generator=generator) < 0.3).to(torch.uint8)
TARGET[3, ..., 2] = 0
TARGET[0, :5] = 255  # void
KINDS: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
    (lambda: OverlappingSegmentation(3, 255), lambda: SegmentationMetrics(1, 255)),
    (lambda: OverlappingContours(3, 255), lambda: ContourMetrics(1, 255)),
    (lambda: OverlappingStrata(3, 255), lambda: StratifiedErrors(1, 255)),
]


@pytest.mark.parametrize(("build", "build_binary"), KINDS)
def test_class_has_the_scores_of_its_own_binary_data(build: Any, build_binary: Any) -> None:
    metric = build()
    metric.update(PREDICTION, TARGET)
    scores = metric.compute()
    for label in range(3):
        binary = build_binary()
        binary.update(PREDICTION[..., label], TARGET[..., label])
        for key, expected in binary.compute().items():
            if key not in scores or scores[key].ndim == 0 or key == "confusion":
                continue
            own = scores[key][..., label] if key == "surface_dice" else scores[key][label]
            wanted = expected[..., 1] if key == "surface_dice" else expected[1]
            assert torch.equal(own.nan_to_num(-1), wanted.nan_to_num(-1)), key


@pytest.mark.parametrize(("build", "build_binary"), KINDS)
def test_images_by_windows_have_the_same_scores(build: Any, build_binary: Any) -> None:
    whole, parts = build(), build()
    whole.update(PREDICTION, TARGET)
    for guess, truth in zip(PREDICTION, TARGET, strict=True):
        parts.update_windows(ArrayWindows(guess.numpy()), ArrayWindows(truth.numpy()))
    for key, expected in whole.compute().items():
        assert torch.equal(parts.compute()[key].nan_to_num(-1), expected.nan_to_num(-1)), key


@pytest.mark.parametrize(
    ("key", "reference"),
    [("iou", jaccard_score), ("dice", f1_score), ("precision", precision_score), ("recall", recall_score)],
)
def test_scores_are_those_of_scikit_learn(key: str, reference: Any) -> None:
    metric = OverlappingSegmentation(3, 255)
    metric.update(PREDICTION, TARGET)
    known = (TARGET != 255).all(dim=-1)
    truth, guess = (labels[known].numpy() for labels in (TARGET, PREDICTION))
    assert np.allclose(metric.compute()[key], reference(truth, guess, average=None))
    means = {"iou": "miou", "dice": "mdice", "precision": "mprecision", "recall": "mean_accuracy"}
    assert float(metric.compute()[means[key]]) == pytest.approx(reference(truth, guess, average="macro"))


def test_validation_counts_what_evaluation_does() -> None:
    logits = torch.logit(PROBABILITIES)
    counted = count_overlapping(logits, TARGET.long().permute(0, 3, 1, 2), 255)
    metric = OverlappingSegmentation(3, 255)
    metric.update(PREDICTION, TARGET)
    assert torch.equal(counted, metric.confusion)
    assert compute_overlapping_scores(counted)["miou"] == metric.compute()["miou"]


def test_class_in_neither_truth_nor_prediction_has_no_score() -> None:
    metric = OverlappingSegmentation(2)
    empty: Tensor = torch.zeros(1, 4, 4, 2, dtype=torch.uint8)
    one = empty.clone()
    one[0, 0, 0, 0] = 1
    metric.update(one, one)
    scores = metric.compute()
    assert scores["iou"].isnan().tolist() == [False, True]
    assert scores["miou"] == scores["classes_scored"] == 1
    assert metric.compute_per_image()["miou"].tolist() == [1]


def test_class_that_is_void_in_an_image_changes_no_score_of_it() -> None:
    metric, without = OverlappingSegmentation(3, 255), OverlappingSegmentation(2, 255)
    target = TARGET.clone()
    target[..., 2] = 255
    metric.update(PREDICTION, target)
    without.update(PREDICTION[..., :2], target[..., :2])
    for key in ("miou", "mdice", "mean_accuracy", "pixel_accuracy"):
        assert torch.equal(metric.compute_per_image()[key], without.compute_per_image()[key]), key


def test_calibration_counts_each_pixel_for_each_class() -> None:
    metric = OverlappingCalibration(3, 255)
    metric.update(PROBABILITIES, TARGET)
    curve = metric.compute()
    assert curve["pixels"].sum() == (TARGET != 255).sum()
    known = TARGET != 255
    probability, truth = PROBABILITIES.permute(0, 2, 3, 1)[known], TARGET[known]
    confidence, right = torch.maximum(probability, 1 - probability), (probability > 0.5) == (truth == 1)
    bins = (confidence * 15).long().clamp(max=14)
    gaps = [(confidence[bins == at].sum() - right[bins == at].sum()).abs() for at in range(15)]
    assert float(curve["ece"]) == pytest.approx(float(sum(gaps)) / len(bins), abs=1e-6)
    for label in range(3):
        binary = CalibrationMetrics(1, 255)
        both = torch.stack([1 - PROBABILITIES[:, label], PROBABILITIES[:, label]], dim=1)
        binary.update(both, TARGET[..., label])
        assert torch.equal(curve["iou"][label].nan_to_num(-1), binary.compute()["iou"][1].nan_to_num(-1))
