"""Prepared data of any bands, types and sizes: values as in the files, ranges and normalisation as the card says."""

import re
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from losslab.bands import Bands, read_bands
from losslab.cards import SPLITS
from losslab.data.images.decode import read_mask
from losslab.data.images.labels import read_palette
from losslab.data.loading.arrays import ImageRow
from losslab.data.prepare.audit import AuditError, summarize_audit
from losslab.data.prepare.prepare import prepare
from losslab.inference.tensors import InputScaling
from losslab.io.hashing import compute_folder_md5
from losslab.io.windows import read_whole
from tests.data.own_data import files_by_kind, how, own_card, prepared_from, save

NAMES = ["blue", "green", "red", "nir", "swir"]
SIZES = [(40, 60), (33, 90), (70, 32), (20, 25), (64, 64), (100, 41)]


def draw_image(number: int, dtype: str, bands: int = 5) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(number)
    values = rng.gamma(2, 400, (*SIZES[number], bands)) + 100 * np.arange(bands)
    return (values / 4000).astype(dtype) if dtype == "float32" else np.clip(values, 0, 65535).astype(dtype)


def make_bands(folder: Path, dtype: str = "uint16", bands: int = 5) -> list[np.ndarray[Any, Any]]:
    """Six images of five bands and several sizes, half of them TIFF and half NPY, with masks of 0, 1 and void 9."""
    own, images = folder / "raw/own", []
    (own / "images").mkdir(parents=True)
    for number, (height, width) in enumerate(SIZES):
        images.append(draw_image(number, dtype, bands))
        if number % 2 or bands == 1:
            np.save(own / f"images/im{number}.npy", images[-1])
        else:
            tifffile.imwrite(
                own / f"images/im{number}.tif", images[-1], photometric="minisblack", planarconfig="contig"
            )
        mask = np.kron(np.random.default_rng(number).choice([0, 1, 9], (13, 13)), np.ones((8, 8), int))
        save(own / f"masks/im{number}.png", mask[:height, :width].astype(np.uint8))
    return images


def describe(dtype: str = "uint16", scaling: Any = "dtype range", names: list[str] = NAMES) -> dict[str, Any]:
    return {"names": names, "dtype": dtype, "scaling": scaling, "shown": ["red"]}


@pytest.mark.parametrize("dtype", ["uint16", "float32", "uint8"])
def test_tiled_data_are_the_files_to_the_last_bit(dtype: str, tmp_path: Path) -> None:
    if dtype == "uint8":
        scaling: Any = "mean std"
    else:
        scaling = {"percentiles": [1, 99]}
    images = make_bands(tmp_path, dtype)
    _, prepared = prepared_from(tmp_path, own_card(tmp_path, bands=describe(dtype, scaling)), fit="tile")
    found = 0
    for split in SPLITS:
        rows, masks = prepared.rows(split, "images"), prepared.rows(split, "masks")
        for index, name in enumerate(prepared.names(split)):
            stored = read_whole(ImageRow(rows, index))
            assert stored.dtype == dtype and np.array_equal(stored, images[int(name[2:])])
            mask = read_mask(tmp_path / f"raw/own/masks/{name}.png", in_colours=False)
            assert np.array_equal(read_whole(ImageRow(masks, index)), np.where(mask == 9, 255, mask))
            found += 1
    data = prepared.describe()
    assert found == len(SIZES) and data["ignore_index"] == 255 and data["fit"] == "tile"
    assert data["bands"]["names"] == NAMES and data["bands"]["shown"] == [2, 2, 2]


