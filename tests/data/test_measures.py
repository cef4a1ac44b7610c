"""Measures of prepared labels: known drawings have known sizes, widths and shares."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from losslab.data import measures
from losslab.data.measures import measure_dataset
from losslab.errors import InputError

Masks = npt.NDArray[np.uint8]


def write(folder: Path, masks: Masks, classes: int = 2, fit: str = "stretch") -> Path:
    (folder / "train").mkdir(parents=True)
    content = {"classes": [f"class{number}" for number in range(classes)], "fit": fit, "size": masks.shape[1]}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    rows = [f"train,{index},{index},{masks.shape[2]},{masks.shape[1]}" for index in range(len(masks))]
    (folder / "index.csv").write_text("\n".join(["split,index,image,width,height", *rows, ""]), encoding="utf-8")
    if fit == "tile":
        masks = masks.reshape(-1, *masks.shape[3:])
    np.save(folder / "train/masks.npy", masks)
    return folder


def draw() -> Masks:
    """Two images of 100 x 100: a stripe 4 wide and 60 long in the first, a single pixel too, and an empty one."""
    masks = np.zeros((2, 100, 100), np.uint8)
    masks[0, 20:24, 20:80] = 1
    masks[0, 50, 50] = 1
    masks[:, :, 90:] = 255
    return masks


def test_stripe_and_speck_are_measured(tmp_path: Path) -> None:
    measured = measure_dataset(write(tmp_path, draw()))
    assert (measured.classes, measured.images, measured.objects_per_image) == (2, 2, 1)
    assert measured.side_px == 100
    assert measured.rarest_share == measured.foreground_share == pytest.approx(241 / 18000)
    assert measured.empty_share == 0.5
    assert measured.object_share == pytest.approx((240 + 1) / 2 / 9000)
    assert (measured.tiny_share, measured.small_share) == pytest.approx((1 / 241, 1 / 241))
    assert measured.width_px == measured.thinnest_px == pytest.approx(4, rel=0.1)
    assert measured.border_share == pytest.approx((240 + 2 * 64 * 2 - 4 + 4 * 4 + 1 + 12) / 18000, rel=0.05)
    assert 1 < measured.effective_classes < 1.1


def test_disc_is_as_wide_as_its_radius(tmp_path: Path) -> None:
    rows, columns = np.ogrid[:200, :200]
    disc = ((rows - 100) ** 2 + (columns - 100) ** 2 <= 60**2).astype(np.uint8)
    assert measure_dataset(write(tmp_path, disc[None])).width_px == pytest.approx(60, rel=0.02)


def test_object_within_a_band_of_void_is_as_wide_as_without(tmp_path: Path) -> None:
    """Trimaps of pets and borders of VOC are void: the object's contour is there all the same."""
    masks = np.zeros((1, 100, 100), np.uint8)
    masks[0, 10:90, 40:50] = 1
    bare = measure_dataset(write(tmp_path / "bare", masks))
    masks[0, 8:92, 38:52] = np.where(masks[0, 8:92, 38:52] == 1, 1, 255)
    banded = measure_dataset(write(tmp_path / "banded", masks))
    assert (banded.width_px, banded.side_px) == (bare.width_px, bare.side_px)
    assert bare.width_px == pytest.approx(9, rel=0.1) and bare.side_px == 100


def test_images_of_their_own_sizes_and_strips_measure_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = measure_dataset(write(tmp_path / "whole", draw()))
    monkeypatch.setattr("losslab.io.windows.STRIP_PIXELS", 1000)  # the seams miss the stripe
    assert measure_dataset(write(tmp_path / "tile", draw(), fit="tile")) == whole


def test_many_images_are_measured_at_even_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "MAX_IMAGES", 2)
    measured = measure_dataset(write(tmp_path, np.concatenate([draw()[:1]] * 4)))
    assert (measured.images, measured.objects_per_image) == (4, 2)


def test_overlapping_classes_are_all_foreground(tmp_path: Path) -> None:
    masks = np.zeros((1, 50, 50, 2), np.uint8)
    masks[0, :, :25, 0] = 1
    masks[0, 10:20, 10:20, 1] = 1
    measured = measure_dataset(write(tmp_path, masks))
    assert measured.objects_per_image == 2
    assert measured.rarest_share == pytest.approx(100 / 2500)
    assert measured.foreground_share == pytest.approx((1250 + 100) / 5000)
    assert measured.object_share == pytest.approx((0.5 + 0.04) / 2)
    assert measured.thinnest_px == pytest.approx(5, rel=0.15)


def test_class_that_never_occurs_changes_nothing_but_the_number_of_classes(tmp_path: Path) -> None:
    two = asdict(measure_dataset(write(tmp_path / "two", draw())))
    assert asdict(measure_dataset(write(tmp_path / "three", draw(), classes=3))) == two | {"classes": 3}


@pytest.mark.parametrize(
    ("value", "shape", "message"),
    [
        (255, (1, 8, 8), "its training images have no label but void; look at its masks and its card"),
        (1, (1, 8, 8), "its training images have no class but class1: nothing is there to segment"),
        (0, (1, 8, 8, 2), "its training images have no class: nothing is there to segment"),
    ],
)
def test_labels_without_anything_to_segment_are_refused(
    value: int, shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        measure_dataset(write(tmp_path, np.full(shape, value, np.uint8)))


def test_folder_without_prepared_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prepared data"):
        measure_dataset(tmp_path)
