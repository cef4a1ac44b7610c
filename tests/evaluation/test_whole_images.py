"""Images that keep their own sizes are scored whole, by the windows that the net sees of them."""

import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from losslab.cards import SPLITS, SplitName
from losslab.data.loading.arrays import ImageRow, PreparedData
from losslab.errors import InputError
from losslab.evaluation import evaluate_split, write_examples, write_tables
from losslab.evaluation.label_store import LabelMapStore
from losslab.evaluation.targets import PreparedTargets
from losslab.inference.predictor import Predictor
from losslab.io.files import read_csv
from losslab.io.windows import read_whole
from tests.data.own_data import own_card, prepared_from
from tests.data.prepare.test_bands import SIZES, describe, make_bands

CLASSES: dict[str, Any] = {"classes": ["back", "front"], "palette": [[0, 0, 0], [9, 9, 9]], "num_classes": 2}


class Threshold(torch.nn.Module):
    """A net that sees one pixel, and says front where the mean of its bands is above the training images'."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        brightness = images.mean(dim=1, keepdim=True)
        return torch.cat([-brightness, brightness], dim=1)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedData:
    make_bands(tmp_path)
    card = own_card(tmp_path, bands=describe(scaling={"percentiles": [1, 99]}))
    return prepared_from(tmp_path, card, fit="tile")[1]


def describe_model(prepared: PreparedData, **changes: Any) -> dict[str, Any]:
    data = prepared.describe()
    kept = {key: data[key] for key in ("size", "fit", "ignore_index", "mean", "std", "bands")}
    return CLASSES | kept | {"precision": "32-true", "run": {"train": {"device": "cpu"}}} | changes


@pytest.mark.parametrize("strip", [100, 10**7])
def test_whole_images_are_scored_as_in_one_pass(prepared: PreparedData, strip: int) -> None:
    description, seen = describe_model(prepared), set[tuple[int, int]]()
    predictor = Predictor(Threshold(), description)
    for split in SPLITS:
        with mock.patch("losslab.io.windows.STRIP_PIXELS", strip), warnings.catch_warnings():
            warnings.simplefilter("error")
            result = evaluate_split(Threshold(), description, prepared, split, 3)
        assert result.details is not None
        for index in range(len(result.names)):
            image, truth = (read_whole(ImageRow(prepared.rows(split, what), index)) for what in ("images", "masks"))
            expected = predictor.compute_logits(torch.from_numpy(image)[None])[0].argmax(0).numpy()
            assert np.array_equal(read_whole(result.details.predictions[index]), expected)
            right = (expected == truth)[truth != 255].mean()
            assert result.pixels.compute_per_image()["pixel_accuracy"][index] == pytest.approx(right)
            seen.add(truth.shape)
        assert result.details.calibration.compute()["pixels"].sum() == result.pixels.confusion.sum()
    assert seen == set(SIZES)


def test_tables_and_pictures_of_whole_images_are_written(prepared: PreparedData, tmp_path: Path) -> None:
    splits: tuple[SplitName, ...] = ("val", "test")
    description = describe_model(prepared)
    results = {split: evaluate_split(Threshold(), description, prepared, split, 3) for split in splits}
    write_tables(results, tmp_path)
    write_examples(results["test"], "test", CLASSES, 4, tmp_path / "predictions")
    names = [row["image"] for row in read_csv(tmp_path / "per_image.csv") if row["split"] == "test"]
    assert names == prepared.names("test") and len(list((tmp_path / "predictions").glob("*.png"))) == 3 * len(names)


def test_list_of_images_is_not_read_anew_for_each(prepared: PreparedData) -> None:
    with mock.patch.object(PreparedData, "read_index", autospec=True, side_effect=PreparedData.read_index) as read:
        targets = PreparedTargets(prepared, "train")
        for index in range(len(prepared.names("train"))):
            targets.open_mask(index)
    assert read.call_count == 2  # once for the names


def test_model_of_another_fit_is_refused(prepared: PreparedData) -> None:
    with pytest.raises(InputError, match=r"fit: the model has stretch, .* has tile; train again"):
        evaluate_split(Threshold(), describe_model(prepared, fit="stretch"), prepared, "test", 2)


def test_stored_labels_are_read_in_any_window(rng: np.random.Generator) -> None:
    labels, store = rng.integers(0, 9, (20, 15), dtype=np.uint8), LabelMapStore()
    store.add(labels[:3])
    stored = store.begin(20, 15)
    for rows in np.split(labels, [1, 5, 6, 17]):
        stored.append(rows)
    for _ in range(30):
        top, left = rng.integers(0, 15, 2)
        height, width = rng.integers(1, 20 - top + 1), rng.integers(1, 15 - left + 1)
        assert np.array_equal(stored.read(top, left, height, width), labels[top : top + height, left : left + width])
    assert len(store) == 2 and np.array_equal(read_whole(store[0]), labels[:3])
