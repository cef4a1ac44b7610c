"""The readers of published datasets, on made-up copies of them; and masks of several files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dvc.repo import Repo

from losslab.cards import Card, read_card
from losslab.data.images.class_masks import build_label_reader
from losslab.data.images.decode import read_mask
from losslab.data.images.files import UnusableFileError
from losslab.data.loading.arrays import PreparedData
from losslab.data.prepare.prepare import prepare
from losslab.data.readers import find_layout, read_layout
from losslab.errors import InputError
from losslab.evaluation.targets import build_original_targets
from losslab.io.hashing import compute_folder_md5
from tests.conftest import ROOT, TINY_CARD
from tests.data.own_data import files_by_kind, find_pixels, how, prepared_from, save
from tests.data.published_layouts import LAYOUTS, SIZE, blocks, photo, put
from tests.plugins.conftest import write

__all__ = ["write"]

CATALOG = ROOT / "data/catalog"


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layout_is_read_with_its_junk_named(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name]
    card = read_card(layout.card, CATALOG)
    layout.make(tmp_path / "unpacked" / layout.inside)
    (tmp_path / "unpacked/__MACOSX").mkdir(exist_ok=True)
    folder = find_layout(card.layout, tmp_path / "unpacked")
    assert folder == tmp_path / "unpacked" / layout.inside
    listing = read_layout(card, folder)
    assert all(sample.image.is_file() and sample.mask.exists() for sample in listing.samples)
    found, skipped = dict[str, list[str]](), dict[str, list[str]]()
    for sample in listing.samples:
        found.setdefault(sample.split or "none", []).append(sample.name)
    for kind, file in sorted(listing.skipped):
        skipped.setdefault(kind, []).append(file)
    assert (found, skipped) == (layout.samples, layout.skipped)
    assert card.has_official_split == (set(found) != {"none"})


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layout_is_prepared_by_its_card(tmp_path: Path, name: str) -> None:
    layout = LAYOUTS[name]
    card = read_card(layout.card, CATALOG)
    layout.make(tmp_path / "raw/fetched")
    method = "official" if card.has_official_split else "grouped" if card.group else "random"
    audit, prepared = prepared_from(tmp_path, card, size=32, method=method)
    assert all(audit["images"].values())
    used = [names for split, names in layout.samples.items() if split != "none" or method != "official"]
    assert sum(audit["images"].values()) == sum(map(len, used))
    assert files_by_kind(audit, "error").keys() <= layout.skipped.keys(), audit["findings"]
    for split in ("train", "val", "test"):
        assert set(np.unique(prepared.masks(split))) <= {*range(len(card.classes)), 255}
    checks = {"cityscapes": check_cities, "drive": check_field_of_view, "dsb2018": check_union}
    if name in checks:
        checks[name](prepared)


def check_cities(prepared: PreparedData) -> None:
    cities = [{name.split("_")[0] for name in prepared.names(split)} for split in ("train", "val", "test")]
    assert cities[0] | cities[1] == {"aachen", "bochum", "jena"} and not cities[0] & cities[1]
    assert cities[2] == {"lindau"}


def check_field_of_view(prepared: PreparedData) -> None:
    assert prepared.describe()["ignore_index"] == 255
    for name in ("21", "01"):
        void = find_pixels(prepared, name)[1] == 255
        assert void[:5].all() and void[:, -5:].all() and not void[6:26, 6:26].any()


def check_union(prepared: PreparedData) -> None:
    widths = [np.count_nonzero(find_pixels(prepared, name)[1][8] == 1) for name in ("0b", "0a7e", "0c")]
    assert widths == [9, 18, 28]  # of 7, 14 and 21 pixels in 24, at 32


def put_objects(folder: Path, *masks: Any) -> Path:
    for number, mask in enumerate(masks):
        save(folder / f"o{number}.png", np.array(mask, np.uint8))
    return folder


def test_mask_of_a_file_per_object_is_their_union(tmp_path: Path) -> None:
    folder = put_objects(tmp_path / "masks", [[0, 0, 255, 255]], [[0, 255, 255, 0]], [[7, 0, 0, 0]])
    by_opencv = np.max([np.asarray(cv2.imread(str(path), -1)) for path in folder.iterdir()], axis=0)
    (folder / "notes.txt").write_text("")
    (folder / "._o0.png").write_bytes(b"junk")
    assert read_mask(folder, in_colours=False).tolist() == by_opencv.tolist() == [[7, 255, 255, 255]]


@pytest.mark.parametrize(
    ("spoil", "in_colours", "complaint"),
    [
        (
            lambda path: save(path, np.zeros((3, 4), np.uint8)),
            False,
            "size mismatch: o1.png: 4 x 3, the objects before it 4",
        ),
        (lambda path: path.write_bytes(b"junk"), False, "unreadable mask: o1.png: unknown image format"),
        (lambda path: path.write_bytes(path.read_bytes()[:45]), False, "truncated mask: o1.png: "),
        (lambda path: path.write_bytes(b""), False, "unreadable mask: o1.png: empty file"),
        (lambda path: path.unlink(), True, "unreadable mask: a folder of objects holds numbers; the card has colours"),
    ],
)
def test_fault_among_the_objects_of_a_mask_is_told_with_its_file(
    tmp_path: Path, spoil: Callable[[Path], Any], in_colours: bool, complaint: str
) -> None:
    folder = put_objects(tmp_path, [[0, 0, 1, 1]], [[1, 0, 0, 0]], [[0, 0, 0, 1]])
    spoil(folder / "o1.png")
    with pytest.raises(UnusableFileError, match=f"^{complaint}"):
        read_mask(folder, in_colours)


def test_folder_without_an_object_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(UnusableFileError, match="a folder without a file of an object"):
        read_mask(tmp_path, in_colours=False)


def test_broken_object_is_a_finding_about_its_image_alone(tmp_path: Path) -> None:
    LAYOUTS["dsb2018"].make(tmp_path / "raw/fetched")
    photo(tmp_path / "raw/fetched/0h/images/0h.png")
    put_objects(tmp_path / "raw/fetched/0h/masks", np.zeros((SIZE, SIZE)), np.ones((SIZE, SIZE + 1)))
    audit, _ = prepared_from(tmp_path, read_card("dsb2018", CATALOG))
    (mismatch,) = (finding for finding in audit["findings"] if finding["kind"] == "size mismatch")
    assert (mismatch["file"], mismatch["detail"]) == (
        "0h/masks",
        "o1.png: 25 x 24, the objects before it 24 x 24 (width x height)",
    )
    assert sum(audit["images"].values()) == 3


@pytest.mark.parametrize("name", ["drive", "dsb2018"])
def test_original_size_has_the_same_labels(tmp_path: Path, name: str) -> None:
    card = read_card(name, CATALOG)
    LAYOUTS[name].make(tmp_path / "raw/fetched")
    _, prepared = prepared_from(tmp_path, card, size=SIZE if name == "drive" else 32, method="random")
    targets = build_original_targets(prepared, "test", card, tmp_path / "raw")
    for index, mask in enumerate(targets.read_masks(range(len(prepared.names("test"))))):
        assert mask.shape == (SIZE, SIZE) and {*np.unique(mask)} == ({0, 1, 255} if name == "drive" else {0, 1})
        if name == "drive":
            assert np.array_equal(mask, prepared.masks("test")[index])


@pytest.mark.parametrize("name", ["drive", "dsb2018"])
def test_tiles_of_images_too_large_for_memory_have_the_same_labels(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = read_card(name, CATALOG)
    LAYOUTS[name].make(tmp_path / "raw/fetched")
    whole = prepare(card, tmp_path / "raw", how(fit="tile", size=32), tmp_path / "whole")
    monkeypatch.setattr("losslab.data.prepare.prepare.MAX_BYTES_DECODED", 1)
    assert prepare(card, tmp_path / "raw", how(fit="tile", size=32), tmp_path / "large") == whole
    assert compute_folder_md5(tmp_path / "large") == compute_folder_md5(tmp_path / "whole")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (np.ones((SIZE, SIZE + 1), np.uint8), "size mismatch: 21_training_mask.gif: 25 x 24, its mask 24 x 24"),
        (None, "unreadable mask: 21_training_mask.gif: unknown image format"),
    ],
)
def test_field_of_view_that_does_not_fit_is_told(tmp_path: Path, content: Any, complaint: str) -> None:
    LAYOUTS["drive"].make(tmp_path)
    card = read_card("drive", CATALOG)
    sample = next(sample for sample in read_layout(card, tmp_path).samples if sample.name == "21")
    put(tmp_path / "training/mask/21_training_mask.gif", content)
    with pytest.raises(UnusableFileError, match=f"^{complaint}"):
        build_label_reader(card).read(sample)


READER = """
from losslab.plugins import Sample, reader

