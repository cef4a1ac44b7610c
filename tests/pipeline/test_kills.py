"""Runs that are killed with -9 and started again end in the same bytes as one that was left alone."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from losslab.experiments.clone import drop_torn_lock
from tests.pipeline.clone import Clone
from tests.pipeline.conftest import EPOCHS, FinishedRun

pytestmark = pytest.mark.pipeline
CHANGES = {"train": {"epochs": EPOCHS}}


def kill_dvc(clone: Clone, moment: Callable[[str], bool], group: bool) -> str:
    """Run `dvc repro` and kill it, or all its process group, when its output (and whatever else) says so.

    Returns the output. Where DVC alone is killed the stage is a real process: it has to notice that itself.
    """
    log = clone.folder / ".losslab" / "output.txt"
    log.parent.mkdir(exist_ok=True)
    log.unlink(missing_ok=True)  # the last stage may still write to it: a moment passes before it sees that DVC is gone
    with log.open("w") as file:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("dvc"), "repro"],
            cwd=clone.folder,
            env=clone.preloaded_environment if group else clone.environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        while process.poll() is None:
            if moment(log.read_text()):
                if group:
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
                break
            time.sleep(0.001)
        assert process.wait() == -signal.SIGKILL, f"it ended before the moment to kill it: {log.read_text()}"
    # DVC writes this file in place, so a kill can leave it empty: the docs tell users to remove it then.
    drop_torn_lock(clone.folder)
    return log.read_text()


def after(pattern: str, seconds: float, but_before: str = "nothing") -> Callable[[str], bool]:
    """So many seconds after the output has a line, but at once when it has another: a quick machine does not wait."""
    seen: list[float] = []

    def moment(output: str) -> bool:
        if re.search(pattern, output) and not seen:
            seen.append(time.monotonic())
        return bool(seen) and (time.monotonic() - seen[0] >= seconds or but_before in output)

    return moment


def test_kills_at_any_moment_change_nothing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = Clone(tmp_path_factory.mktemp("killed"), CHANGES)
    chance = random.Random(0)
    moments = {
        "before the first epoch ends": after("Running stage 'train'", chance.uniform(0.1, 1), "epoch 1/"),
        "while a checkpoint is written": lambda output: (
            any(clone.folder.glob(".losslab/checkpoints/.*.partial")) or "epoch 4/" in output
        ),
        "in an epoch or its validation": after(r"epoch \d+/", chance.uniform(0, 0.6), f"epoch {EPOCHS - 4}/"),
        "after the last epoch": after(rf"epoch {EPOCHS}\b", 0.0),
        "while the model is written, or around that": after(f"resuming after epoch {EPOCHS}", chance.uniform(0, 0.05)),
        "trained, but not yet taken in by DVC": lambda output: (
            "resuming after" in output and any(clone.folder.glob(".losslab/checkpoints/*.finished"))
        ),
        "between train and evaluate": after("Running stage 'evaluate'", 0),
        "in a later stage": after("Running stage 'evaluate'", chance.uniform(0.5, 4), "Running stage 'report'"),
    }
    for number, (name, moment) in enumerate(moments.items()):
        had_checkpoint = any(clone.folder.glob(".losslab/checkpoints/*.ckpt"))
        output = kill_dvc(clone, moment, group=number % 3 != 2)
        assert "Traceback" not in output, f"{name}: {output}"
        if had_checkpoint and re.search(r"^epoch \d", output, re.MULTILINE):
            assert "resuming after epoch" in output, f"{name}: trained from the start: {output}"
        if name == "between train and evaluate":
            assert f"resuming after epoch {EPOCHS}" in output, "a finished training was not used"
    output = clone.run("dvc repro")
    finished: FinishedRun = request.getfixturevalue("finished")  # now: another process of the suite may have made it
    assert clone.outs() == finished.outs
    assert (clone.folder / "dvc.lock").read_text(encoding="utf-8") == finished.lock
    (run,) = clone.runs()
    assert run.info.status == "FINISHED" and "test/miou" in run.data.metrics
    history = clone.mlflow().get_metric_history(run.info.run_id, "val/miou")
    assert [point.step for point in history] == list(range(1, EPOCHS + 1))
    assert not list((clone.folder / ".losslab/checkpoints").iterdir())


def test_queued_experiment_whose_worker_died_goes_on_when_it_is_queued_again(
    finished: FinishedRun, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = Clone(tmp_path_factory.mktemp("queue"), CHANGES)
    clone.run("dvc repro prepare")
    queue = "dvc exp run --queue -n {} train && dvc queue start >/dev/null 2>&1"
    clone.run(queue.format("first"))
    deadline = time.monotonic() + 200
    while not list(clone.folder.glob(".losslab/checkpoints/*.ckpt")):
        assert time.monotonic() < deadline, clone.run("dvc queue status")
        time.sleep(0.005)
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _works_for(process, clone.folder):
            os.kill(int(process.name), signal.SIGKILL)
    assert re.search(r"first\s.*Running", clone.run("dvc queue status"))
    clone.run("dvc queue kill first")
    clone.run(queue.format("second"))
    clone.wait_for_experiments("second", seconds=200)
    assert "resuming after epoch" in clone.run("dvc queue logs second")
    clone.run("dvc exp branch second second")
    locks = clone.run("git show second:dvc.lock"), finished.lock
    resumed, alone = (yaml.safe_load(lock)["stages"]["train"]["outs"] for lock in locks)
    assert resumed == alone and "models/model.safetensors" in {out["path"] for out in resumed}
    (run,) = clone.runs()
    assert run.data.tags["dvc.experiment"] == "second" and run.info.status == "FINISHED"
    history = clone.mlflow().get_metric_history(run.info.run_id, "val/miou")
    assert [point.step for point in history] == list(range(1, EPOCHS + 1))


def _works_for(process: Path, folder: Path) -> bool:
    """Whether a process was started in a folder and does DVC's or losslab's work there."""
    try:
        command, place = (process / "cmdline").read_bytes(), (process / "cwd").readlink()
    except OSError:  # it is gone
        return False
    return place.is_relative_to(folder) and (b"dvc" in command or b"src/train.py" in command)
