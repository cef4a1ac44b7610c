"""A dataset of one's own through its versions: what docs/how-to/data-versions.md walks through."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from losslab.experiments.clone import STAGES
from losslab.io.files import read_json
from tests.pipeline.clone import Clone, stages_run

pytestmark = pytest.mark.pipeline


def draw(folder: Path, numbers: range) -> None:
    """Images with a bright square, and masks of where it is."""
    generator = np.random.default_rng(0)
    for number in numbers:
        mask = np.zeros((80, 100), np.uint8)
        top, left = generator.integers(10, 40, 2)
        mask[top : top + 30, left : left + 30] = 255
        image = generator.integers(0, 90, (80, 100, 3)) + 120 * (mask[..., None] > 0)
        for kind, pixels in (("photos", image.astype(np.uint8)), ("outlines", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / f"cell {number}.png")


def test_own_data_through_two_versions_and_back_and_to_another_clone(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", {"train": {"epochs": 1}})
    draw(tmp_path, range(12))
    own = clone.folder / "data/raw/cells/own"

    output = clone.run(f"losslab datasets new cells --images {tmp_path}/photos --masks {tmp_path}/outlines")
    add, commit, experiment = [line.strip() for line in output.splitlines() if line.startswith("  ")][-3:]
    clone.run(f"{add} && {commit}")
    assert clone.run("git status --porcelain") == ""
    output = clone.run(experiment)
    assert stages_run(output) == STAGES
    clone.run("git add -A && git commit -q -m v1 && git tag v1")
    first = clone.outs()

    shutil.copy(own / "masks/cell 1.png", tmp_path)
    shutil.rmtree(tmp_path / "photos")
    shutil.rmtree(tmp_path / "outlines")
    draw(tmp_path, range(12, 16))
    for kind, source in (("images", "photos"), ("masks", "outlines")):
        for path in (tmp_path / source).iterdir():
            shutil.copy(path, own / kind)
    corrected = np.asarray(Image.open(own / "masks/cell 0.png")).copy()
    corrected[:5] = 255
    Image.fromarray(corrected).save(own / "masks/cell 0.png")
    clone.run("dvc add data/raw/cells/own")
    output = clone.run("dvc repro")
    assert stages_run(output) == ["prepare", "train", "evaluate", "report"]
    clone.run("git add -A && git commit -q -m v2")
    assert sum(read_json(clone.folder / "data/prepared/cells/audit.json")["images"].values()) == 16
    assert "test.miou" in clone.run("dvc exp diff v1")
    assert "cell 15.png" in clone.run("dvc diff v1")
    second = clone.outs()

    versioned = "data/raw/cells/own.dvc data/catalog/cells.yaml params.yaml dvc.lock reports/metrics.json"
    (own / "masks/cell 1.png").write_bytes(b"corrected")
    assert "without confirmation" in clone.run(f"git checkout v1 -- {versioned} && dvc checkout", ok=False)
    assert (own / "masks/cell 1.png").read_bytes() == b"corrected"
    shutil.copy(tmp_path / "cell 1.png", own / "masks")
    clone.run(f"git checkout v1 -- {versioned} && dvc checkout -q")
    assert stages_run(clone.run("dvc repro")) == []
    assert clone.outs() == first and len(list((own / "images").iterdir())) == 12
    clone.run(f"git checkout HEAD -- {versioned} && dvc checkout -q")
    assert clone.outs() == second

    clone.run(f"dvc remote add -q -d store {tmp_path}/store && git add -A && git commit -q -m remote && dvc push -q")
    other = Clone.open(tmp_path / "other")
    clone.run(f"git clone -q . {other.folder}")
    other.run("dvc pull -q")
    assert stages_run(other.run("dvc repro")) == []
    assert other.outs() == clone.outs()
    assert len(list((other.folder / "data/raw/cells/own/images").iterdir())) == 16
