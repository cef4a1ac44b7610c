"""The files that are written for an image."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from losslab.bands import RGB, read_bands
from losslab.data.images.decode import read_mask
from losslab.io.windows import ArrayWindows
from losslab.prediction import outputs
from losslab.prediction.outputs import (
    choose_tinted_classes,
    draw_overlay,
    draw_picture,
    open_probability_file,
    save_geotiff_mask,
    save_mask,
    save_overlay,
)
from tests.prediction.nets import TWO_BANDS, draw_noise, write_geotiff

PALETTE = [[0, 0, 0], [200, 0, 0], [0, 0, 100]]


def test_mask_holds_labels_in_the_colours_of_their_classes(tmp_path: Path) -> None:
    labels = draw_noise((20, 31)) % 3
    save_mask(labels, PALETTE, tmp_path / "sub/a.png")
    with Image.open(tmp_path / "sub/a.png") as opened:
        assert opened.mode == "P" and np.array_equal(np.asarray(opened), labels)
        assert np.array_equal(np.asarray(opened.convert("RGB")), np.asarray(PALETTE)[labels])
    assert np.array_equal(read_mask(tmp_path / "sub/a.png", in_colours=False), labels)


def test_geotiff_mask_lies_where_its_image_lies(tmp_path: Path) -> None:
    labels = draw_noise((300, 31)) % 3
    write_geotiff(tmp_path / "a.tif", draw_noise((300, 31, 1)))
    save_geotiff_mask(labels, PALETTE, tmp_path / "a.tif", tmp_path / "sub/a.tif")
    with rasterio.open(tmp_path / "a.tif") as image, rasterio.open(tmp_path / "sub/a.tif") as mask:
        assert (mask.crs, mask.transform) == (image.crs, image.transform) and mask.crs.to_epsg() == 32632
        assert mask.count == 1 and np.array_equal(mask.read(1), labels)
        assert (mask.profile["compress"], mask.profile["tiled"], mask.nodata) == ("deflate", True, None)
        assert [list(mask.colormap(1)[label][:3]) for label in range(3)] == PALETTE
    assert np.array_equal(read_mask(tmp_path / "sub/a.tif", in_colours=False), labels)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.tif"]


def test_geotiff_mask_of_overlapping_classes_has_a_named_band_for_each(tmp_path: Path) -> None:
    labels = draw_noise((300, 31, 2)) % 2
    write_geotiff(tmp_path / "a.tif", draw_noise((300, 31, 1)))
    save_geotiff_mask(labels, PALETTE, tmp_path / "a.tif", tmp_path / "b.tif", ["cell", "nucleus"])
    with rasterio.open(tmp_path / "b.tif") as mask:
        assert mask.descriptions == ("cell", "nucleus") and mask.crs.to_epsg() == 32632
        assert np.array_equal(np.moveaxis(mask.read(), 0, -1), labels)


def test_picture_shows_the_ranges_of_the_bands() -> None:
    image = np.array([[[0, 100], [255, 1000]]], np.uint16)
    assert draw_picture(ArrayWindows(image), read_bands(TWO_BANDS)).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("step", [1, 2, 7, 100])
def test_picture_of_every_few_pixels(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "ROWS_AT_ONCE", 5)
    image = draw_noise((37, 20, 3))
    assert np.array_equal(draw_picture(ArrayWindows(image), RGB, step), image[::step, ::step])


def test_overlay_tints_classes_and_draws_where_they_end() -> None:
    image = np.full((40, 600, 3), 100, np.uint8)
    labels = np.zeros((40, 600), np.uint8)
    labels[:, 200:400], labels[:, 400:] = 1, 2
    shown = draw_overlay(image, labels, PALETTE, [False, True, True])
    assert (shown[:, :200] == 100).all()  # also where it ends: its neighbour's contour is its neighbour's
    assert shown[5, 300].tolist() == [150, 50, 50] and shown[5, 500].tolist() == [50, 50, 100]
    assert (shown[:, [200, 399]] == PALETTE[1]).all() and (shown[:, [400]] == PALETTE[2]).all()
    assert (image == 100).all()


def test_overlay_has_the_size_of_the_image(tmp_path: Path) -> None:
    save_overlay(draw_noise((30, 50, 3)), draw_noise((30, 50)) % 3, PALETTE, [True] * 3, tmp_path / "a.overlay.jpg")
    with Image.open(tmp_path / "a.overlay.jpg") as opened:
        assert opened.size == (50, 30) and opened.format == "JPEG"


@pytest.mark.parametrize(
    ("classes", "num_classes", "tinted"),
    [(["skin", "lesion"], 1, [False, True]), (["a", "Background", "c"], 3, [True, False, True])],
)
def test_background_is_not_tinted(classes: list[str], num_classes: int, tinted: list[bool]) -> None:
    assert choose_tinted_classes(classes, num_classes) == tinted


def test_probabilities_by_rows_are_one_array(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 10, 7), np.float32)
    with open_probability_file(tmp_path / "sub/a.npy", values.shape) as write:
        for top in (8, 0, 4):
            write(top, values[:, top : top + 4])
    saved = np.load(tmp_path / "sub/a.npy")
    assert saved.dtype == np.float16 and np.array_equal(saved, values.astype(np.float16))
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["a.npy"]


def test_probabilities_that_break_off_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_probability_file(tmp_path / "a.npy", (2, 4, 4)):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
