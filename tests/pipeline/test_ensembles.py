"""Folds, their ensemble and a comparison of both, through DVC."""

from pathlib import Path

import pytest

from losslab.io.files import read_json
from tests.pipeline.clone import Clone, stages_run

pytestmark = pytest.mark.pipeline


def test_folds_become_an_ensemble_that_is_compared_with_them(tmp_path: Path) -> None:
    split = {"method": "crossval", "folds": 2}
    clone = Clone(
        tmp_path / "clone", {"prepare": {"split": split}, "train": {"epochs": 1}, "evaluate": {"predictions": 1}}
    )
    for fold in range(2):
        clone.run(f"dvc exp run -n fold-{fold} -S prepare.split.fold={fold}")
    before = clone.run("git status --porcelain; cat params.yaml dvc.lock; git rev-parse HEAD")
    output = clone.run("losslab ensemble 'fold-*' --name both")
    assert stages_run(output) == ["evaluate", "report"] and "both: an experiment beside fold-0" in output
    assert clone.run("git status --porcelain; cat params.yaml dvc.lock; git rev-parse HEAD") == before
    compared = clone.run("losslab compare --runs 'fold-*' both --no-timing --name folds")
    rows = [line.split() for line in compared.splitlines() if line[:1].isdigit()]
    assert {row[1] for row in rows} == {"single", "ensemble"}
    content = read_json(clone.folder / "reports/comparisons/folds/comparison.json")
    assert {cell["name"]: len(cell["runs"]) for cell in content["cells"]} == {"ensemble of 2 nets": 1, "single net": 2}
    clone.run("losslab reproduce both --force")
    facts = read_json(clone.folder / "reports/evaluation.json")["ensemble_facts"]
    assert facts["val"] == {"images": 8, "members": [1, 1]}
    assert stages_run(clone.run("dvc repro")) == []
