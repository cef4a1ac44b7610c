"""Scores at the size that the files have."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from losslab.cards import SPLITS, Card, read_card
from losslab.data.images.fit import Fit
from losslab.data.loading.arrays import PreparedData
from losslab.data.prepare.prepare import prepare
from losslab.errors import InputError
from losslab.evaluation import build_original_targets, evaluate_split
from losslab.inference.predictor import Predictor, restore_size
from losslab.io.files import write_text
from losslab.io.windows import read_whole
from losslab.params import PrepareParams, SplitParams
from tests.conftest import TINY_CARD
from tests.evaluation.conftest import Brightness, build_description

SIZES = {"a": (40, 60), "b": (60, 40), "c": (33, 33), "turned": (30, 44), "d": (50, 50), "e": (48, 64)}
"""Height and width of the masks."""


@pytest.fixture
def card(tmp_path: Path) -> Card:
    import yaml

    write_text(
        tmp_path / "catalog/mixed.yaml",
        yaml.safe_dump(TINY_CARD | {"source": {"own": None}, "layout": "folders", "void": [9]}),
    )
    return read_card("mixed", tmp_path / "catalog")


@pytest.fixture
def raw(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Images of different sizes; that of one is stored lying on its side, its mask is not."""
    for folder in ("images", "masks"):
        (tmp_path / "raw/own" / folder).mkdir(parents=True)
    for name, (height, width) in SIZES.items():
        small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = np.asarray(cv2.resize(small, (width, height)), np.uint8)
        mask = (image[..., 0] > 120).astype(np.uint8) + (image[..., 1] > 200)
        mask[:3, :3] = 9
        exif = Image.Exif()
        if name == "turned":
            exif[0x0112] = 6
            image = np.rot90(image)
        Image.fromarray(image).save(tmp_path / f"raw/own/images/{name}.png", exif=exif)
        Image.fromarray(mask).save(tmp_path / f"raw/own/masks/{name}.png")
    return tmp_path / "raw"


def prepare_data(card: Card, raw: Path, fit: Fit) -> PreparedData:
    split = SplitParams(method="random", val=0.2, test=0.4, seed=0, folds=5, fold=0)
    prepare(card, raw, PrepareParams(size=32, fit=fit, limit=None, audit="warn", split=split), raw.parent / "prepared")
    return PreparedData(raw.parent / "prepared")


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_files_are_scored_at_their_own_size(card: Card, raw: Path, fit: Fit) -> None:
    prepared = prepare_data(card, raw, fit)
    description = build_description(prepared)
    seen, pixels = set(), 0
    for split in SPLITS:
        targets = build_original_targets(prepared, split, card, raw)
        result = evaluate_split(Brightness(), description, prepared, split, 2, targets=targets)
        assert result.details is not None
        logits = Predictor(Brightness(), description).compute_logits(torch.from_numpy(prepared.images(split).copy()))
        for index, name in enumerate(result.names):
            mask = np.asarray(Image.open(raw / f"own/masks/{name}.png"))
            truth = np.where(mask == 9, 255, mask)
            assert np.array_equal(targets.read_masks([index])[0], truth)
            assert read_whole(targets.open_image(index)).shape == (*SIZES[name], 3)
            prediction = read_whole(result.details.predictions[index])
            assert np.array_equal(prediction, restore_size(logits[index : index + 1], *SIZES[name], fit)[0].argmax(0))
            accuracy = (prediction == truth)[truth != 255].mean()
            assert result.pixels.compute_per_image()["pixel_accuracy"][index] == pytest.approx(accuracy)
            pixels += int((truth != 255).sum())
            seen.add(name)
        assert result.details.calibration.compute()["pixels"].sum() == result.pixels.confusion.sum()
    assert seen == set(SIZES) and pixels == sum(height * width - 9 for height, width in SIZES.values())


def test_a_turned_image_lies_as_its_mask(card: Card, raw: Path) -> None:
    prepared = prepare_data(card, raw, "stretch")
    (split,) = (split for split in SPLITS if "turned" in prepared.names(split))
    targets = build_original_targets(prepared, split, card, raw)
    image = read_whole(targets.open_image(prepared.names(split).index("turned")))
    with Image.open(raw / "own/images/turned.png") as stored:
        assert np.array_equal(image, np.rot90(np.asarray(stored), -1))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda path: path.unlink(), r"own: no longer holds \w+: changed since it was prepared; run dvc repro"),
        (lambda path: path.write_bytes(b""), r"\w+\.png: unreadable mask: empty file: changed since it was prepared"),
        (
            lambda path: Image.fromarray(np.zeros((5, 7), np.uint8)).save(path),
            r"\.png: 7 x 5, not \d+ x \d+ \(width x height\): changed since it was prepared",
        ),
        (
            lambda path: Image.fromarray(np.full((5, 7), 77, np.uint8)).save(path),
            r"\.png: label not in the card: holds 77",
        ),
    ],
)
def test_a_mask_that_changed_since_prepare_is_reported_in_one_line(
    card: Card, raw: Path, change: Any, complaint: str
) -> None:
    prepared = prepare_data(card, raw, "stretch")
    change(raw / "own/masks" / f"{prepared.names('test')[0]}.png")
    with pytest.raises(InputError, match=complaint) as error:
        targets = build_original_targets(prepared, "test", card, raw)
        evaluate_split(Brightness(), build_description(prepared), prepared, "test", 2, targets=targets)
    assert "\n" not in str(error.value)


def test_an_image_that_changed_since_prepare_is_reported(card: Card, raw: Path) -> None:
    prepared = prepare_data(card, raw, "stretch")
    targets = build_original_targets(prepared, "test", card, raw)
    Image.new("RGB", (5, 7)).save(raw / "own/images" / f"{prepared.names('test')[0]}.png")
    with pytest.raises(InputError, match=r"size mismatch: .*changed since it was prepared"):
        targets.open_image(0)
