from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from losslab.bands import CardBands
from losslab.data.images.decode import read_image
from losslab.data.new_dataset.bands import choose_bands
from losslab.data.new_dataset.create import create_dataset
from losslab.data.new_dataset.masks import read_masks
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.errors import InputError
from tests.data.new_dataset.test_create import draw_pairs, make, root

__all__ = ["root"]


def choose(folder: Path, **said: Any) -> CardBands | None:
    images = {path.stem: path for path in sorted(folder.iterdir())}
    return choose_bands(images, NewDatasetOptions(name="cells", images=folder, masks=folder, **said))


def pixels(count: int, dtype: str = "uint16") -> np.ndarray:
    return np.arange(20 * 30 * count).reshape(20, 30, count).astype(dtype)


def save_tiff(path: Path, count: int, dtype: str = "uint16", **options: Any) -> None:
    tifffile.imwrite(path, pixels(count, dtype), **{"photometric": "minisblack", "planarconfig": "contig", **options})


def test_grey_rgb_and_palette_of_8_bits_need_no_bands(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "RGBA", "P", "1", "LA"):
        Image.new(mode, (30, 20)).save(tmp_path / f"{mode}.png")
    Image.new("CMYK", (30, 20)).save(tmp_path / "cmyk.jpg")
    Image.new("P", (30, 20)).save(tmp_path / "p.tif")
    save_tiff(tmp_path / "alpha.tif", 4, "uint8", photometric="rgb", extrasamples=["assocalpha"])
    np.save(tmp_path / "a.npy", pixels(3, "uint8"))
    assert choose(tmp_path) is None


def test_bands_type_and_scaling_follow_from_the_files(tmp_path: Path) -> None:
    save_tiff(tmp_path / "a.tif", 4)
    np.save(tmp_path / "b.npy", pixels(4))
    found = choose(tmp_path)
    assert found is not None
    assert found.model_dump(mode="json") == {
        "names": ["band1", "band2", "band3", "band4"],
        "dtype": "uint16",
        "scaling": {"percentiles": [0.1, 99.9]},
        "shown": ["band1", "band2", "band3"],
    }


@pytest.mark.parametrize(
    ("count", "held", "dtype", "scaling"),
    [(5, "uint8", "uint8", "dtype range"), (1, "int16", "float32", None), (2, "float64", "float32", None)],
)
def test_types_that_fit_become_those_of_a_card(
    tmp_path: Path, count: int, held: str, dtype: str, scaling: str | None
) -> None:
    np.save(tmp_path / "a.npy", pixels(count, held))
    found = choose(tmp_path)
    assert found is not None and found.dtype == dtype and (scaling is None or found.scaling == scaling)
    assert len(found.shown or ()) == (3 if count >= 3 else 1)


def test_names_come_from_the_file_where_a_card_can_hold_them(tmp_path: Path) -> None:
    planes = np.moveaxis(pixels(2), -1, 0)
    for labels, names in ((["DAPI (blue)", "GFP"], ["DAPI blue", "GFP"]), (["é", "GFP"], ["band1", "band2"])):
        tifffile.imwrite(tmp_path / "a.tif", planes, imagej=True, metadata={"axes": "CYX", "Labels": labels})
        found = choose(tmp_path)
        assert found is not None and found.names == names


def test_options_say_names_scaling_and_what_is_shown(tmp_path: Path) -> None:
    save_tiff(tmp_path / "a.tif", 4, "uint8", photometric="rgb", extrasamples=["unassalpha"])
    found = choose(tmp_path, bands=["r", "g", "b", "nir"], shown=["nir", "r", "g"], scaling="mean std")
    assert found is not None and (found.names, found.shown) == (["r", "g", "b", "nir"], ["nir", "r", "g"])
    assert (found.dtype, found.scaling) == ("uint8", "mean std")
    found = choose(tmp_path, scaling="mean std")
    assert found is not None and found.names == ["red", "green", "blue"]  # the last is alpha


