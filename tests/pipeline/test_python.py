"""`import losslab` on real runs: the notebook in examples/, and a run's outs beside those of `dvc repro`."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.pipeline.clone import Clone, make_empty_store

pytestmark = pytest.mark.pipeline
NOTEBOOK = ROOT / "examples/from_images_to_verdict.ipynb"
CHECKS = """
import json

assert [row["seeds"] for row in verdict.table] == [1, 1] and verdict.p_value is None
assert "<td>dice</td>" in verdict._repr_html_() and "<td>cross_entropy</td>" in verdict._repr_html_()
assert mask.shape == (64, 64) and mask.dtype == "uint8" and len(first.history) == 2

loaded = losslab.load_run(first.name)
assert loaded == first and [*loaded.model.parameters()]
assert losslab.run(SMALL | {"loss": "cross_entropy"}) == first and len(os.listdir(".losslab/runs")) == 2  # their logs
Path("../first.json").write_text(json.dumps([first.params, first.record.md5s]))
"""


class EmptyFolder(Clone):
    """A folder with an MLflow store, in which commands run as those of `Clone` do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.preloaded = folder, True
        self.store = Path(shutil.copy(make_empty_store(), folder / "mlflow.db"))

    @property
    def environment(self) -> dict[str, str]:
        who = {f"GIT_{role}_{key}": "t" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        places = {"PYTHONPATH": str(ROOT / "src"), "MLFLOW_TRACKING_URI": f"sqlite:///{self.store}"}
        return super().environment | who | places


def test_notebook_goes_from_images_to_a_verdict(tmp_path: Path) -> None:
    """Its cells run in order, with one seed to be quick; and a run of it has the bytes that `dvc repro` gives."""
    folder = EmptyFolder(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    code = "\n\n".join("".join(cell["source"]) for cell in cells)
    (tmp_path / "cells.py").write_text(code.replace("SEEDS = 0, 1, 2", "SEEDS = (0,)") + CHECKS, encoding="utf-8")
    folder.run("python cells.py")

    folder.folder = tmp_path / "cells"
    assert folder.run("git status --porcelain") == ""  # the workspace is as it was
    params, md5s = json.loads((tmp_path / "first.json").read_text(encoding="utf-8"))
    (folder.folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    folder.run("dvc repro --force")
    lock = yaml.safe_load((folder.folder / "dvc.lock").read_text(encoding="utf-8"))
    assert {out["path"]: out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", [])} == md5s
