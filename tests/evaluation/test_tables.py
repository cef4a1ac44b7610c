import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from losslab.comparison.metrics import list_judged_metrics, list_metrics
from losslab.data.loading.arrays import PreparedData
from losslab.evaluation import SplitResult, evaluate_split, write_tables
from losslab.io.files import read_csv
from losslab.metrics.confusion import SegmentationMetrics
from tests.evaluation.conftest import Brightness

TABLES = ("per_class", "per_image", "confusion", "calibration", "thresholds", "strata")
MEANS = ["miou", "mdice", "mprecision", "mean_accuracy", "fwiou", "pixel_accuracy", "mcc", "miou_per_image"]
SUMMARY = [*MEANS, "boundary_iou", "surface_dice_1", "surface_dice_3", "hd95", "ece", "classes_scored", "iou"]
UNUSED: Any = None
"""Targets of a result that no test reads."""
BINARY = ["seed_score", "threshold", "miou_at_threshold", "iou_at_threshold"]


@pytest.fixture
def tables(
    result: SplitResult, tiny_data: PreparedData, description: dict[str, Any], tmp_path: Path
) -> dict[str, list[dict[str, str]]]:
    sample = evaluate_split(Brightness(), description, tiny_data, "train", 4, tolerances=None)
    val = evaluate_split(Brightness(), description, tiny_data, "val", 4)
    write_tables({"train": sample, "val": val, "test": result}, tmp_path)
    return {name: read_csv(tmp_path / f"{name}.csv") for name in TABLES}


def build_binary_result(split: str, probabilities: torch.Tensor, target: torch.Tensor) -> SplitResult:
    from losslab.evaluation.label_store import LabelMapStore
    from losslab.evaluation.scoring import SplitDetails
    from losslab.metrics.calibration import CalibrationMetrics
    from losslab.metrics.contours import ContourMetrics
    from losslab.metrics.strata import StratifiedErrors

    details = SplitDetails(ContourMetrics(1), CalibrationMetrics(1), StratifiedErrors(1), LabelMapStore(), {})
    result = SplitResult(
        ["skin", "lesion"], [f"{split}{i}" for i in range(len(target))], UNUSED, SegmentationMetrics(1), details
    )
    guess = (probabilities > 0.5).long()
    for metric in (result.pixels, details.contours, details.strata):
        metric.update(guess, target)
    details.calibration.update(torch.stack([1 - probabilities, probabilities], dim=1), target)
    return result


def test_summary_has_test_and_val_alone(tables: object, tmp_path: Path) -> None:
    metrics = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert list(metrics) == ["test", "val"]
    assert list(metrics["test"]) == SUMMARY
    classes = list(metrics["test"]["iou"])
    assert classes == ["skin", "lesion", "hair"]
    judged = {key for key, metric in list_metrics(metrics["test"], classes).items() if metric.has_images}
    assert judged == set(list_judged_metrics(classes, is_binary=False))


def test_tables_hold_the_scores_of_the_predictions(
    tables: dict[str, list[dict[str, str]]], tiny_data: PreparedData, tmp_path: Path
) -> None:
    truth, guess = tiny_data.masks("test"), np.where(tiny_data.images("test")[..., 0] / 255 * 2 - 1 > 0, 0, 1)
    summary = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["test"]
    skin = ((guess == 0) & (truth == 0)).sum() / ((guess == 0) | (truth == 0)).sum()
    assert summary["iou"]["skin"] == pytest.approx(skin, abs=1e-6) and summary["iou"]["hair"] == 0
    assert summary["pixel_accuracy"] == pytest.approx((guess == truth).mean(), abs=1e-6)
    test_rows = {name: [row for row in rows if row["split"] == "test"] for name, rows in tables.items()}
    assert [row["class"] for row in tables["per_class"]] == ["skin", "lesion", "hair"] * 3
    assert int(test_rows["per_class"][1]["predicted"]) == (guess == 1).sum()
    assert float(test_rows["per_class"][0]["boundary_iou"]) > 0
    assert [row["image"] for row in test_rows["per_image"]] == tiny_data.names("test")
    assert float(test_rows["per_image"][0]["pixel_accuracy"]) == pytest.approx((guess == truth)[0].mean(), abs=1e-6)
    counts = [int(test_rows["confusion"][0][name]) for name in ("skin", "lesion", "hair")]
    assert counts == [((truth == 0) & (guess == label)).sum() for label in range(3)]
    assert sum(int(row["pixels"]) for row in test_rows["calibration"]) == truth.size
    everywhere = [row for row in test_rows["strata"] if row["by"] == "border_distance" and row["class"] == "all"]
    assert [row["position"] for row in everywhere] == list("012345")
    assert sum(int(row["wrong"]) for row in everywhere) == (guess != truth).sum()


