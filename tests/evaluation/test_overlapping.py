"""Overlapping classes from their masks to scores, pictures, pages and predictions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from losslab import models
from losslab.cards import read_card
from losslab.cli import app
from losslab.data.download.fetch import fetch
from losslab.data.images.class_masks import build_label_reader
from losslab.data.loading.arrays import PreparedData
from losslab.data.loading.batches import build_training_loader
from losslab.data.loading.crops import CropSampler
from losslab.data.prepare.prepare import prepare
from losslab.errors import InputError
from losslab.evaluation import build_original_targets, evaluate_split, evaluate_splits, write_examples, write_tables
from losslab.export.deployable import build_metadata
from losslab.inference.ensemble import EnsembleNet
from losslab.inference.predictor import Predictor
from losslab.io.files import read_csv, write_csv, write_json
from losslab.io.windows import read_whole
from losslab.label_sets import combine_labels, list_picture_labels
from losslab.models import build_model
from losslab.models.segmentation_net import SegmentationNet
from losslab.params import Params, load
from losslab.plugins import Sample
from losslab.prediction import predict as predicting
from losslab.prediction.label_map import predict_image
from losslab.reporting.run.page import write_report
from losslab.serving.model import ServedModel
from losslab.training import TrainedNet, plan_training, train_net
from losslab.training.trial import try_plugins
from tests.conftest import TINY_CARD, TINY_CHANGES, merge, write_params
from tests.data.own_data import how
from tests.plugins.conftest import write  # noqa: F401

CARD: dict[str, Any] = TINY_CARD | {
    "labels": "overlapping",
    "source": TINY_CARD["source"] | {"generator": "overlapping_lesions"},
    "classes": [
        {"name": "lesion", "color": [150, 50, 90], "values": [255]},
        {"name": "hair", "color": [20, 60, 160], "values": ["nonzero"]},
    ],
}
CHANGES = merge(
    TINY_CHANGES,
    {"dataset": "both", "arch": "simple_cnn", "encoder": None, "loss": "bce+dice", "train": {"augmentation": "affine"}},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw and prepare images with two overlapping classes, at a size other than the files'."""
    folder = tmp_path_factory.mktemp("overlapping")
    write_params(folder, CHANGES)
    (folder / "data/catalog/both.yaml").write_text(yaml.safe_dump(CARD), encoding="utf-8")
    card = read_card("both", folder / "data/catalog")
    fetch("both", card, None, folder / "data/raw/both", folder / "downloads")
    prepare(card, folder / "data/raw/both", how(method="official", audit="strict"), folder / "data/prepared/both")
    return folder


@pytest.fixture(scope="module")
def prepared(folder: Path) -> PreparedData:
    return PreparedData(folder / "data/prepared/both")


@pytest.fixture(scope="module")
def params(folder: Path) -> Params:
    return load(folder / "params.yaml")


@pytest.fixture(scope="module")
def trained(params: Params, prepared: PreparedData) -> TrainedNet:
    return train_net(plan_training(params, prepared))


def test_prepared_masks_are_those_of_the_files(folder: Path, prepared: PreparedData) -> None:
    masks = folder / "data/raw/both/fetched/test/masks"
    files = [np.stack([np.asarray(Image.open(place / f"{name}.bmp")) for name in ("lesion", "hair")], axis=2) // 255
             for place in sorted(masks.iterdir())]  # fmt: skip
    assert prepared.masks("test").shape == (3, 32, 32, 2)
    card = read_card("both", folder / "data/catalog")
    targets = build_original_targets(prepared, "test", card, folder / "data/raw/both")
    assert all(np.array_equal(mask, file) for mask, file in zip(targets.read_masks([0, 1, 2]), files, strict=True))
    data, audit = prepared.describe(), json.loads((prepared.folder / "audit.json").read_text())
    assert data["labels"] == "overlapping" and data["ignore_index"] is None
    assert data["pixels"]["test"] == prepared.masks("test").sum(axis=(0, 1, 2)).tolist()
    share = audit["coverage"]["test"]["lesion"]["share"]
    assert share == pytest.approx(prepared.masks("test")[..., 0].mean(), abs=1e-6)
    assert (prepared.masks("test").sum(axis=3) == 2).any() and not (prepared.masks("test") > 1).any()


