"""README's walk, where a dvc.lock of another machine is committed and masks are corrected that no `dvc add` has taken in."""

import re
from pathlib import Path

import pytest
import yaml

from losslab.experiments.clone import METRICS
from losslab.io.files import write_text
from tests.conftest import ROOT
from tests.pipeline.clone import Clone, stages_run
from tests.pipeline.conftest import EPOCHS, FinishedRun

pytestmark = pytest.mark.pipeline


def read_commands(section: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(f"\n## {section}\n")[1]
    return [line.split("   #")[0].strip() for line in text.split("```sh\n")[1].split("```")[0].splitlines()]


def read_outs(clone: Clone) -> dict[str, bytes]:
    """Read the outs, without the user's own images and masks."""
    return {path: content for path, content in clone.outs().items() if not path.startswith("data/raw/cells")}


def test_walk_on_the_lock_of_another_machine_loses_nothing(finished: FinishedRun, tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone", {"train": {"epochs": EPOCHS}})
    lock = yaml.safe_load(finished.lock)
    for stage in lock["stages"].values():
        for out in stage["outs"]:
            out["md5"] = re.sub("^.{8}", "01234567", out["md5"])  # bytes that nobody has
    write_text(clone.folder / "dvc.lock", yaml.safe_dump(lock))
    write_text(clone.folder / METRICS, '{"test": {"miou": 0.1}}')
    mask = clone.folder / "data/raw/cells/own/masks/1.png"
    write_text(mask, "as drawn")
    clone.run("dvc add -q data/raw/cells/own && git add -A && git commit -q -m 'of another machine'")

    repro, commit = read_commands("Start")
    assert repro == "make repro"
    clone.run(f"dvc repro && {commit}")
    assert clone.run("git status --porcelain") == ""
    baseline = read_outs(clone)

    first, second, third, back, *_ = read_commands("Change one thing")
    assert second.startswith("dvc exp run -S ") and third.startswith("dvc exp run -S ")
    assert stages_run(clone.run(first)) == ["plugins", "train", "evaluate", "report"]
    mask.write_text("corrected", encoding="utf-8")
    changes = [line.split()[-1] for line in clone.run("dvc exp diff").splitlines() if line.startswith(METRICS)]
    assert len(changes) == 5 and all(re.fullmatch(r"-?[\d.e-]+", change) for change in changes), changes
    assert back == "losslab reproduce HEAD"
    clone.run(back)
    assert read_outs(clone) == baseline and clone.run("git status --porcelain") == ""

    name = clone.run("dvc exp list --name-only").split()[0]
    clone.run(f"losslab reproduce {name}")
    there = read_outs(clone)
    assert there["models/model.safetensors"] != baseline["models/model.safetensors"] and there[METRICS]
    assert mask.read_text(encoding="utf-8") == "corrected"
    assert "up to date" in clone.run("dvc status train evaluate report")