def test_columns_are_those_of_the_contract(tables: dict[str, list[dict[str, str]]]) -> None:
    assert {name: " ".join(rows[0]) for name, rows in tables.items()} == {
        "per_class": "split class iou dice precision recall support predicted images boundary_iou surface_dice_1 "
        "surface_dice_3 hd95 hd95_images hd95_one_sided",
        "per_image": "split image iou dice pixel_accuracy boundary_iou hd95 iou_skin iou_lesion iou_hair "
        "hit_skin hit_lesion hit_hair truth_skin truth_lesion truth_hair predicted_skin predicted_lesion predicted_hair "
        "overlap_skin overlap_lesion overlap_hair band_skin band_lesion band_hair hd95_skin hd95_lesion hd95_hair",
        "confusion": "split truth skin lesion hair",
        "calibration": "split bin lower upper confidence accuracy pixels",
        "thresholds": "split class threshold precision recall dice iou chosen",
        "strata": "split by class stratum position objects images pixels wrong error_rate recall iou",
    }


def test_training_images_are_scored_by_pixels_alone(tables: dict[str, list[dict[str, str]]]) -> None:
    for name, rows in tables.items():
        splits = list(dict.fromkeys(row["split"] for row in rows))
        assert splits == (["train", "val", "test"] if name == "per_class" else ["val", "test"]), name
    train = [row for row in tables["per_class"] if row["split"] == "train"]
    assert all(row["iou"] and not row["boundary_iou"] and not row["hd95"] and not row["hd95_images"] for row in train)


def test_absent_class_is_empty_in_tables(tiny_data: PreparedData, description: dict[str, Any], tmp_path: Path) -> None:
    """No image has the fourth class, and none is taken for it."""
    four = description | {"classes": [*description["classes"], "beard"], "num_classes": 4}

    class Described(PreparedData):
        def describe(self) -> dict[str, Any]:
            return super().describe() | {"classes": four["classes"]}

    class Wider(Brightness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            return torch.cat([logits, logits[:, 2:]], dim=1)

    result = evaluate_split(Wider(), four, Described(tiny_data.folder), "val", 2)
    write_tables({"val": result}, tmp_path)
    metrics = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["val"]
    assert metrics["iou"]["beard"] is None and metrics["classes_scored"] == 3
    (row,) = (row for row in read_csv(tmp_path / "per_class.csv") if row["class"] == "beard")
    assert not any(row[name] for name in ("iou", "dice", "precision", "recall", "boundary_iou", "hd95"))
    assert row["support"] == row["hd95_images"] == "0"


def test_threshold_is_chosen_on_val_and_applied_to_test(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 2, (2, 6, 6), generator=generator)
    val = (0.25 + 0.4 * target + 0.0).float()  # parts best from 0.25 on
    val[target == 1] = 0.35
    test = torch.where(target == 1, 0.6, 0.4).float()
    test[0, 0] = 0.3
    write_tables(
        {"val": build_binary_result("val", val, target), "test": build_binary_result("test", test, target)}, tmp_path
    )
    metrics = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert list(metrics["test"]) == [name for name in SUMMARY if name != "iou"] + [*BINARY, "iou"]
    assert metrics["val"]["threshold"] == metrics["test"]["threshold"] == 0.34
    assert metrics["val"]["iou_at_threshold"] == 1 and metrics["val"]["iou"]["lesion"] == 0
    guess = test > 0.34
    iou = (guess & (target == 1)).sum() / (guess | (target == 1)).sum()
    assert metrics["test"]["iou_at_threshold"] == pytest.approx(float(iou), abs=1e-6)
    rows = read_csv(tmp_path / "thresholds.csv")
    assert {row["class"] for row in rows} == {"lesion"} and len(rows) == 2 * 99
    assert [(row["split"], row["threshold"]) for row in rows if row["chosen"] == "1"] == [
        ("val", "0.34"),
        ("test", "0.34"),
    ]
    assert "score" in read_csv(tmp_path / "per_image.csv")[0]


def test_without_foreground_on_val_there_is_no_threshold(tmp_path: Path) -> None:
    target = torch.zeros(1, 4, 4, dtype=torch.int64)
    write_tables({"val": build_binary_result("val", torch.zeros(1, 4, 4), target)}, tmp_path)
    metrics = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["val"]
    assert [metrics[name] for name in BINARY] == [1, None, None, None]


def test_group_of_each_image_is_in_its_row(result: SplitResult, tmp_path: Path) -> None:
    write_tables({"val": replace(result, groups=["a", "a", "b"]), "test": result}, tmp_path)
    rows = [row for row in read_csv(tmp_path / "per_image.csv") if row["split"] == "val"]
    assert list(rows[0])[:3] == ["split", "image", "group"] and [row["group"] for row in rows] == ["a", "a", "b"]
