"""Ensembles are planned from runs by the md5s of their files, and refused in one line where they cannot be."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from losslab.errors import InputError
from losslab.experiments.ensembles import describe_ensemble, find_ensemble, plan_ensemble
from losslab.experiments.member_files import open_members
from losslab.experiments.run_finder import RunFinder, RunRecord
from losslab.params import EnsembleParams
from losslab.tracking import TrackedRun
from tests.experiments.repository import Runs


@pytest.fixture
def folds(runs: Runs, tracked: list[TrackedRun]) -> list[RunRecord]:
    """Three runs that differ in their fold."""
    prepare = yaml.safe_load((runs.root / "params.yaml").read_text())["prepare"]
    for fold in range(3):
        split = {**prepare["split"], "method": "crossval", "fold": fold}
        runs.run(f"fold-{fold}", runs.lock(weights=f"weights {fold}"), prepare={**prepare, "split": split})
    finder = RunFinder(runs.root)
    return [finder.find(name) for name in finder.expand(["fold-[12]", "fold-*", "fold-0"])]


def test_members_are_known_by_the_bytes_of_their_files(runs: Runs, folds: list[RunRecord]) -> None:
    assert [record.name for record in folds] == ["fold-1", "fold-2", "fold-0"]
    planned = plan_ensemble(folds, "probabilities", None, runs.root)
    ensemble = planned.params["evaluate"]["ensemble"]
    assert planned.name.startswith("ensemble-of-3-") and planned.first is folds[0]
    assert planned.params["prepare"] == folds[0].params["prepare"] and not find_ensemble(planned, runs.root)
    member = ensemble["members"][1]
    assert member["run"] == "fold-2" and member["weights"] == runs.cached("weights 2")
    assert member["images"] == runs.cached("a\n") and member["settings"] == {"prepare.split.fold": 2}
    with open_members(EnsembleParams.model_validate(ensemble), runs.root) as folders:
        read = [(folder / "model.safetensors").read_text() for folder in folders.values()]
        assert read == ["weights 1", "weights 2", "weights 0"]
        assert (folders["fold-1"] / "index.csv").read_text() == "a\n"


def test_another_experiment_of_that_name_is_not_replaced(runs: Runs, folds: list[RunRecord]) -> None:
    planned = plan_ensemble(folds, "weights", "fold-0", runs.root)
    with pytest.raises(InputError, match="there is another experiment called fold-0: give this one another --name"):
        find_ensemble(planned, runs.root)
    runs.run("mine", runs.lock(), **plan_ensemble(folds, "weights", "mine", runs.root).params)
    assert find_ensemble(plan_ensemble(folds, "weights", "mine", runs.root), runs.root)


def test_name_that_no_experiment_can_have_is_refused_before_anything_runs(runs: Runs, folds: list[RunRecord]) -> None:
    for name in ("two words", "a..b", "a.", "-a", "a.lock", "a/b", ""):
        with pytest.raises(InputError, match=r"--name .*: use only letters, digits"):
            plan_ensemble(folds, "probabilities", name, runs.root)
    assert plan_ensemble(folds, "probabilities", "lr-0.1_a", runs.root).name == "lr-0.1_a"


def test_runs_that_make_no_ensemble_are_refused(runs: Runs, folds: list[RunRecord]) -> None:
    def describe(*names: str) -> dict[str, Any]:
        return describe_ensemble([RunFinder(runs.root).find(name) for name in names], "probabilities", runs.root)

    with pytest.raises(InputError, match="at least two runs"):
        describe("fold-0")
    runs.run("again", runs.lock(weights="weights 0"), seed=3)
    with pytest.raises(InputError, match="fold-0 and again are the same net, which would count twice"):
        describe("fold-0", "again")
    with pytest.raises(InputError, match="fold-0 is named twice"):
        describe("fold-0", str(folds[2].revision))
    with pytest.raises(InputError, match=r"two runs are called fold-0; `dvc exp rename` gives one another name"):
        describe_ensemble([folds[2], replace(folds[1], name="fold-0")], "probabilities", runs.root)
    params = plan_ensemble(folds, "probabilities", "mine", runs.root).params
    runs.run("mine", runs.lock(), **params)
    with pytest.raises(InputError, match="mine is an ensemble itself; name its members"):
        describe("fold-0", "mine")
    evaluate = {key: value for key, value in params["evaluate"].items() if key != "ensemble"}
    runs.run("old", runs.lock(weights="old"), evaluate=evaluate)
    finder = RunFinder(runs.root)
    old = [finder.find("old"), folds[0]]
    assert [member["run"] for member in describe("old", "fold-1")["members"]] == ["old", "fold-1"]
    with pytest.raises(InputError, match=r"old is a run of an older losslab, .* name a newer run first"):
        plan_ensemble(old, "probabilities", None, runs.root)
    assert plan_ensemble(old[::-1], "probabilities", None, runs.root).first is folds[0]
    with pytest.raises(InputError, match=r"no such run: fold-9\*"):
        finder.expand(["fold-9*"])


def test_lost_files_are_named_with_the_way_to_get_them(runs: Runs, folds: list[RunRecord]) -> None:
    ensemble = EnsembleParams.model_validate(describe_ensemble(folds, "probabilities", runs.root))
    md5 = ensemble.members[2].weights
    (runs.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]).unlink()
    lost = f"model.safetensors of fold-0 .md5 {md5}. is neither in DVC's cache nor in its remote: run `dvc exp pull"
    with pytest.raises(InputError, match=lost), open_members(ensemble, runs.root):
        pass
    with pytest.raises(
        InputError, match=r"fold-0: models/model.safetensors is neither in DVC's cache nor in its remote"
    ):
        describe_ensemble(folds, "probabilities", runs.root)
