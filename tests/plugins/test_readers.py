"""Readers of plug-ins: a card's layout may be one, and what it gives is checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from losslab.cards import LAYOUT_NAMES, Card
from losslab.data.readers import LAYOUTS, find_layout, read_layout
from losslab.errors import InputError
from losslab.plugins.manifest import find_plugins
from losslab.plugins.usage import describe_usage
from tests.conftest import TINY_CARD

SLIDES = """
from losslab.plugins import Sample, reader

@reader(requires=("slides",), official_split=True)
def slides(folder):
    for slide in (folder / "slides").iterdir():
        yield Sample(slide.name, slide / "image.png", slide / "mask.png", "test" if slide.name > "b" else "train")
"""


def make_slides(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "slides" / name).mkdir(parents=True)
        for kind in ("image", "mask"):
            Image.new("L", (8, 8)).save(folder / "slides" / name / f"{kind}.png")


def make_card(**changes: Any) -> Card:
    return Card(**(TINY_CARD | {"layout": "slides"} | changes))


def test_layout_of_a_card_may_be_a_reader(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    write("slides.py", SLIDES)
    make_slides(tmp_path / "raw/archive", "c", "a")
    card, folder = make_card(), find_layout("slides", Path("raw"))  # stages work with relative paths
    assert card.has_official_split and folder == Path("raw/archive")
    (folder / "slides/c/mask.png").unlink()
    make_slides(folder, "b")
    listing = read_layout(card, folder)
    assert [(sample.name, sample.split) for sample in listing.samples] == [("a", "train"), ("b", "train")]
    assert listing.skipped == [("listed, but not on disk", "slides/c/mask.png")]
    with pytest.raises(ValueError, match=r"'slide' is not one of split_folders, .*, slides; did you mean slides"):
        make_card(layout="slide")


def test_names_of_layouts_are_those_that_are_read() -> None:
    assert set(LAYOUT_NAMES) == set(LAYOUTS)


def test_stages_depend_on_the_reader_of_the_card(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    import yaml

    write("slides.py", SLIDES)
    (tmp_path / "data/catalog").mkdir(parents=True)
    for layout in ("slides", "folders"):
        card = TINY_CARD | {"layout": layout}
        (tmp_path / f"data/catalog/{layout}.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    own, other = (describe_usage({"dataset": dataset}) for dataset in ("slides", "folders"))
    assert "reader slides" in own["prepare"] and "reader slides" in own["evaluate"] and own["train"] == "{}\n"
    assert set(other.values()) == {"{}\n"}


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("return [3]", r"plugins/own\.py:2: own gave int; a reader gives losslab\.plugins\.Sample"),
        ("return 3", r"plugins/own\.py: TypeError: 'int' object is not iterable"),
        ("yield from {}[3]", r"plugins/own\.py:4: KeyError: 3"),
        ("yield Sample(3, 'i', 'm')", r"own gave 3 as a name; a name is a text"),
        (
            "yield Sample('a', 'i', 'm', 'tset')",
            r"own gave the split 'tset'; a split is one of train, val, test, or None",
        ),
        ("yield Sample('a', 'i', 'm', 'test')", r"own gave a split; write @reader\(official_split=True\)"),
        ("yield Sample('a', '../i.png', 'm')", r"own gave /.*/i\.png, which is not below .*raw: DVC would not see it"),
        ("return []", r"raw: no image with a mask in the layout own$"),
        ("yield Sample('a', 'i', 'm')", r"in the layout own; skipped: i \(listed, but not on disk\), m \(listed"),
    ],
)
def test_fault_of_a_reader_is_named(write: Callable[[str, str], Path], tmp_path: Path, body: str, line: str) -> None:
    write("own.py", f"from losslab.plugins import *\n@reader\ndef own(folder):\n    {body}\n")
    assert find_plugins().errors == ()
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match=line):
        read_layout(make_card(layout="own"), tmp_path / "raw")


def test_reader_does_not_follow_links_to_folders(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    write("slides.py", SLIDES)
    make_slides(tmp_path / "elsewhere", "a")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/slides").symlink_to(tmp_path / "elsewhere/slides")
    with pytest.raises(InputError, match="slides: is a link to a folder"):
        read_layout(make_card(), tmp_path / "raw")
