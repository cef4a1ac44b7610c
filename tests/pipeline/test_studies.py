"""A study that is killed, stopped and run again: nothing twice, nothing of the workspace, and failures told."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.runtime.fork_server import is_supported
from tests.fork_server import find_forks
from tests.pipeline.clone import Clone

pytestmark = pytest.mark.pipeline
EPOCHS = 24
STUDY = {
    "title": "Small",
    "question": "Which?",
    "params": {
        "arch": "simple_cnn",
        "encoder": None,
        "train": {"epochs": EPOCHS, "device": "cpu"},
        "evaluate": {"predictions": 0},
        "report": {"examples": 0},
    },
    "grid": {
        "loss": ["dice"],
        "kind": {
            "small": {"train.precision": "32-true"},
            "broken": {"train.precision": "16-mixed"},  # which only the machine that it runs on refuses
        },
    },
    "seeds": [0],
}
GOOD, BROKEN = "grid-dice-small-s0", "grid-dice-broken-s0"
PATIENCE = 300
"""Seconds, on a machine that has other things to do."""


class Started:
    """A command in the background, as in another terminal."""

    def __init__(self, clone: Clone, command: str) -> None:
        self.clone, self.log = clone, clone.folder / ".losslab/run.txt"
        self.log.parent.mkdir(exist_ok=True)
        environment = clone.preloaded_environment if clone.preloaded else clone.environment
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                command.split(), cwd=clone.folder, env=environment, stdout=file, stderr=subprocess.STDOUT
            )

    def until(self, moment: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (seen := moment()):
            assert time.monotonic() < deadline and self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        return seen


def status(clone: Clone) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(clone.run("losslab study status grid --json"))["runs"]}


def work_going_on(folder: Path) -> list[int]:
    """DVC and stages, in the clone or below it."""
    pids = []
    for process in Path("/proc").iterdir():
        try:
            place, command = (process / "cwd").readlink(), (process / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if place.is_relative_to(folder) and (b"dvc" in command or b"src/" in command or b"worker" in command):
            pids.append(int(process.name))
    return pids


def test_study_survives_kills_and_a_failing_cell(tmp_path: Path) -> None:
    clone = Clone(tmp_path)
    (clone.folder / "studies/grid.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    clone.run("git add -A && git commit -q -m study")
    params = clone.folder / "params.yaml"
    params.write_text(params.read_text().replace("lr: 0.001", "lr: 0.9"))
    dirty = params.read_bytes()

    def in_an_epoch() -> bool:
        log = clone.folder / f".losslab/study/grid/logs/{GOOD}.log"
        return log.exists() and re.search(r"^epoch \d+/", log.read_text(), re.MULTILINE) is not None

    run = Started(clone, "losslab study run grid --jobs 2")
    run.until((clone.folder / ".losslab/study/grid/running.json").exists)
    assert "grid is already running (process" in clone.run("losslab study run grid", ok=False)
    run.until(in_an_epoch)
    run.process.kill()
    run.process.wait()
    deadline = time.monotonic() + 20
    while work_going_on(clone.folder):
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.1)
    assert {row["state"] for row in status(clone).values()} <= {"missing", "failed", "done"}

    shutil.rmtree(clone.folder / ".losslab/study/grid/logs")
    run = Started(clone, "losslab study run grid --jobs 2")
    run.until(in_an_epoch)
    for path in (clone.folder / ".losslab/study/grid").glob("slot-*.pid"):
        with suppress(ProcessLookupError):  # it had done its job
            os.kill(int(path.read_text()), signal.SIGKILL)
    assert run.process.wait(PATIENCE) == 1

    log = (clone.folder / f".losslab/study/grid/logs/{GOOD}.log").read_text()
    assert "resuming after epoch" in log, "it was trained from the start, or DVC's run cache answered"
    output, rows = run.log.read_text(), status(clone)
    assert [rows[name]["state"] for name in (GOOD, BROKEN)] == ["done", "failed"], output
    assert "grid: 1 of 2 done, 1 failed: see losslab study status grid" in output and "Traceback" not in output
    assert rows[BROKEN]["reason"].startswith("train: train.precision is '16-mixed', which needs CUDA")
    assert "WARNING: not committed, so not part of the runs: params.yaml" in output
    assert params.read_bytes() == dirty and clone.run("git status --porcelain") == " M params.yaml\n"
    assert clone.run("dvc exp list --name-only --all-commits").split() == [GOOD]

    finished = {run.data.tags.get("dvc.experiment"): run for run in clone.runs() if run.info.status == "FINISHED"}
    done, parent = finished.pop(GOOD), finished.pop(None)
    assert not finished and done.data.params["train.lr"] == "0.001"
    tags = {"study": "grid", "cell": "dice + small", "seed": "0", "loss": "dice", "kind": "small"}
    assert (tags | {"mlflow.parentRunId": parent.info.run_id}).items() <= done.data.tags.items()
    assert parent.data.tags["mlflow.note.content"].startswith("**1 of 2 runs are done.**\n\nSmall: Which?")
    history = clone.mlflow().get_metric_history(done.info.run_id, "val/miou")
    assert [point.step for point in history] == list(range(1, EPOCHS + 1)), "an epoch was trained twice"


@pytest.mark.skipif(not is_supported(), reason="runs are forks on Linux alone")
def test_killed_forks_end_in_the_bytes_of_dvc_repro_by_processes(tmp_path: Path) -> None:
    plain = Clone(tmp_path / "plain", {"train": {"epochs": EPOCHS}}, preloaded=False)
    undisturbed = Started(plain, "dvc repro")
    clone = Clone(tmp_path / "studied", {"train": {"epochs": EPOCHS}})
    params = yaml.safe_load((clone.folder / "params.yaml").read_text())
    study = {"title": "Same", "question": "?", "grid": {"loss": [params["loss"]]}, "seeds": [params["seed"]]}
    (clone.folder / "studies/same.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    clone.run("git add -A && git commit -q -m study")
    name = f"same-{params['loss']}-s{params['seed']}"
    log = clone.folder / f".losslab/study/same/logs/{name}.log"

    def has_trained(epoch: int) -> bool:
        return log.exists() and f"\nepoch {epoch}/" in log.read_text()

    run = Started(clone, "losslab study run same")

    def kill(victim: str) -> None:
        (pid, *_) = run.until(partial(find_forks, victim, clone.folder))
        os.kill(pid, signal.SIGKILL)

    kill("worker")  # which prepares the data
    for victim, epoch in (("dvc", 2), ("train", 6)):
        run.until(partial(has_trained, epoch))
        kill(victim)
    assert run.process.wait(PATIENCE) == 0, run.log.read_text()
    assert "resuming after epoch" in log.read_text() and not work_going_on(clone.folder)
    clone.run(f"dvc exp apply {name}")
    assert undisturbed.process.wait(PATIENCE) == 0, undisturbed.log.read_text()
    assert (clone.folder / "dvc.lock").read_bytes() == (plain.folder / "dvc.lock").read_bytes()
    assert clone.outs() == plain.outs()


def test_ray_brings_experiments_and_outs_back(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed (the extra `ray`)")
    clone = Clone(tmp_path / "clone")
    (clone.folder / "studies/grid.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    clone.run(f"dvc remote add -q -d store {tmp_path}/store && git add -A && git commit -q -m study")
    assert "needs MLFLOW_TRACKING_URI" in clone.run("losslab study run grid --engine ray --address local", ok=False)
    output = clone.run(
        "losslab study run grid --engine ray --address local --jobs 2 --set train.epochs=2",
        ok=False,
        MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db",
        OMP_NUM_THREADS="1",
        TMPDIR=str(tmp_path),
        HOME=str(tmp_path),
        RAY_TMPDIR="/tmp",  # the paths of its sockets must be short
    )
    assert "1 of 2 done, 1 failed" in output and "FAILED: train: train.precision is '16-mixed'" in output
    shown = clone.run("losslab study status grid --set train.epochs=2 --json")
    (done,) = (row for row in json.loads(shown)["runs"] if row["state"] == "done")
    assert 0 < done["test_miou"] < 1
    assert not (clone.folder / ".dvc/cache").exists(), "the outs are in the remote, not here"
    clone.run(f"dvc exp apply {done['name']}", ok=False)  # the outs are not here yet
    clone.run("dvc pull -q")
    assert (clone.folder / "reports/report.html").is_file() and (tmp_path / "mlflow.db").is_file()
