"""Masks of overlapping classes: a file, or a band, for each class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from losslab.cards import Card
from losslab.data.images.class_masks import build_label_reader
from losslab.data.images.decode import UnusableFileError
from losslab.errors import InputError
from losslab.plugins import Sample
from tests.data.own_data import own_card, save

CELL = np.array([[9, 9, 0], [0, 5, 0]], np.uint8)
NUCLEUS = np.array([[0, 9, 0], [0, 5, 9]], np.uint8)
LABELS = [[[1, 0], [1, 1], [0, 0]], [[0, 0], [255, 255], [0, 1]]]


def card_of_overlapping(folder: Path, **changes: Any) -> Card:
    classes = [
        {"name": "cell", "color": [200, 0, 0], "values": [9]},
        {"name": "nucleus", "color": [0, 0, 200], "values": ["nonzero"]},
    ]
    return own_card(folder, **({"labels": "overlapping", "classes": classes, "void": [5]} | changes))


def read(folder: Path, name: str, **changes: Any) -> Any:
    return build_label_reader(card_of_overlapping(folder, **changes)).read(Sample(name, folder, folder / name))


def name_classes(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "color": [0, 0, 0], "values": [1]} for name in names]


def write(path: Path) -> None:
    both = np.stack([CELL, NUCLEUS], axis=2)
    if path.suffix == ".npy":
        np.save(path, both)
    elif path.suffix == ".png":
        Image.fromarray(both, "LA").save(path)
    else:
        tifffile.imwrite(
            path, both.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate", metadata=None
        )


def test_class_may_have_a_file_of_its_own(tmp_path: Path) -> None:
    save(tmp_path / "im/cell.png", CELL)
    save(tmp_path / "im/nucleus.bmp", NUCLEUS)
    (tmp_path / "im/.DS_Store").write_bytes(b"junk")
    assert read(tmp_path, "im").tolist() == LABELS


def test_class_without_a_file_is_nowhere(tmp_path: Path) -> None:
    save(tmp_path / "im/nucleus.png", NUCLEUS)
    assert read(tmp_path, "im")[..., 0].tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", ["im.npy", "im.tif", "im.png"])
def test_class_may_have_a_band(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert read(tmp_path, name).tolist() == LABELS


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint16])
def test_bands_may_be_whole_numbers_of_any_type(tmp_path: Path, dtype: Any) -> None:
    np.save(tmp_path / "im.npy", np.stack([CELL, NUCLEUS], axis=2).astype(dtype))
    assert read(tmp_path, "im.npy").tolist() == LABELS


def put_unknown(folder: Path) -> None:
    save(folder / "im/cell.png", CELL)
    save(folder / "im/nucleos.png", CELL)


def put_other_size(folder: Path) -> None:
    save(folder / "im/cell.png", CELL)
    save(folder / "im/nucleus.png", CELL.T.copy())


def put_three_bands(folder: Path) -> None:
    np.save(folder / "im.npy", np.zeros((4, 5, 3), np.uint8))


def put_unknown_value(folder: Path) -> None:
    save(folder / "im/cell.png", CELL + 1)


def put_two_of_a_class(folder: Path) -> None:
    save(folder / "im/cell.bmp", CELL)
    save(folder / "im/cell.png", CELL)


def put_broken(folder: Path) -> None:
    save(folder / "im/cell.png", CELL)
    (folder / "im/nucleus.png").write_bytes(b"no")


def put_unknown_value_in_a_band(folder: Path) -> None:
    np.save(folder / "im.npy", np.stack([CELL + 1, NUCLEUS], axis=2))


@pytest.mark.parametrize(
    ("put", "name", "message"),
    [
        (put_unknown, "im", "label not in the card: holds nucleos.png; the card has cell and nucleus"),
        (put_other_size, "im", "size mismatch: nucleus is 2 x 3, cell 3 x 2 (width x height)"),
        (lambda folder: (folder / "im").mkdir(), "im", "image without a mask: a folder without a file of a class"),
        (put_three_bands, "im.npy", "unreadable mask: holds 3 bands of uint8; the card has 2 overlapping classes"),
        (put_unknown_value, "im", "label not in the card: cell.png: holds 1, 6 and 10; the card has 0, 5 and 9"),
        (put_two_of_a_class, "im", "same name as another: cell.bmp and cell.png are both of one class"),
        (put_broken, "im", "unreadable mask: nucleus.png: unknown image format"),
        (
            put_unknown_value_in_a_band,
            "im.npy",
            "label not in the card: band of cell: holds 1, 6 and 10; the card has 0, 5 and 9",
        ),
        (
            lambda folder: np.save(folder / "im.npy", np.full((4, 5, 2), 0.5)),
            "im.npy",
            "unreadable mask: holds fractions",
        ),
        (lambda folder: (folder / "im.png").write_bytes(b"no"), "im.png", "unreadable mask: unknown image format"),
    ],
)
def test_mask_that_does_not_fit_says_why(tmp_path: Path, put: Any, name: str, message: str) -> None:
    put(tmp_path)
    with pytest.raises(UnusableFileError) as error:
        read(tmp_path, name)
    assert str(error.value).replace(", and ", " and ").startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"void": [0]}, "in a class's mask 0 is outside"),
        ({"void": [9]}, "raw value 9 appears twice"),
        ({"void": [[1, 2, 3]]}, "mix numbers and colours"),
        ({"classes": name_classes("cell", "None")}, "a class is called None; pictures"),
        ({"classes": name_classes(*map(str, range(254)))}, "254 overlapping classes; at most 253"),
    ],
)
def test_card_with_values_that_cannot_be_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        card_of_overlapping(tmp_path, **changes)