@reader
def objects(folder):
    for place in sorted(folder.glob("case*")):
        yield Sample(place.name, place / "image.png", place / "masks", valid=folder / "valid.png")
"""


def test_reader_of_a_plug_in_may_name_folders_of_objects_and_what_is_valid(
    write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    write("objects.py", READER)
    folder = tmp_path / "raw/fetched"
    for number in range(4):
        photo(folder / f"case{number}/image.png")
        put_objects(folder / f"case{number}/masks", blocks(0, 1), blocks(2, 0))
    save(folder / "valid.png", blocks(1, 1, 0))
    card = Card(**(TINY_CARD | {"layout": "objects", "source": {"folder": None}}))
    mask = build_label_reader(card).read(read_layout(card, folder).samples[0])
    assert mask[0, :6].tolist() == [2, 1, 255, 1, 2, 255]
    Repo.init(str(tmp_path), no_scm=True).close()
    (tmp_path / ".dvcignore").write_text("/raw/fetched/case0/masks/o1.png\n/raw/fetched/case1/masks\n")
    listing = read_layout(card, folder)
    assert [sample.name for sample in listing.samples] == ["case2", "case3"]
    assert listing.skipped == [
        ("ignored by DVC", f"case{number}/masks/o{each}.png") for number, each in ((0, 1), (1, 0), (1, 1))
    ]
    (folder / "valid.png").unlink()
    with pytest.raises(InputError, match=r"no image with a mask .*valid.png \(listed, but not on disk\)"):
        read_layout(card, folder)
