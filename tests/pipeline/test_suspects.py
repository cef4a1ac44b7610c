"""Masks of one's own data doubted: what docs/how-to/suspect-labels.md walks through."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from losslab.io.files import read_csv
from tests.pipeline.clone import Clone
from tests.pipeline.test_versions import draw

pytestmark = pytest.mark.pipeline


def test_own_masks_are_doubted_once_for_each_version(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", {"train": {"epochs": 1}, "prepare": {"size": 32}})
    draw(tmp_path, range(12))
    output = clone.run(f"losslab datasets new cells --images {tmp_path}/photos --masks {tmp_path}/outlines")
    add, commit = [line.strip() for line in output.splitlines() if line.startswith("  ")][-3:-1]
    clone.run(f"{add} && {commit}")

    output = clone.run("losslab datasets doubt cells --folds 2")
    assert "2 nets to train, 1 epoch each at 32 px, on about 5 of 12 images" in output and "[2/2]" in output
    rows = read_csv(clone.folder / "reports/doubt/cells/images.csv")
    assert sorted(row["image"] for row in rows) == sorted(f"cell {number}" for number in range(12))
    assert {row["mask"] for row in rows} == {f"data/raw/cells/own/masks/cell {number}.png" for number in range(12)}
    page = (clone.folder / "reports/doubt/cells/index.html").read_text(encoding="utf-8")
    assert "dvc add data/raw/cells/own" in page and "so the ranking means little" in page
    assert clone.run("git status --porcelain").split() == [
        "??",
        next(clone.folder.glob("studies/doubt_*")).relative_to(clone.folder).as_posix(),
    ]

    again = json.loads(clone.run("losslab datasets doubt cells --folds 2 --json 2> /dev/null"))
    assert [image["image"] for image in again["images"]] == [row["image"] for row in rows]
    assert [fold["images"] for fold in again["folds"]] == [6, 6]

    mask = clone.folder / rows[0]["mask"]
    Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
    stale = clone.run("losslab datasets doubt cells --folds 2", ok=False)
    assert "data/raw/cells/own has changes that DVC does not know: dvc add data/raw/cells/own" in stale
