"""Links among raw data: what prepare reads is what DVC hashes, or prepare refuses with one line."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from dvc.fs import localfs
from dvc.repo import Repo
from dvc_data.hashfile.build import build

from losslab.cards import Card
from losslab.data.download.fetch import fetch
from losslab.data.prepare.prepare import prepare
from losslab.errors import InputError
from losslab.io.hashing import compute_folder_md5
from tests.conftest import TINY_CARD
from tests.data.own_data import how, save
from tests.plugins.conftest import write

__all__ = ["write"]

READER = """
from losslab.plugins import Sample, reader

@reader(requires=("list.txt",))
def listed(folder):
    for line in (folder / "list.txt").read_text().split():
        yield Sample(line, folder / "a" / "photos" / f"{line}.png", folder / "b" / f"{line}.png")
"""
PAIRS = {  # layout → the folders of images and masks, and what a mask's name adds
    "folders": [("images", "masks", "")],
    "split_folders": [(f"{split}/images", f"{split}/masks", "") for split in ("train", "val", "test")],
    "camvid": [(split, f"{split}annot", "") for split in ("train", "val", "test")],
    "oxford_pet": [("images", "annotations/trimaps", "")],
    "ph2": [
        (f"PH2 Dataset images/{name}/{name}_Dermoscopic_Image", f"PH2 Dataset images/{name}/{name}_lesion", "_lesion")
        for name in ("I1", "I2", "I3", "I4")
    ],
    "listed": [("a/photos", "b", "")],
    "dsb2018": [(f"{name}/images", f"{name}/masks", "") for name in ("I1", "I2", "I3", "I4")],
}
opened: set[Path] | None = None
"""Files that were opened while they are noted."""


def note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and opened is not None and isinstance(arguments[0], str) and "r" in (arguments[1] or "r"):
        opened.add(Path(arguments[0]))


sys.addaudithook(note_opened)


@contextmanager
def note_files() -> Iterator[set[Path]]:
    global opened  # an audit hook cannot be removed
    opened = set()
    try:
        yield opened
    finally:
        opened = None


@pytest.fixture
def outside(write: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the working directory a project with a plug-in; return a folder outside of it."""
    write("listed.py", READER)
    Repo.init(no_scm=True).close()
    return tmp_path_factory.mktemp("outside")


def make_data(raw: Path, layout: str, own: bool) -> Card:
    """Draw a dataset of which prepare reads every file."""
    generator, folder, names = np.random.default_rng(0), raw / ("own" if own else "fetched"), list[str]()
    for images, masks, suffix in PAIRS[layout]:
        folders = len(PAIRS[layout])
        for number in range(4 if folders == 1 else 2 if folders == 3 else 1):
            name = Path(images).parent.name if layout in ("ph2", "dsb2018") else f"{Path(images).parts[0]}{number}"
            names.append(name)
            save(folder / images / f"{name}.png", generator.integers(0, 256, (16, 16, 3), np.uint8))
            save(folder / masks / f"{name}{suffix}.png", generator.integers(0, 3, (16, 16), np.uint8))
    if layout == "oxford_pet":
        (folder / "annotations/trainval.txt").write_text("".join(f"{name} 1 1 1\n" for name in names[1:]))
        (folder / "annotations/test.txt").write_text(f"{names[0]} 1 1 1\n")
    if layout == "listed":
        (folder / "list.txt").write_text("\n".join(names))
    source = {"own": None} if own else {"folder": None}
    return Card(**(TINY_CARD | {"source": source, "layout": layout}))


def link(path: Path, elsewhere: Path, relative: bool) -> None:
    """Move a file or folder, and leave a link."""
    path.rename(elsewhere)
    target = os.path.relpath(elsewhere, path.parent) if relative else elsewhere
    path.symlink_to(target, target_is_directory=elsewhere.is_dir())


def hash_as_dvc(folder: Path) -> tuple[str, dict[str, str]]:
    """Return DVC's hash of a folder, and those of the files in it that DVC sees."""
    with Repo() as repo:
        _, _, tree = build(
            repo.cache.local, str(folder.absolute()), localfs, "md5", dry_run=True, ignore=repo.dvcignore
        )
        files = {"/".join(key): str(info.value) for key, (_, info) in tree.iteritems()}  # type: ignore[attr-defined]
        return str(tree.hash_info.value), files


