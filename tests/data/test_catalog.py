from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.cards import read_card
from losslab.data.catalog import CatalogEntry, read_catalog
from losslab.errors import InputError
from tests.conftest import ROOT, TINY_CARD


def write(root: Path, name: str, **changes: Any) -> None:
    path = root / f"data/catalog/{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(TINY_CARD | changes), encoding="utf-8")


def entry(root: Path) -> CatalogEntry:
    (only,) = read_catalog(root)
    return only


def archive(**changes: Any) -> dict[str, Any]:
    return {"name": "a.zip", "md5": "0" * 32, "bytes": 7, "unpacked": 9, "urls": ["https://x.org/a.zip"]} | changes


def test_shipped_cards_tell_their_download() -> None:
    entries = {each.name: (each.source, each.bytes_to_download, each.by_hand) for each in read_catalog(ROOT)}
    assert entries["oxford_pet"] == ("archives", 791918971 + 19173078, False)
    assert entries["ph2"] == ("archives", None, True)
    assert entries["synthetic_lesions"] == ("generator", None, False)


def test_size_that_one_archive_does_not_tell_is_unknown(tmp_path: Path) -> None:
    write(tmp_path, "two", source={"archives": [archive(), archive(name="b.zip", bytes=None)]})
    assert entry(tmp_path).bytes_to_download is None
    write(tmp_path, "two", source={"archives": [archive(), archive(name="b.zip", bytes=8)]})
    assert entry(tmp_path).bytes_to_download == 15


@pytest.mark.parametrize(("source", "folder"), [(TINY_CARD["source"], "fetched"), ({"own": None}, "own")])
def test_what_is_on_disk_is_reported(tmp_path: Path, source: Any, folder: str) -> None:
    write(tmp_path, "mine", source=source)
    (tmp_path / "data/raw/mine/other").mkdir(parents=True)
    assert (entry(tmp_path).on_disk, entry(tmp_path).prepared) == (False, False)
    (tmp_path / "data/raw/mine" / folder).mkdir()
    assert (entry(tmp_path).on_disk, entry(tmp_path).prepared) == (True, False)
    (tmp_path / "data/prepared/mine").mkdir(parents=True)
    assert (entry(tmp_path).on_disk, entry(tmp_path).prepared) == (True, True)


def test_images_of_your_own_are_counted_as_they_come_and_go(tmp_path: Path) -> None:
    write(tmp_path, "mine", source={"own": None}, layout="folders")
    assert entry(tmp_path).images is None
    for name in ("a.jpg", "b.PNG", "notes.txt", ".hidden.png"):
        (tmp_path / "data/raw/mine/own/images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/raw/mine/own/images" / name).write_bytes(b"")
    assert entry(tmp_path).images == 2
    write(tmp_path, "mine", source={"own": None}, layout="folders", images=5)
    assert entry(tmp_path).images == 5


def test_broken_cards_do_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path, "a", colour=1)
    write(tmp_path, "c")
    (tmp_path / "data/catalog/b.yaml").mkdir()
    (tmp_path / "data/raw/a/own").mkdir(parents=True)
    a, b, c = read_catalog(tmp_path)
    assert a.fault is not None and a.fault.startswith(f"{tmp_path}/data/catalog/a.yaml: colour: unknown key")
    assert b.fault == f"{tmp_path}/data/catalog/b.yaml: Is a directory"
    assert (a.card, a.on_disk, b.on_disk) == (None, True, False)
    assert (c.fault, c.card and c.card.title) == (None, "Tiny lesions")


def test_description_is_complete(tmp_path: Path) -> None:
    write(tmp_path, "mine", source={"archives": [archive()]}, void=[9], group="^(.)")
    assert entry(tmp_path).describe() == {
        "name": "mine",
        "fault": None,
        "on_disk": False,
        "prepared": False,
        "title": "Tiny lesions",
        "licence": "CC0-1.0",
        "citation": "none",
        "home": None,
        "images": None,
        "source": "archives",
        "bytes": 7,
        "by_hand": False,
        "layout": "split_folders",
        "classes": [
            {"name": "skin", "color": [240, 200, 170], "values": [0]},
            {"name": "lesion", "color": [150, 50, 90], "values": [1]},
            {"name": "hair", "color": [20, 60, 160], "values": [2]},
        ],
        "void": [9],
        "group": "^(.)",
        "official_split": True,
    }


def test_folder_without_a_catalog_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data/catalog: no such folder; run from the root of the repository$"):
        read_catalog(tmp_path)


def test_card_of_the_docs_is_one(tmp_path: Path) -> None:
    docs = (ROOT / "docs/reference/cards.md").read_text(encoding="utf-8")
    (tmp_path / "cells.yaml").write_text(docs.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    card = read_card("cells", tmp_path)
    assert (card.find_groups(["p12_3"])["p12_3"], card.mask_suffix, card.void) == ("p12", "_mask", [128])


def test_docs_list_the_shipped_cards_with_their_images() -> None:
    table = (ROOT / "docs/reference/cards.md").read_text(encoding="utf-8").split("## The sets that ship")[1]
    rows = [row.split("|")[1:3] for row in table.split("\n- ")[0].splitlines() if row.startswith("| `")]
    listed = {name: int(images) for names, images in rows for name in names.replace("`", "").replace(",", " ").split()}
    assert listed == {entry.name: entry.images for entry in read_catalog(ROOT)}


@pytest.mark.parametrize(
    ("name", "classes", "void"),
    [
        ("ade20k", range(1, 151), [0]),
        ("cityscapes", [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33], [*range(7), 9, 10, 14, 15, 16, 18, 29, 30]),
        ("loveda", range(1, 8), [0]),
        ("voc2012", range(21), [255]),
    ],
)
def test_cards_of_scenes_have_the_published_numbers(name: str, classes: Sequence[int], void: list[int]) -> None:
    card = read_card(name, ROOT / "data/catalog")
    assert [one.values for one in card.classes] == [[number] for number in classes] and card.void == void


def test_colours_of_voc_are_those_that_its_rule_makes() -> None:
    for number, one in enumerate(read_card("voc2012", ROOT / "data/catalog").classes):
        bits = [[number >> (3 * place + band) & 1 for place in range(3)] for band in range(3)]
        assert one.color == tuple(sum(bit << (7 - place) for place, bit in enumerate(band)) for band in bits)
