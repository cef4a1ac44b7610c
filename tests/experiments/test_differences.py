"""Differences are described in what a reader of that kind of file counts in."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from losslab.experiments.differences import describe_difference


def tensors(path: Path, last: float) -> None:
    save_file({"a": torch.zeros(3), "b": torch.tensor([1.0, last], dtype=torch.bfloat16)}, path)


def pixels(path: Path, last: int) -> None:
    image = np.zeros((4, 5), np.uint8)
    image[-1, -1] = last
    Image.fromarray(image).convert("P").save(path)


def array(path: Path, last: int) -> None:
    np.save(path, np.array([[0, 0], [0, last]], np.uint8))


CASES: list[tuple[str, Callable[[Path], object], Callable[[Path], object], str]] = [
    (
        "m.safetensors",
        lambda path: tensors(path, 2.0),
        lambda path: tensors(path, 2.5),
        "1 of 2 tensors and 1 of 5 values differ, by 0.5 at most (b)",
    ),
    (
        "m.safetensors",
        lambda path: save_file({"a": torch.zeros(2)}, path),
        lambda path: save_file({"a": torch.zeros(3)}, path),
        "a was [2], is [3]",
    ),
    (
        "t.csv",
        lambda path: path.write_text("image,iou\na,0.5\nb,0.5\nc,\n"),
        lambda path: path.write_text("image,iou\na,0.5\nb,0.25\nd,0.5\n"),
        "3 of 6 values differ, first row 2, iou: 0.5, now 0.25; by 0.25 at most",
    ),
    ("t.csv", lambda path: path.write_text("a\n1\n"), lambda path: path.write_text("a\n1\n2\n"), "had 1 row, has 2"),
    (
        "t.csv",
        lambda path: path.write_text("a,b\n1,2\n"),
        lambda path: path.write_text("a,c\n1,2\n"),
        "had the columns a,b, has a,c",
    ),
    (
        "s.json",
        lambda path: path.write_text(json.dumps({"test": {"iou": [0.5, None]}})),
        lambda path: path.write_text(json.dumps({"test": {"iou": [0.5, 1.0]}})),
        "1 of 2 values differ, first test.iou[1]: None, now 1.0",
    ),
    (
        "s.json",
        lambda path: path.write_text('{"a": 1}'),
        lambda path: path.write_text('{"a":  1}'),
        "has the same content, but is written differently; first in byte 7 of 8 bytes, now 9",
    ),
    ("p.png", lambda path: pixels(path, 0), lambda path: pixels(path, 9), "1 of 20 pixels differ"),
    ("a.npy", lambda path: array(path, 0), lambda path: array(path, 7), "1 of 4 values differ, by 7 at most"),
    (
        "r.html",
        lambda path: path.write_text("<p>one"),
        lambda path: path.write_text("<p>two"),
        "differs, first in byte 4 of 6 bytes",
    ),
    ("p.png", lambda path: pixels(path, 0), lambda path: path.write_text("no"), "cannot be compared (Unidentified"),
]


@pytest.mark.parametrize(("name", "before", "after", "description"), CASES)
def test_difference_is_counted(
    name: str, before: Callable[[Path], object], after: Callable[[Path], object], description: str, tmp_path: Path
) -> None:
    for place, write in (("old", before), ("new", after)):
        (tmp_path / place).mkdir()
        write(tmp_path / place / name)
    difference = describe_difference(tmp_path / "old" / name, tmp_path / "new" / name)
    assert difference is not None and difference.startswith(description)
    assert describe_difference(tmp_path / "old" / name, tmp_path / "old" / name) is None


def test_first_file_of_a_folder_is_named(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        (folder / "in").mkdir(parents=True)
        (folder / "in/same.txt").write_text("same")
    assert describe_difference(old, new) is None
    pixels(old / "in/a.png", 0)
    pixels(new / "in/a.png", 1)
    (new / "in/more.txt").write_text("more")
    assert describe_difference(old, new) == "2 of 3 files differ, first in/a.png: 1 of 20 pixels differ"
    (new / "in/a.png").unlink()
    assert describe_difference(old, new) == "2 of 3 files differ, first in/a.png: is missing"