@pytest.mark.parametrize("recipe", ["flip", "strong"])
def test_augmentation_moves_all_classes_alike(prepared: PreparedData, recipe: str) -> None:
    def load_masks(classes: list[int]) -> torch.Tensor:
        loader = build_training_loader(prepared, recipe, 6, 0, 0)
        return torch.cat([target[..., classes] for _, target in loader])

    both = load_masks([0, 1])
    assert set(np.unique(both)) <= {0, 1, 255} and both.shape == (6, 32, 32, 2)
    outside = both == 255
    assert torch.equal(outside[..., 0], outside[..., 1])
    assert bool(outside.any()) == (recipe == "strong")


def test_crops_are_drawn_around_pixels_of_the_classes(prepared: PreparedData) -> None:
    masks = prepared.rows("train", "masks")
    crops = CropSampler(masks, 8, "balanced", None, seed=0)
    squares = [masks.read_square(*crops.place(0, number), 8, 255) for number in range(len(crops))]
    assert all((square == 1).any() for square in squares)
    foreground = CropSampler(masks, 8, "foreground", None, seed=0)
    held = [(masks.read_square(*foreground.place(0, number), 8, 255) == 1).any() for number in range(len(crops))]
    uniform = CropSampler(masks, 8, "uniform", None, seed=0)
    assert sum(held) > sum(
        (masks.read_square(*uniform.place(0, number), 8, 255) == 1).any() for number in range(len(crops))
    )


def test_training_validates_as_evaluation_scores(trained: TrainedNet, prepared: PreparedData) -> None:
    assert trained.description["num_classes"] == 2 and trained.description["labels"] == "overlapping"
    result = evaluate_split(trained.net, trained.description, prepared, "val", 2, tolerances=None)
    best = max(row["val_miou"] for row in trained.history)
    assert float(result.pixels.compute()["miou"]) == pytest.approx(best, abs=1e-5)


def test_crops_that_hold_each_class_are_counted(params: Params, prepared: PreparedData) -> None:
    changes = {"train": {"crop": 16, "sampling": "balanced", "epochs": 1, "augmentation": "none"}}
    cropped = Params.model_validate(merge(params.model_dump(), changes))
    row = train_net(plan_training(cropped, prepared)).history[0]
    assert 0 < row["crops_hair"] <= 1 and row["crops_lesion"] + row["crops_hair"] >= 1


@pytest.fixture(scope="module")
def reports(folder: Path, trained: TrainedNet, prepared: PreparedData, params: Params) -> Path:
    """Write models/ and reports/ as the stages do."""
    models.save(folder / "models", trained.net, trained.description)
    results = evaluate_splits(trained.net, trained.description, prepared, "both", params.evaluate)
    reports = folder / "reports"
    reports.mkdir()
    write_tables(results, reports)
    write_examples(results["test"], "test", trained.description, 3, reports / "predictions")
    write_json(reports / "evaluation.json", {"resolution": "prepared", "tta": "none", "tolerances": [1, 3]})
    write_csv(reports / "history.csv", trained.history)
    for index, name in enumerate(results["test"].names):
        details = results["test"].get_details()
        truth = combine_labels(read_whole(results["test"].targets.open_mask(index)))
        guess = combine_labels(read_whole(details.predictions[index]))
        example = next(row for row in read_csv(reports / "predictions/examples.csv") if row["image"] == name)
        for kind, labels in (("truth", truth), ("prediction", guess)):
            with Image.open(reports / f"predictions/{example['file']}.{kind}.png") as picture:
                assert np.array_equal(np.asarray(picture), labels)
    return reports