def hash_content(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def prepare_or_refuse(card: Card, raw: Path) -> dict[str, str] | None:
    """Return the files below data/raw that prepare reads, with their hashes; None if it refuses with one line."""
    folder = raw / ("own" if raw.name.startswith("own") else "fetched")
    try:
        with note_files() as files:
            prepare(card, raw, how(method="random", audit="strict", size=16), Path("out"), workers=1)
    except InputError as error:
        assert "is a link to a folder, which DVC does not follow" in str(error) and "\n" not in str(error)
        assert not Path("out").exists()
        return None
    shutil.rmtree("out")
    below = (path for path in map(Path.absolute, files) if path.is_relative_to(folder.absolute()) and path.is_file())
    return {path.relative_to(folder.absolute()).as_posix(): hash_content(path) for path in below}


@pytest.mark.parametrize("layout", PAIRS)
def test_prepare_reads_what_dvc_hashes_or_refuses_wherever_links_are(outside: Path, layout: str) -> None:
    outcomes = []
    for seed in range(12):
        random, own = Random(f"{layout} {seed}"), seed % 2 == 0
        raw = Path("data/raw") / f"{'own' if own else 'fetched'}{seed}"
        card, folder = make_data(raw, layout, own), raw / ("own" if own else "fetched")
        elsewhere = outside / str(seed) if random.random() < 0.7 else Path(f"inside{seed}").absolute()
        elsewhere.mkdir()
        below = sorted(folder.rglob("*"))
        files, folders = ([path for path in below if path.is_file() == wanted] for wanted in (True, False))
        for number, path in enumerate(random.sample(files, random.randrange(len(files)))):
            link(path, elsewhere / str(number), relative=random.random() < 0.5)
        if seed % 3:
            place = random.choice([raw.parent, raw, folder, *folders])
            if random.random() < 0.8:
                link(place, elsewhere / "folder", relative=random.random() < 0.5)
            else:  # more of the same, behind a link
                shutil.copytree(folders[-1], elsewhere / "more")
                (random.choice(folders) / "more").symlink_to(elsewhere / "more")
        read = prepare_or_refuse(card, raw)
        outcomes.append(read is not None)
        if read is not None:
            md5, hashed = hash_as_dvc(folder)
            assert read == hashed and compute_folder_md5(folder) == md5
        if raw.parent.is_symlink():
            raw.parent.unlink()
    assert 0 < sum(outcomes) < len(outcomes)


@pytest.mark.parametrize("layout", PAIRS)
def test_linked_folder_at_every_level_is_refused(outside: Path, layout: str) -> None:
    raw = Path("data/raw/own")
    card = make_data(raw, layout, own=True)
    folders = [path for path in sorted((raw / "own").rglob("*")) if path.is_dir()]
    for place in (Path("data"), raw.parent, raw, raw / "own", *folders):
        link(place, outside / "elsewhere", relative=False)
        with pytest.raises(InputError, match=f"^{place}: is a link to a folder, which DVC does not follow"):
            prepare(card, raw, how(method="random", size=16), Path("out"))
        with pytest.raises(InputError, match=f"^{place}: is a link to a folder, which DVC does not follow"):
            fetch("own", card, None, raw, Path("downloads"))
        assert not Path("out").exists() and not Path("downloads").exists()
        if place in folders:
            assert compute_folder_md5(raw / "own") == hash_as_dvc(raw / "own")[0]
        place.unlink()
        (outside / "elsewhere").rename(place)
    assert prepare_or_refuse(card, raw) == hash_as_dvc(raw / "own")[1]


def test_project_behind_a_link_is_no_trouble(outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (outside / "link").symlink_to(tmp_path)
    card = make_data(Path("data/raw/own"), "folders", own=True)
    monkeypatch.chdir(outside / "link")
    for raw in (outside / "link/data/raw/own", Path("data/raw/own")):
        assert prepare_or_refuse(card, raw) is not None
