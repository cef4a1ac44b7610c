"""`import losslab` on real runs: the notebook in examples/, and a run's outs beside those of `dvc repro`."""

import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.pipeline.clone import Clone

pytestmark = pytest.mark.pipeline
NOTEBOOK = ROOT / "examples/from_images_to_verdict.ipynb"
CHECKS = """
import json


assert [row["seeds"] for row in verdict.table] == [3, 3] and verdict.interval and 0 <= verdict.p_value <= 1
assert "<td>dice</td>" in verdict._repr_html_() and "<td>cross_entropy</td>" in verdict._repr_html_()
assert mask.shape == (64, 64) and mask.dtype == "uint8" and len(first.history) == 2

loaded = losslab.load_run(first.name)
assert loaded == first and [*loaded.model.parameters()] and losslab.run(SMALL | {"loss": "cross_entropy"}).name == first.name
Path("README.md").with_name("names.json").write_text(json.dumps([first.name, first.record.md5s]))
"""


class EmptyFolder(Clone):
    """A folder in which nothing is, in which commands run as those of `Clone` do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.preloaded = folder, True

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PYTHONPATH": str(ROOT / "src")}


def test_notebook_goes_from_images_to_a_verdict(tmp_path: Path) -> None:
    """Its cells run in order, in one namespace, and a run of it has the bytes that `dvc repro` gives."""
    folder = EmptyFolder(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    (tmp_path / "cells.py").write_text("\n\n".join("".join(cell["source"]) for cell in cells) + CHECKS)
    who = {f"GIT_{role}_{key}": "t" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    folder.run("python cells.py", **who)

    folder.folder = tmp_path / "cells"
    assert folder.run("git status --porcelain") == "?? names.json\n"  # the workspace is as it was
    name, md5s = json.loads((folder.folder / "names.json").read_text())
    folder.run(
        f"git show $(git for-each-ref --format='%(objectname)' 'refs/exps/*/*/{name}'):params.yaml > params.yaml"
    )
    folder.run("dvc repro --force")
    lock = yaml.safe_load((folder.folder / "dvc.lock").read_text())
    outs = {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])}
    assert outs == md5s
