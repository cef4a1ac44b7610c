from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.cards import ArchiveSource, read_card
from losslab.errors import InputError
from tests.conftest import ROOT, TINY_CARD


@pytest.mark.parametrize("path", sorted((ROOT / "data/catalog").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_card_is_valid(path: Path) -> None:
    assert read_card(path.stem, path.parent).title


def test_pet_card_has_the_published_checksums_and_three_classes() -> None:
    card = read_card("oxford_pet", ROOT / "data/catalog")
    assert isinstance(card.source, ArchiveSource)
    assert {archive.name: archive.md5 for archive in card.source.archives} == {
        "images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
        "annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
    }
    assert [(c.name, c.values) for c in card.classes] == [("pet", [1]), ("background", [2]), ("border", [3])]


ARCHIVE = {"name": "a.zip", "md5": "0" * 32, "bytes": 1, "unpacked": 1, "urls": ["http://x/a.zip"]}

OTHER = {"name": "overall", "color": [9, 9, 9], "values": [1]}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"colour": 1}, "colour: unknown key"),
        ({"layout": "pets"}, "layout: 'pets' is not one of split_folders, ade20k, camvid, "),
        ({"classes": [{"name": "a", "color": [0, 0, 256], "values": [0]}]}, "classes.0.color.2 is 256"),
        ({"void": [2]}, "raw value 2 appears twice"),
        ({"void": [70000]}, "void.0: 70000 is not a mask value; use a number from 0 to 65535, a colour such as"),
        ({"void": [[0, 0, 256]]}, r"void.0: \[0, 0, 256\] is not a mask value"),
        ({"void": ["1-2"]}, "raw value 1, 2 appears twice"),
        ({"void": ["9-8"]}, "void.0: '9-8' is not a mask value; .*a range such as 128-255"),
        ({"void": ["9-70000"]}, "void.0: '9-70000' is not a mask value"),
        ({"void": [True]}, "void.0: True is not a mask value"),
        ({"void": ["nonzero", "nonzero"]}, "raw value nonzero appears twice"),
        ({"void": [[0, 0, 0]]}, "classes and void mix numbers and colours"),
        *[
            (
                {"classes": [{"name": name, "color": [0, 0, 0], "values": [0]}, OTHER]},
                f"a class is called {name}; split, ",
            )
            for name in ("split", "Truth", "ALL")
        ],
        ({"group": "^[a-z]+"}, r"group: '\^\[a-z\]\+' must have exactly one pair of brackets"),
        ({"group": "(a)(b)"}, r"group: '\(a\)\(b\)' must have exactly one pair of brackets"),
        ({"group": "(a"}, r"group: '\(a' is not a regular expression: missing \)"),
        (
            {"classes": [{"nam": "a", "color": [0, 0, 0], "values": [0]}]},
            r"classes.0.nam: unknown key; allowed here: name, color",
        ),
        ({"source": {"folder": "x"}}, r"source.folder is 'x'; it must be null$"),
        ({"source": {"folder": None, "url": "x"}}, r"source.url: unknown key; allowed here: folder$"),
        (
            {"source": {"archives": [{"nam": 1}]}},
            r"source.archives.0.nam: unknown key; allowed here: name, md5, sha256, bytes, unpacked, urls; did you mean name\?$",
        ),
        ({"source": {"archives": [ARCHIVE | {"md5": None}]}}, r"a.zip has urls, so it needs an md5 or sha256"),
        ({"source": {"archives": [ARCHIVE | {"sha256": "0" * 63}]}}, r"archives.0.sha256 is '0+'; it must match"),
        ({"source": {"archives": [ARCHIVE | {"urls": []}]}}, r"a.zip has no urls, so source.manual must say how"),
        ({"source": {"archives": [ARCHIVE | {"urls": ["ftp://x/y"]}]}}, r"urls.0 is 'ftp://x/y'; it must match"),
        ({"source": {"archives": [ARCHIVE | {"name": "../a.zip"}]}}, r"name is '../a.zip'; it must match"),
        ({"source": {"archives": [ARCHIVE | {"unpacked": 0}]}}, r"unpacked is 0; it must be greater than 0"),
        ({"source": {"archives": []}}, r"source.archives is empty; it must have at least 1"),
        ({"source": {"own": "x"}}, r"source.own is 'x'; it must be null$"),
        ({"source": {"generater": "lesions"}}, r": source: needs one of the keys generator, archives, folder, own$"),
    ],
)
def test_fault_in_a_card_is_an_error_with_its_file(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY_CARD | changes), encoding="utf-8")
    with pytest.raises(InputError, match=complaint) as caught:
        read_card("mine", tmp_path)
    assert "mine.yaml" in str(caught.value)


def test_ranges_of_values_are_their_numbers(tmp_path: Path) -> None:
    classes = [{**TINY_CARD["classes"][0], "values": ["0-2", 9]}, {**TINY_CARD["classes"][1], "values": [3, "5-7"]}]
    changes = {"classes": classes, "void": ["65534-65535"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(TINY_CARD | changes), encoding="utf-8")
    card = read_card("mine", tmp_path)
    assert [one.values for one in card.classes] == [[0, 1, 2, 9], [3, 5, 6, 7]] and card.void == [65534, 65535]


@pytest.mark.parametrize("content", [b"title: \xff\n", b"- a\n", b"", b"a: [\n"])
def test_file_that_is_no_card_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(InputError, match=r"mine.yaml: (not readable as YAML|holds no keys)"):
        read_card("mine", tmp_path)


def test_missing_card_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.yaml: no such card"):
        read_card("none", tmp_path)
