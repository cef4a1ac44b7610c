import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from losslab.data.prepared import Prepared
from losslab.errors import InputError
from losslab.evaluation import SplitResult, evaluate, write_predictions, write_tables


class Brightness(nn.Module):
    """Labels a pixel by its red channel alone, so that every score can be worked out from the arrays."""

    def forward(self, images: Tensor) -> Tensor:
        red = images[:, :1]
        return torch.cat([red - 1, 0 * red, 0 * red - 9], dim=1)


@pytest.fixture
def description(tiny_data: Prepared) -> dict[str, Any]:
    data = tiny_data.describe()
    kept = {key: data[key] for key in ("classes", "size", "fit", "ignore_index", "palette")}
    return {
        **kept,
        "num_classes": 3,
        "mean": [0.0] * 3,
        "std": [0.5] * 3,
        "precision": "32-true",
        "run": {"train": {"device": "auto"}},
    }


@pytest.fixture
def result(tiny_data: Prepared, description: dict[str, Any]) -> SplitResult:
    return evaluate(Brightness(), description, tiny_data, "test", 2)


def test_tables_hold_the_scores_of_the_predictions(result: SplitResult, tiny_data: Prepared, tmp_path: Path) -> None:
    write_tables({"test": result, "val": result}, tmp_path)
    truth, guess = tiny_data.masks("test"), np.where(tiny_data.images("test")[..., 0] / 255 * 2 - 1 > 0, 0, 1)
    assert np.array_equal(np.stack([result.predictions[index] for index in range(len(guess))]), guess)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert list(metrics) == ["test", "val"]
    assert set(metrics["test"]) == {"miou", "mdice", "pixel_accuracy", "mean_accuracy", "miou_per_image", "iou"}
    skin = ((guess == 0) & (truth == 0)).sum() / ((guess == 0) | (truth == 0)).sum()
    assert metrics["test"]["iou"]["skin"] == pytest.approx(skin, abs=1e-6)
    assert metrics["test"]["iou"]["hair"] == 0
    assert metrics["test"]["pixel_accuracy"] == pytest.approx((guess == truth).mean(), abs=1e-6)
    tables = {}
    for name in ("per_class", "per_image", "confusion"):
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert [row["class"] for row in tables["per_class"]] == ["skin", "lesion", "hair"] * 2
    assert [row["image"] for row in tables["per_image"]] == tiny_data.names("test") * 2
    assert float(tables["per_image"][0]["pixel_accuracy"]) == pytest.approx((guess == truth)[0].mean(), abs=1e-6)
    counts = [int(tables["confusion"][0][name]) for name in ("skin", "lesion", "hair")]
    assert counts == [((truth == 0) & (guess == label)).sum() for label in range(3)]


def test_batch_size_changes_nothing(result: SplitResult, tiny_data: Prepared, description: dict[str, Any]) -> None:
    other = evaluate(Brightness(), description, tiny_data, "test", 1)
    assert torch.equal(other.confusions, result.confusions)


def test_absent_class_is_empty_in_tables(result: SplitResult, tmp_path: Path) -> None:
    result.scores["iou"][2] = math.nan
    write_tables({"test": result}, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["test"]["iou"]["hair"] is None
    assert "test,hair,,0.0" in (tmp_path / "per_class.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_predictions_are_kept_best_first_and_worst_last(
    count: int, result: SplitResult, tiny_data: Prepared, description: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "predictions"
    write_predictions(result, tiny_data, "test", description["palette"], count, folder)
    assert len(list(folder.glob("*.png"))) == 3 * min(count, 3)
    with (folder / "examples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["iou"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    if count == 2:
        assert [row["rank"] for row in rows] == ["1", "3"]
    for row in rows:
        index = result.names.index(row["image"])
        prediction = Image.open(folder / f"{row['file']}.prediction.png")
        assert np.array_equal(np.asarray(prediction), result.predictions[index])
        assert prediction.convert("RGB").getpixel((0, 0)) == tuple(
            description["palette"][result.predictions[index][0, 0]]
        )
        assert np.array_equal(
            np.asarray(Image.open(folder / f"{row['file']}.truth.png")), tiny_data.masks("test")[index]
        )


def test_kept_images_are_spread_over_all_ranks() -> None:
    from losslab.evaluation import _chosen

    assert _chosen(100, 9) == [0, 1, 2, 18, 50, 81, 97, 98, 99]
    assert _chosen(4, 24) == [0, 1, 2, 3]
    assert all(len(_chosen(images, count)) == min(images, count) for images in range(1, 30) for count in range(31))


def test_model_of_other_data_is_refused(tiny_data: Prepared, description: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"size: the model has 32, .* has 64; train again"):
        evaluate(Brightness(), description | {"size": 32}, tiny_data, "test", 2)
