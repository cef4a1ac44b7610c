"""A project that the built wheel makes, in a subfolder of a repository whose path has spaces."""

import json
import zipfile
from pathlib import Path

import pytest
import yaml
from hatchling.build import build_wheel

from losslab.experiments.clone import STAGES
from losslab.project.code import RECORD
from tests.conftest import ROOT, TINY_CARD, TINY_CHANGES, merge
from tests.pipeline.clone import QUICK, Clone, stages_run

pytestmark = pytest.mark.pipeline
BRIER = """
from losslab.plugins import loss, net

@loss
def brier(probabilities, one_hot, valid):
    return ((probabilities - one_hot) ** 2).sum() / valid.sum().clamp(min=1)

@net(stride=1)
def pixel(num_classes, in_channels):
    from torch import nn
    return nn.Conv2d(in_channels, num_classes, 1)
"""


class Project(Clone):
    """A project that runs losslab from a folder with the content of the wheel."""

    def __init__(self, repository: Path, site: Path) -> None:
        self.folder, self.preloaded, self.site = repository, True, site
        repository.mkdir()
        self.run("git init -q -b main && git config user.name t && git config user.email t@t")
        self.run("losslab init 'my cells'")
        self.folder = repository / "my cells"
        self.empty_store()
        (self.folder / "data/catalog/tiny.yaml").write_text(yaml.safe_dump(TINY_CARD), encoding="utf-8")
        path = self.folder / "params.yaml"
        params = merge(yaml.safe_load(path.read_text(encoding="utf-8")), merge(TINY_CHANGES, QUICK))
        path.write_text(yaml.safe_dump(params), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PYTHONPATH": str(self.site)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(ROOT)
    wheel = build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        archive.extractall(tmp_path / "site")
    return Project(tmp_path / "a repository", tmp_path / "site")


def test_project_of_the_wheel_runs_and_follows_upgrades(project: Project) -> None:
    assert stages_run(project.run("dvc repro")) == STAGES
    project.run("git add -A .. && git commit -q -m 'First run'")
    assert project.run("dvc repro -q") == "" and project.run("git status --porcelain") == ""
    assert project.run("losslab docs splits") == (ROOT / "docs/reference/splits.md").read_text(encoding="utf-8")
    advice = json.loads(project.run("losslab advise tiny --json"))  # by the rows in the wheel
    assert [kind["kind"] for kind in advice["kinds"]] and len(advice["losses"]) == 3
    assert advice["losses"][0]["loss"] in project.run("losslab study show advise_tiny && rm studies/advise_tiny.yaml")

    (project.folder / "plugins/brier.py").write_text(BRIER)
    assert stages_run(project.run("dvc repro")) == ["plugins"]  # nothing uses it
    stages = stages_run(project.run("dvc exp run -S loss=0.5*dice+brier -S arch=pixel"))
    assert stages == ["plugins", "train", "evaluate", "report"]
    (project.folder / "plugins/brier.py").write_text(BRIER.replace("** 2", "** 4"))
    assert stages_run(project.run("dvc repro")) == ["plugins", "train", "evaluate", "report"]
    assert "brier" in (project.folder / "reports/history.csv").read_text(encoding="utf-8")
    project.run("git checkout -q . && git add plugins && git commit -q -m 'A loss' && dvc repro -q")

    with (project.site / "losslab/losses/region.py").open("a", encoding="utf-8") as file:
        file.write("# another losslab\n")
    output = project.run("dvc exp run -S seed=1", ok=False)
    assert (
        "ERROR: train: losslab.yaml: this project is of losslab 0.1.0" in output and "run `losslab upgrade`" in output
    )
    project.run("git checkout -q .")
    assert "runs again at the next dvc repro: train, and what follows" in project.run("losslab upgrade")
    assert project.run("git status --porcelain").split() == ["M", '"my', f'cells/{RECORD}"']
    assert stages_run(project.run("dvc repro")) == ["train"]  # the same bytes, so DVC runs no more
