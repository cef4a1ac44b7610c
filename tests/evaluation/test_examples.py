from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from losslab.bands import Bands
from losslab.data.loading.arrays import PreparedData
from losslab.evaluation import SplitResult, write_examples
from losslab.evaluation.examples import GROUPS, choose_examples
from losslab.io.files import read_csv
from losslab.io.windows import ArrayWindows, read_whole

NAMES = [f"im{index}" for index in range(100)]


def test_groups_are_ends_middle_and_any() -> None:
    groups = choose_examples(range(100), NAMES, 12)
    assert list(groups) == list(GROUPS)
    assert groups["best"] == [0, 1, 2] and groups["worst"] == [97, 98, 99] and groups["median"] == [48, 49, 50]
    assert len(groups["random"]) == 3 and groups["random"] == sorted(groups["random"])


def test_no_image_is_chosen_twice_and_as_many_as_there_are() -> None:
    for images in range(12):
        for count in range(16):
            chosen = [index for group in choose_examples(range(images), NAMES, count).values() for index in group]
            assert len(set(chosen)) == len(chosen) == min(images, count)


def test_random_images_do_not_depend_on_the_net() -> None:
    forwards, backwards = (
        set(choose_examples(order, NAMES, 40)["random"]) for order in (range(100), range(99, -1, -1))
    )
    assert len(forwards & backwards) >= 8


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9])
def test_pictures_and_their_ranks_are_kept(
    count: int, result: SplitResult, tiny_data: PreparedData, description: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "predictions"
    write_examples(result, "test", description, count, folder)
    assert len(list(folder.glob("*.png"))) == 3 * min(count, 3)
    rows = read_csv(folder / "examples.csv")
    groups = {row["group"]: row for row in rows}
    if count == 2:
        assert [(row["group"], row["rank"], row["of"]) for row in rows] == [("best", "1", "3"), ("worst", "3", "3")]
    if count == 3:
        assert float(groups["best"]["iou"]) >= float(groups["median"]["iou"]) >= float(groups["worst"]["iou"])
    assert result.details is not None
    for row in rows:
        index = result.names.index(row["image"])
        prediction = Image.open(folder / f"{row['file']}.prediction.png")
        predicted = read_whole(result.details.predictions[index])
        assert np.array_equal(np.asarray(prediction), predicted)
        first = predicted[0, 0]
        assert prediction.convert("RGB").getpixel((0, 0)) == tuple(description["palette"][first])
        truth, image = (np.asarray(Image.open(folder / f"{row['file']}.{kind}.png")) for kind in ("truth", "image"))
        assert np.array_equal(truth, tiny_data.masks("test")[index])
        assert np.array_equal(image, tiny_data.images("test")[index])


def test_large_pictures_are_shrunk(result: SplitResult, description: dict[str, Any], tmp_path: Path) -> None:
    class Large:
        def open_mask(self, index: int) -> ArrayWindows:
            return ArrayWindows(np.full((1500, 600), 255, np.uint8))

        def open_image(self, index: int) -> ArrayWindows:
            return ArrayWindows(np.full((1500, 600, 2), [100, 300], np.uint16))

    names, ends = ["nir", "swir"], {"low": [0.0, 0.0], "high": [200.0, 300.0], "clip": True}
    bands = Bands(names=names, dtype="uint16", shown=[0, 0, 1], **ends)  # type: ignore[arg-type]
    large = replace(result, targets=Large(), bands=bands)  # type: ignore[arg-type]
    for strip, size in ((10**7, (409, 1024)), (10_000, (300, 750))):
        with mock.patch("losslab.data.images.shrinking.STRIP_PIXELS", strip):
            write_examples(large, "test", description, 1, tmp_path / "p")
        (image,), (truth,) = (list((tmp_path / "p").glob(f"*.{kind}.png")) for kind in ("image", "truth"))
        assert Image.open(image).size == Image.open(truth).size == size
        assert np.unique(np.asarray(Image.open(truth))).tolist() == [255]
        assert (np.asarray(Image.open(image)) == [128, 128, 255]).all()