def list_training_pixels(prepared: Any, images: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.concatenate([images[int(name[2:])].reshape(-1, 5) for name in prepared.names("train")]).astype(np.float64)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(
    "scaling",
    [
        "dtype range",
        "mean std",
        {"percentiles": [2, 97.5]},
        {"range": [100, 2000]},
        {"range": [[0, 0.3], [0.1, 0.5], [0, 1], [0, 1], [0, 1]]},
        {"mean": [1, 2, 3, 4, 5], "std": [5, 4, 3, 2, 1]},
    ],
)
def test_ranges_and_normalisation_are_those_of_the_training_pixels(dtype: str, scaling: Any, tmp_path: Path) -> None:
    images = make_bands(tmp_path, dtype)
    card = own_card(tmp_path, bands=describe(dtype, scaling))
    _, prepared = prepared_from(tmp_path, card, fit="tile")
    data, pixels = prepared.describe(), list_training_pixels(prepared, images)
    bands = read_bands(data)
    mean, std = pixels.mean(axis=0), pixels.std(axis=0)
    if scaling == "dtype range":
        low, high = np.zeros(5), np.full(5, 65535.0 if dtype == "uint16" else 1.0)
    elif scaling == "mean std":
        low, high = pixels.min(axis=0), pixels.max(axis=0)
    elif "percentiles" in scaling:
        low, high = np.percentile(pixels, scaling["percentiles"], axis=0, method="inverted_cdf")
    elif "range" in scaling:
        low, high = np.array(scaling["range"] if isinstance(scaling["range"][0], list) else [scaling["range"]] * 5).T
    else:
        mean, std = np.array(scaling["mean"]), np.array(scaling["std"])
        low, high = mean - 3 * std, mean + 3 * std
    assert bands.low == pytest.approx(low) and bands.high == pytest.approx(high)
    assert bands.clip == (
        (isinstance(scaling, dict) and "mean" not in scaling) or (scaling, dtype) == ("dtype range", "float32")
    )
    if bands.clip:
        kept = np.clip(pixels, low, high)
        mean, std = kept.mean(axis=0), np.maximum(kept.std(axis=0), 0.255 if dtype == "uint16" else (high - low) / 1000)
    assert data["mean"] == pytest.approx((mean - low) / (high - low), abs=1e-5)
    assert data["std"] == pytest.approx(std / (high - low), rel=2e-3, abs=1e-6)


def test_the_bars_of_a_letterbox_are_not_measured(tmp_path: Path) -> None:
    make_bands(tmp_path)
    card = own_card(tmp_path, bands=describe(scaling="mean std"))
    _, prepared = prepared_from(tmp_path, card, fit="letterbox")
    images, masks = prepared.images("train"), prepared.masks("train")
    assert images.shape[1:] == (32, 32, 5) and images.dtype == np.uint16
    bars = images[masks == 255].min(axis=0)
    assert (bars == 0).all() and min(read_bands(prepared.describe()).low) > 0


def test_a_band_of_one_value_has_a_range(tmp_path: Path) -> None:
    make_bands(tmp_path, bands=1)
    for number, size in enumerate(SIZES):
        np.save(tmp_path / f"raw/own/images/im{number}.npy", np.full(size, 7, np.uint16))
    bands = {"names": ["dark"], "dtype": "uint16", "scaling": {"percentiles": [1, 99]}}
    data = prepared_from(tmp_path, own_card(tmp_path, bands=bands), fit="tile")[1].describe()
    assert (data["bands"]["low"], data["bands"]["high"], data["mean"]) == ([7.0], [8.0], [0.0]) and data["std"][0] > 0


LOST = [
    (np.full(3600, 60_000), r"im0 \(100 % of its pixels lie beyond the range\)"),
    (np.arange(3600) % 100, r"im0 \(of its 100 values, to 99, 1 is left\)"),
    (1000 + np.arange(3600) % 40, r"im0 \(1[0-2] levels of 256 are left\)"),
]


@pytest.mark.parametrize(("values", "line"), LOST)
def test_an_image_that_its_scaling_spoils_is_an_error(values: np.ndarray[Any, Any], line: str, tmp_path: Path) -> None:
    make_bands(tmp_path)
    image = np.stack([values[:2400].reshape(40, 60)] * 5, axis=2).astype(np.uint16)
    tifffile.imwrite(tmp_path / "raw/own/images/im0.tif", image, photometric="minisblack", planarconfig="contig")
    card = own_card(tmp_path, bands=describe(scaling={"range": [100, 1100]}))
    with pytest.raises(
        AuditError, match="1 x lost in its scaling; correct them, or use these images as they are"
    ) as caught:
        prepared_from(tmp_path, card, fit="tile", audit="strict")
    assert not (tmp_path / "out").exists()
    assert any(re.search(line, shown) for shown in summarize_audit(caught.value.audit))
    audit, prepared = prepared_from(tmp_path, card, fit="tile")
    assert files_by_kind(audit, "error") == {"lost in its scaling": ["im0"]}
    assert any("im0" in prepared.names(split) for split in SPLITS)


@pytest.mark.parametrize("scaling", ["dtype range", "mean std", {"mean": [9], "std": [2]}])
def test_a_type_that_images_do_not_fill_spoils_them_but_means_do_not(scaling: Any, tmp_path: Path) -> None:
    """10 bits in 16: black in pictures, and drowned by augmentation."""
    for number, image in enumerate(make_bands(tmp_path, bands=1)):
        np.save(tmp_path / f"raw/own/images/im{number}.npy", image // 8)
    audit, _ = prepared_from(
        tmp_path, own_card(tmp_path, bands={"names": ["scan"], "dtype": "uint16", "scaling": scaling}), fit="tile"
    )
    lost = files_by_kind(audit, "error").get("lost in its scaling", [])
    assert lost == ([f"im{number}" for number in range(6)] if scaling == "dtype range" else [])


def test_images_of_the_default_are_not_judged_by_their_scaling(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"raw/own/images/im{number}.png", np.full((40, 60, 3), 3 * number, np.uint8))
        save(tmp_path / f"raw/own/masks/im{number}.png", np.tile(np.array([0, 1], np.uint8), (40, 30)))
    assert "lost in its scaling" not in files_by_kind(prepared_from(tmp_path)[0])


def test_large_images_are_read_by_windows_to_the_same_bytes(tmp_path: Path) -> None:
    make_bands(tmp_path)
    card = own_card(tmp_path, bands=describe(scaling={"percentiles": [1, 99]}))
    prepare(card, tmp_path / "raw", how(fit="tile"), tmp_path / "whole")
    with (
        mock.patch("losslab.data.prepare.prepare.MAX_BYTES_DECODED", 10_000),
        mock.patch("losslab.io.windows.STRIP_PIXELS", 300),
    ):
        prepare(card, tmp_path / "raw", how(fit="tile"), tmp_path / "windows", workers=3)
    assert compute_folder_md5(tmp_path / "whole") == compute_folder_md5(tmp_path / "windows")


def test_a_large_image_that_fails_midway_is_left_out(tmp_path: Path) -> None:
    images = make_bands(tmp_path)
    card = own_card(tmp_path, bands=describe(scaling="mean std"))
    mask = np.zeros(SIZES[4], np.uint8)
    mask[60] = 77
    save(tmp_path / "raw/own/masks/im4.png", mask)
    save(tmp_path / "raw/own/masks/im5.png", np.zeros((3, 3), np.uint8))
    save(tmp_path / "raw/own/masks/im2.png", np.full(SIZES[2], 9, np.uint8))
    with (
        mock.patch("losslab.data.prepare.prepare.MAX_BYTES_DECODED", 10_000),
        mock.patch("losslab.io.windows.STRIP_PIXELS", 300),
    ):
        audit, prepared = prepared_from(tmp_path, card, fit="tile")
    assert files_by_kind(audit, "error") == {
        "size mismatch": ["masks/im5.png"],
        "label not in the card": ["masks/im4.png"],
        "nothing but void": ["masks/im2.png"],
    }
    for split in SPLITS:
        for index, name in enumerate(prepared.names(split)):
            assert np.array_equal(read_whole(ImageRow(prepared.rows(split, "images"), index)), images[int(name[2:])])


def test_pictures_show_the_chosen_bands_between_their_ends() -> None:
    ends: dict[str, Any] = {"low": [0, 100.0, 0.0], "high": [255.0, 300.0, 1.0]}
    bands = Bands(names=["a", "b", "c"], dtype="float32", shown=[1, 1, 0], clip=True, **ends)
    pixels = np.array([[[51, 50, 3], [300, 200, 3]]], np.float32)
    assert bands.draw(pixels).tolist() == [[[0, 0, 51], [128, 128, 255]]]
    assert np.allclose(bands.restore(bands.scale(pixels)), pixels)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [1e9, -3.4e38])
def test_band_of_one_value_however_large_gives_finite_numbers(value: float, tmp_path: Path) -> None:
    (tmp_path / "raw/own/images").mkdir(parents=True)
    for number, (height, width) in enumerate(SIZES):
        np.save(tmp_path / f"raw/own/images/im{number}.npy", np.full((height, width, 1), value, np.float32))
        save(
            tmp_path / f"raw/own/masks/im{number}.png",
            np.arange(height * width, dtype=np.uint8).reshape(height, -1) % 2,
        )
    card = own_card(tmp_path, bands={"names": ["one"], "dtype": "float32", "scaling": {"percentiles": [1, 99]}})
    _, prepared = prepared_from(tmp_path, card, fit="tile")
    image = prepared.rows("train", "images").read([0])
    assert InputScaling(prepared.describe())(torch.from_numpy(image)).isfinite().all()


@pytest.mark.parametrize("limit", [1, 10**9])
def test_palettes_are_compared_however_large_images_are(limit: int, tmp_path: Path) -> None:
    make_bands(tmp_path)
    for number, (height, width) in enumerate(SIZES):
        mask = Image.fromarray((np.arange(height * width) % 2).astype(np.uint8).reshape(height, width), "P")
        mask.putpalette([0, 0, 0, 255, 0, 0] if number < 4 else [255, 0, 0, 0, 0, 0])
        mask.save(tmp_path / f"raw/own/masks/im{number}.png")
    card = own_card(tmp_path, bands=describe(scaling="mean std"))
    with mock.patch("losslab.data.prepare.prepare.MAX_BYTES_DECODED", limit):
        audit, prepared = prepared_from(tmp_path, card, fit="tile")
    assert files_by_kind(audit, "error") == {"palette unlike another": ["masks/im4.png", "masks/im5.png"]}
    assert sum(len(prepared.names(split)) for split in SPLITS) == 4


def test_palette_of_a_mask_that_pillow_refuses_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = Image.fromarray(np.zeros((9, 9), np.uint8), "P")
    mask.putpalette([255, 0, 0])
    mask.save(tmp_path / "a.png")
    assert read_palette(tmp_path / "a.png", np.zeros(1, np.uint8)) == {0: (255, 0, 0)}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    assert read_palette(tmp_path / "a.png", np.zeros(1, np.uint8)) == {}