def test_tables_are_of_each_class_against_the_rest(reports: Path) -> None:
    scores = json.loads((reports / "scores.json").read_text())["test"]
    assert scores["miou"] == pytest.approx(sum(scores["iou"].values()) / 2, abs=1e-6)
    assert {"pixel_accuracy", "mcc", "threshold"}.isdisjoint(scores)
    counts = {row["class"]: row for row in read_csv(reports / "confusion.csv") if row["split"] == "test"}
    for name, iou in scores["iou"].items():
        tp, fp, fn, tn = (int(counts[name][key]) for key in ("tp", "fp", "fn", "tn"))
        assert iou == pytest.approx(tp / (tp + fp + fn), abs=1e-6) and tp + fp + fn + tn == 3 * 32 * 32
    chosen = [row for row in read_csv(reports / "thresholds.csv") if row["chosen"] == "1" and row["split"] == "test"]
    assert [row["class"] for row in chosen] == ["lesion", "hair"]
    assert scores["miou_at_threshold"] == pytest.approx(sum(float(row["iou"]) for row in chosen) / 2, abs=1e-6)


def test_errors_by_distance_of_all_classes_count_what_is_found_where_nothing_is(reports: Path) -> None:
    counts = [row for row in read_csv(reports / "confusion.csv") if row["split"] == "test"]
    strata = [row for row in read_csv(reports / "strata.csv") if row["split"] == "test" and row["class"] == "all"]
    assert sum(int(row["wrong"]) for row in strata) == sum(int(row["fp"]) + int(row["fn"]) for row in counts)
    assert sum(int(row["pixels"]) for row in strata) == 2 * 3 * 32 * 32


def test_report_shows_sets_of_classes_and_no_confusion(reports: Path, folder: Path, prepared: PreparedData) -> None:
    write_report(folder / "models", reports, prepared.folder, 3)
    page = (reports / "report.html").read_text(encoding="utf-8")
    assert "lesion + hair" in page and 'id="confusion"' not in page and 'href="#confusion"' not in page
    assert (reports / "figures/examples.png").exists() and not (reports / "figures/confusion.png").exists()


def test_predicted_masks_have_a_band_for_each_class_and_are_masks_again(
    reports: Path, folder: Path, trained: TrainedNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = min((folder / "data/raw/both/fetched/test/images").iterdir())
    out = tmp_path / image.stem
    arguments = [str(image), "-o", str(tmp_path), "--model", str(folder / "models"), "--overlays", "--probabilities"]
    result = CliRunner().invoke(app, ["predict", *arguments])
    assert result.exit_code == 0, result.output
    mask = tifffile.imread(out.with_suffix(".tif"))
    probabilities = np.load(out.with_suffix(".probabilities.npy"))
    assert mask.shape == probabilities.shape == (2, 64, 64) and set(np.unique(mask)) <= {0, 1}
    clear = abs(probabilities - 0.5) > 0.01
    assert np.array_equal((mask == 1)[clear], (probabilities > 0.5)[clear])
    assert Image.open(out.with_suffix(".overlay.jpg")).size == (64, 64)
    pixels = np.asarray(Image.open(image).convert("RGB"))
    labels = predict_image(Predictor(trained.net, trained.description), pixels)
    assert np.array_equal(labels, mask.transpose(1, 2, 0))
    monkeypatch.setattr(predicting, "LARGE_IMAGE_PIXELS", 1000)
    large = CliRunner().invoke(app, ["predict", *arguments])
    assert large.exit_code == 0, large.output
    assert np.array_equal(tifffile.imread(out.with_suffix(".tif")), mask)
    changed = CliRunner().invoke(app, ["predict", *arguments, "--threshold", "0.01"])
    assert changed.exit_code == 0 and tifffile.imread(out.with_suffix(".tif")).sum() > mask.sum()
    card = read_card("both", folder / "data/catalog")
    values = [one.model_copy(update={"values": [1]}) for one in card.classes]
    again = build_label_reader(card.model_copy(update={"classes": values}))
    assert again.read(Sample(image.stem, image, out.with_suffix(".tif"))).shape == (64, 64, 2)


def test_averaged_views_are_of_independent_probabilities(trained: TrainedNet, prepared: PreparedData) -> None:
    images = torch.from_numpy(np.asarray(prepared.images("test")))
    plain, flip = (Predictor(trained.net, trained.description, tta) for tta in ("none", "flip"))
    mirrored = plain.compute_logits(images.flip(2)).flip(3)
    expected = (plain.compute_logits(images).sigmoid() + mirrored.sigmoid()) / 2
    assert torch.allclose(flip.compute_logits(images).sigmoid(), expected, atol=1e-5)


def test_ensemble_averages_independent_probabilities(trained: TrainedNet) -> None:
    other = build_model("simple_cnn", 2)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ensemble = EnsembleNet([trained.net, other], [trained.description] * 2).eval()
    with torch.no_grad():
        expected = (trained.net.eval()(images).sigmoid() + other.eval()(images).sigmoid()) / 2
        assert torch.allclose(ensemble(images).sigmoid(), expected, atol=1e-5)


def test_exported_file_says_that_classes_overlap(trained: TrainedNet) -> None:
    assert isinstance(trained.net, SegmentationNet)
    metadata = build_metadata(trained.net, trained.description, "0" * 32)
    assert metadata["label"] == "each class where its logit is positive; they overlap"
    assert metadata["labels"] == "overlapping"


def test_served_masks_are_arrays(trained: TrainedNet, prepared: PreparedData) -> None:
    served = ServedModel(Predictor(trained.net, trained.description))
    (mask,) = served.predict({"image": [np.asarray(prepared.images("test")[0])]})
    assert isinstance(mask, np.ndarray) and mask.shape == (32, 32, 2)
    with pytest.raises(InputError, match="classes that overlap have no PNG; take array"):
        served.predict({"image": []}, {"masks": "png"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "cross_entropy"}, "loss: cross_entropy weighs classes against each other, .* use bce"),
        ({"loss": "dice+focal"}, "loss: focal weighs .* use focal_ovr"),
    ],
)
def test_loss_of_exclusive_classes_is_refused_before_any_work(folder: Path, changes: Any, message: str) -> None:
    path = folder / "wrong.yaml"
    path.write_text(yaml.safe_dump(merge(yaml.safe_load((folder / "params.yaml").read_text()), changes)))
    with pytest.raises(InputError, match=message):
        load(path)