def save_arrays(*paths: Path) -> None:
    for path in paths:
        np.save(path, pixels(3))


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "bands differ": (
        lambda path: save_arrays(path / "b.npy", path / "c.npy"),
        {},
        "a.tif holds 4 bands of uint16, but b.npy and c.npy hold 3 bands of uint16; a card describes one kind",
    ),
    "types differ": (
        lambda path: Image.new("RGB", (3, 3)).save(path / "b.png"),
        {},
        "a.tif holds 4 bands of uint16, but b.png holds 3 bands of uint8",
    ),
    "wrong type": (
        lambda path: np.save((path / "a.tif").open("wb"), pixels(2, "int32")),
        {},
        r"a.tif holds 2 bands of int32; save it as uint8, uint16, float32$",
    ),
    "too many": (lambda path: save_tiff(path / "a.tif", 17), {}, "a.tif holds 17 bands of uint16; at most 16"),
    "names": (lambda path: None, {"bands": ["a", "b"]}, "--bands gives 2 names, but .*a.tif holds 4 bands of uint16"),
    "no name": (lambda path: None, {"bands": ["a", "b", "c", "ß"]}, "--bands, --scaling and --shown: names.3"),
    "shown": (
        lambda path: None,
        {"shown": ["band9"]},
        "--bands, --scaling and --shown: shown must be one or three of band1, band2, band3, band4",
    ),
    "scaling": (
        lambda path: None,
        {"scaling": {"percentiles": [5.0, 2.0]}},
        r"--bands, --scaling and --shown: .*\[5.0, 2.0\] must rise",
    ),
}


@pytest.mark.parametrize(("change", "said", "reason"), BAD.values(), ids=BAD)
def test_what_a_card_cannot_say_stops_with_a_line(
    tmp_path: Path, change: Callable[[Path], Any], said: dict[str, Any], reason: str
) -> None:
    save_tiff(tmp_path / "a.tif", 4)
    change(tmp_path)
    with pytest.raises(InputError, match=reason):
        choose(tmp_path, **said)


def test_card_with_bands_is_written_as_a_person_would_and_reads_the_files(root: Path, tmp_path: Path) -> None:
    folders = draw_pairs(tmp_path)
    for path in list(folders[0].iterdir()):
        save_tiff(path.with_suffix(".tif"), 2)
        path.unlink()
    masks = list(folders[1].iterdir())
    np.save(masks[0].with_suffix(".npy"), np.asarray(Image.open(masks[0])))
    masks[0].unlink()
    made, card = make(root, folders, bands=["no", "VV"], scaling={"range": [-2.5, 10000.0]})
    lines = (root / "data/catalog/cells.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[7:12] == [
        "bands:",
        "  names: ['no', VV]",
        "  dtype: uint16",
        "  scaling: {range: [-2.5, 10000]}",
        "  shown: ['no']",
    ]
    assert card.bands == made.bands and not made.scan.unusable
    image = next((root / "data/raw/cells/own/images").iterdir())
    assert np.array_equal(read_image(image, card.format).pixels, pixels(2))


def test_images_that_differ_leave_neither_card_nor_folder(root: Path, tmp_path: Path) -> None:
    folders = draw_pairs(tmp_path)
    save_tiff(next(folders[0].iterdir()), 2)
    with pytest.raises(InputError, match="a card describes one kind"):
        create_dataset(NewDatasetOptions(name="cells", images=folders[0], masks=folders[1]), root)
    assert not list(root.glob("data/*/*"))


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA"])
def test_masks_are_described_alike_whole_and_in_strips(mode: str, tmp_path: Path) -> None:
    """Edges and shades are judged by pixels around them, which may lie in another strip."""
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur((rng.random((61, 47)) > 0.9).astype(np.float32), (0, 0), 2.0)
    grey = Image.fromarray((soft / soft.max() * 40).astype(np.uint8) * 6 + (soft == soft.max()) * np.uint8(15))
    image = Image.merge("LA", (grey, grey.point(lambda value: value % 2 * 255))) if mode == "LA" else grey.convert(mode)
    image.save(tmp_path / "a.png")
    whole = read_masks([tmp_path / "a.png"])
    with mock.patch("losslab.io.windows.STRIP_PIXELS", 150):
        assert read_masks([tmp_path / "a.png"]) == whole
    assert len(whole[0][0].pixels) > 2 and sum(whole[0][0].pixels.values()) == 61 * 47
