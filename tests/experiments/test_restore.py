"""The workspace is put into a run's state whole, or not touched."""

from pathlib import Path

import pytest
import yaml

from losslab.errors import InputError
from losslab.experiments import restore as restoring
from losslab.experiments.clone import run_dvc
from losslab.experiments.restore import _is_kept, restore_workspace
from losslab.experiments.run_finder import find_record
from losslab.io.files import write_text
from tests.experiments.repository import Runs

PIPELINE = """stages:
  download: {cmd: "true", outs: ["data/raw/${dataset}/fetched"]}
  prepare: {cmd: "true", outs: ["data/prepared/${dataset}"]}
  train: {cmd: "true", outs: [models/model.safetensors, models/model.json, reports/history.csv]}
  evaluate: {cmd: "true", outs: [reports/metrics.json]}
  report: {cmd: "true", outs: [reports/report.html, reports/figures]}
"""
pytestmark = pytest.mark.usefixtures("tracked")


def test_code_of_another_commit_is_refused_with_the_commit_to_check_out(runs: Runs) -> None:
    baseline = runs.git("rev-parse", "HEAD")
    runs.run("calm-cat", runs.lock())
    train = runs.root / "src/train.py"
    train.write_text("newer")
    before = (runs.root / "params.yaml").read_bytes()
    with pytest.raises(InputError, match=r"src/train\.py has uncommitted changes: commit them, or run git stash"):
        restore_workspace(find_record("calm-cat", runs.root), runs.root)
    runs.commit()
    with pytest.raises(InputError, match=f"has changed since calm-cat ran: run git checkout {baseline[:10]} first"):
        restore_workspace(find_record("calm-cat", runs.root), runs.root)
    assert (runs.root / "params.yaml").read_bytes() == before and not (runs.root / "dvc.lock").exists()


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("params.yaml", "changes in params.yaml would be lost: keep them with git commit or dvc exp save"),
        ("models/model.json", r"models/model\.json would be lost, because DVC's cache does not have it"),
    ],
)
def test_changes_that_are_kept_nowhere_are_not_dropped(path: str, complaint: str, runs: Runs) -> None:
    runs.run("calm-cat", runs.lock())
    changed: Path = runs.root / path
    changed.parent.mkdir(exist_ok=True)
    changed.write_text("loss: mine\n")
    with pytest.raises(InputError, match=complaint):
        restore_workspace(find_record("calm-cat", runs.root), runs.root)
    assert changed.read_text() == "loss: mine\n" and not (runs.root / "dvc.lock").exists()


def test_checkout_that_fails_leaves_params_and_lock(runs: Runs) -> None:
    runs.run("calm-cat", runs.lock(), loss="dice")
    before = (runs.root / "params.yaml").read_bytes()
    (runs.root / "dvc.yaml").write_text("stages: [")
    with pytest.raises(InputError):
        restore_workspace(find_record("calm-cat", runs.root), runs.root, force=True)
    assert (runs.root / "params.yaml").read_bytes() == before and not (runs.root / "dvc.lock").exists()


def test_params_that_an_experiment_has_are_no_loss(runs: Runs) -> None:
    runs.run("calm-cat", runs.lock(), loss="dice")
    revision = find_record("calm-cat", runs.root).revision
    for name in ("params.yaml", "dvc.lock"):
        (runs.root / name).write_text("mine")
        assert not _is_kept(runs.root, name)  # dvc.lock is one that Git does not track
        (runs.root / name).write_text(runs.git("show", f"{revision}:{name}") + "\n")
        assert _is_kept(runs.root, name)


@pytest.fixture
def pipeline(runs: Runs) -> Runs:
    """Runs in a repository with the stages that DVC needs to check out outs."""
    write_text(runs.root / "dvc.yaml", PIPELINE)
    with (runs.root / ".gitignore").open("a") as file:
        file.write("/data/prepared/\n")
    runs.commit()
    return runs


@pytest.mark.parametrize("force", [False, True])
def test_data_are_left_alone_where_the_cache_has_not_those_of_the_run(force: bool, pipeline: Runs) -> None:
    lock = pipeline.lock()
    for stage in ("download", "prepare"):
        lock["stages"][stage]["outs"][0]["md5"] = "0" * 32 + ".dir"
    pipeline.run("calm-cat", lock)
    mine = [pipeline.root / "data/raw/tiny/fetched/mine.txt", pipeline.root / "data/prepared/tiny/mine.csv"]
    for path in mine:
        write_text(path, "mine")
    restored = restore_workspace(find_record("calm-cat", pipeline.root), pipeline.root, force)
    assert restored.missing == ["data/raw/tiny/fetched", "data/prepared/tiny"]
    assert (pipeline.root / "models/model.safetensors").read_text() == "weights"
    assert all(path.read_text() == "mine" for path in mine)


def test_data_that_are_kept_nowhere_are_not_overwritten(pipeline: Runs) -> None:
    pipeline.run("calm-cat", pipeline.lock())
    mine = pipeline.root / "data/prepared/tiny/mine.csv"
    write_text(mine, "mine")
    with pytest.raises(
        InputError,
        match=r"data/prepared/tiny would be lost, because DVC's cache does not have it: keep it with dvc commit",
    ):
        restore_workspace(find_record("calm-cat", pipeline.root), pipeline.root)
    assert mine.read_text() == "mine" and not (pipeline.root / "dvc.lock").exists()


def test_checkout_that_fails_leaves_data(pipeline: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the dvc.lock before has an md5 of, which the cache has not."""
    lock = pipeline.lock()
    lock["stages"]["prepare"]["outs"][0]["md5"] = "0" * 32 + ".dir"
    write_text(pipeline.root / "dvc.lock", yaml.safe_dump(lock))
    pipeline.commit()
    pipeline.run("calm-cat", lock, loss="dice")
    mine = pipeline.root / "data/prepared/tiny/mine.csv"
    write_text(mine, "mine")
    commands: list[str] = []

    def first_fails(root: Path, *arguments: str, check: bool = True) -> None:
        commands.append(arguments[0])
        if commands.count("checkout") == 1 and arguments[0] == "checkout":
            raise InputError("dvc checkout: disk full")
        run_dvc(root, *arguments, check=check)

    monkeypatch.setattr(restoring, "run_dvc", first_fails)
    with pytest.raises(InputError, match="disk full"):
        restore_workspace(find_record("calm-cat", pipeline.root), pipeline.root)
    assert commands.count("checkout") == 2 and mine.read_text() == "mine"


def test_damage_in_the_cache_is_refused_and_leaves_the_workspace(pipeline: Runs) -> None:
    """DVC trusts what lies in its cache."""
    pipeline.run("calm-cat", pipeline.lock(), loss="dice")
    before = (pipeline.root / "params.yaml").read_bytes()
    (damaged,) = (path for path in pipeline.root.glob(".dvc/cache/files/md5/*/*") if path.read_text() == "a\n")
    damaged.write_text("b\n")
    with pytest.raises(InputError, match=f"{damaged.name} in DVC's cache is damaged: remove it"):
        restore_workspace(find_record("calm-cat", pipeline.root), pipeline.root)
    assert (pipeline.root / "params.yaml").read_bytes() == before and not (pipeline.root / "dvc.lock").exists()
    assert not (pipeline.root / ".losslab/before").exists()