METRIC = """
from losslab.plugins import metric

@metric
def of_images(prediction, target):
    return 1.0

@metric
def of_classes(hit, truth):
    return hit / truth
"""


def test_own_metrics_must_be_of_classes(
    write: Callable[[str, str], Path],  # noqa: F811
    params: Params,
    folder: Path,
    trained: TrainedNet,
    prepared: PreparedData,
) -> None:
    write("mine.py", METRIC)
    for name in ("of_classes", "of_images"):
        settings = params.evaluate.model_copy(update={"metrics": {name: {}}})
        changed = params.model_copy(update={"evaluate": settings})
        if name == "of_classes":
            try_plugins(changed, folder / "data/catalog")
            results = evaluate_splits(trained.net, trained.description, prepared, "both", settings)
            assert results["test"].get_details().own[name][0].is_of_classes
        else:
            with pytest.raises(InputError, match="of_images is of images with one label for each pixel"):
                try_plugins(changed, folder / "data/catalog")
            with pytest.raises(InputError, match="of_images is of images with one label for each pixel"):
                evaluate_splits(trained.net, trained.description, prepared, "both", settings)


def test_more_classes_than_can_be_combined_share_one_colour() -> None:
    classes = [f"class {number}" for number in range(8)]
    description = {"labels": "overlapping", "classes": classes, "palette": [[number, 0, 0] for number in range(8)]}
    names, colours = list_picture_labels(description)
    assert names == ["none", *classes, "several classes"] and len(colours) == 10
    planes = np.zeros((1, 4, 8), np.uint8)
    planes[0, 1, 7] = planes[0, 2, [0, 3]] = 1
    planes[0, 3] = 255
    assert combine_labels(planes).tolist() == [[0, 8, 9, 255]]


def test_class_that_alone_is_void_hides_no_other_in_pictures() -> None:
    truth = np.array([[[255, 1], [255, 0], [255, 255], [1, 0]]], np.uint8)
    guess = np.array([[[1, 1], [1, 1], [1, 0], [0, 0]]], np.uint8)
    assert combine_labels(truth).tolist() == [[2, 0, 255, 1]]
    assert combine_labels(guess, truth).tolist() == [[2, 2, 1, 0]]
