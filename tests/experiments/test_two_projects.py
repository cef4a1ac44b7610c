"""Projects in one Git repository share its experiments' refs, and each knows its own alone."""

import re
from pathlib import Path

import pytest
import yaml

from losslab.errors import InputError
from losslab.experiments.finished_runs import RunOutputs, list_experiments, list_runs
from losslab.experiments.run_finder import find_record
from losslab.study.plan import plan_runs
from losslab.study.results import find_finished_runs
from losslab.tracking import TrackedRun
from tests.experiments.repository import Runs
from tests.study.repository import Repository


def finish(project: Runs) -> None:
    """Commit a finished run of the project, so that each experiment of the others has it too."""
    (project.root / "dvc.lock").write_text(yaml.safe_dump(project.lock()))
    project.commit()


@pytest.mark.parametrize("folders", [("cells", "my cells"), (".", "cells"), ("a/cells", "b/cells")])
def test_each_project_of_a_repository_knows_its_own_experiments_alone(
    folders: tuple[str, str], tmp_path: Path, tracked: list[TrackedRun]
) -> None:
    one, other = (Runs(tmp_path / folder, tmp_path) for folder in folders)
    finish(one)
    finish(other)
    for project, name in ((one, "calm-cat"), (other, "wild-dog")):
        project.run(name, project.lock(weights=name))
    for project, name, foreign in ((one, "calm-cat", "wild-dog"), (other, "wild-dog", "calm-cat")):
        assert [entry[0] for entry in list_experiments(project.root)] == [name]
        assert [run.experiment for run in list_runs(project.root) if isinstance(run, RunOutputs)] == [name]
        assert find_record(name, project.root).params["dataset"] == "tiny"
        with pytest.raises(InputError, match=rf"no such run: {foreign} \(available: {name}\)"):
            find_record(foreign, project.root)


@pytest.mark.parametrize(
    "folders", [(".", "cells"), ("a/cells", "b/cells"), ("my cells", "my_cells"), ("模型", "数据")]
)
def test_studies_of_one_name_in_two_projects_write_experiments_of_different_names(
    folders: tuple[str, str], tmp_path: Path
) -> None:
    one, other = (Repository(tmp_path / folder, tmp_path) for folder in folders)
    runs = [plan_runs(project.read())[0] for project in (one, other)]
    one.experiment(runs[0], 0.5)
    assert not find_finished_runs(plan_runs(other.read()), other.root)
    other.experiment(runs[1], 0.6)
    for project, run in zip((one, other), runs, strict=True):
        assert [*find_finished_runs(plan_runs(project.read()), project.root)] == [run]


def test_names_of_runs_say_which_project_they_are_of(tmp_path: Path) -> None:
    names = [
        plan_runs(Repository(tmp_path / folder, tmp_path).read(alias=alias))[0].name
        for folder, alias in ((".", None), ("a/cells", None), ("b", "quick"), ("my cells", None))
    ]
    assert names[:3] == [f"{start}-cross_entropy-unet-s0" for start in ("small", "a-cells-small", "b-quick")]
    assert re.fullmatch(r"my_cells_\w{4}-small-cross_entropy-unet-s0", names[3])


def test_experiment_that_changes_no_lock_stays_known(tmp_path: Path) -> None:
    project = Runs(tmp_path / "cells", tmp_path)
    finish(project)
    project.commit_experiment("notes", {"notes.txt": "what I saw"})
    assert [entry[0] for entry in list_experiments(project.root)] == ["notes"]
