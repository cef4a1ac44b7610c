"""A worker on this machine, with stages that only write their outs: the project is a subfolder of its Git repository."""

import copy
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import yaml

from losslab.experiments.run_finder import find_record
from losslab.experiments.verify import verify_run
from losslab.io.git import find_head
from losslab.runtime import fork_server
from losslab.study.engine import EndedRun, Engine, LocalEngine
from losslab.study.plan import plan_runs
from losslab.study.results import find_finished_runs, read_scores
from losslab.study.state import StudyState
from tests.fork_server import find_forks, start_server
from tests.study.repository import Repository

TRAIN = """import json
import os
from pathlib import Path

print("a client at", os.environ["MLFLOW_TRACKING_URI"])
Path("models").mkdir(exist_ok=True)
Path("reports").mkdir(exist_ok=True)
Path("models/model.safetensors").write_text("weights")
Path("models/model.json").write_text(json.dumps({"data_md5": "d", "run": {"dataset": "tiny"}}))
Path("reports/history.csv").write_text("epoch,val_miou\\n1,0.5\\n")
Path("reports/metrics.json").write_text(json.dumps({"val": {"miou": 0.5}, "test": {"miou": 0.25}}))
"""
PIPELINE: dict[str, Any] = {
    "stages": {
        "prepare": {
            "cmd": "mkdir -p data/prepared/tiny && echo a > data/prepared/tiny/index.csv",
            "outs": ["data/prepared/tiny"],
        },
        "train": {
            "cmd": "python src/train.py",
            "deps": ["data/prepared/tiny", "src/train.py"],
            "params": ["loss"],
            "outs": ["models/model.safetensors", "models/model.json", "reports/history.csv", "reports/metrics.json"],
        },
        "report": {
            "cmd": "mkdir reports/figures && echo a > reports/figures/a.png && echo a > reports/report.html",
            "deps": ["models/model.json"],
            "outs": ["reports/report.html", "reports/figures"],
        },
    }
}


def wait_for_end(engine: Engine) -> EndedRun:
    deadline = time.monotonic() + 300
    while not (ended := engine.collect_ended()):
        assert time.monotonic() < deadline
    return ended[0]


@pytest.fixture
def preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let engines fork the server of the test run, which has imported the libraries."""
    folder = start_server()
    monkeypatch.setattr(fork_server, "find_forker", lambda: folder)


@pytest.mark.usefixtures("preloaded")
def test_study_and_verify_work_in_a_subfolder_of_a_git_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")  # nobody answers, at once
    project = Repository(tmp_path / "monorepo/segmentation", tmp_path / "monorepo")
    root = project.root
    (root / "src").mkdir()
    (root / "src/train.py").write_text(TRAIN)
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    (root / ".gitignore").write_text("/.losslab/\n/models/\n/reports/\n/data/prepared/\n")
    baseline = project.commit()
    run = plan_runs(project.read())[0]
    state = StudyState(root, "small")
    engine = LocalEngine(state, baseline, root / ".dvc/cache", 1)
    try:
        assert engine.prepare(run).reason is None, state.find_log("prepare").read_text()
        engine.start(run)
        assert wait_for_end(engine).reason is None, state.find_log(run.name).read_text()
    finally:
        engine.close()
    (outs,) = find_finished_runs([run], root).values()
    assert read_scores(outs)["val"] == {"miou": 0.5} and outs.baseline == find_head(root)
    assert project.git("status", "--porcelain") == ""
    kept = root / ".losslab"
    assert "http://***@127.0.0.1:9" in state.find_log(run.name).read_text() and kept.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept.rglob("*.log")} == {0o600}
    assert not [path for path in kept.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    verified = verify_run(find_record(run.name, root), root, print)
    assert (verified.outs, verified.differing) == (6, [])
    assert not (root / ".losslab/verify").exists()


WAIT = """import time
begun, go = Path({begun!r}), Path({go!r})
begun.touch()
while not go.exists():
    time.sleep(0.02)
"""


@pytest.mark.skipif(not fork_server.is_supported(), reason="runs are forks on Linux alone")
@pytest.mark.usefixtures("preloaded")
def test_whatever_is_killed_the_run_ends_and_so_does_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody answers, at once
    monkeypatch.setenv("SHELL", "/bin/sh")  # on many systems it waits for its command: it is not replaced by that
    project, begun, go = Repository(tmp_path / "project"), tmp_path / "begun", tmp_path / "go"
    root = project.root
    (root / "src").mkdir()
    (root / "src/train.py").write_text(TRAIN + WAIT.format(begun=str(begun), go=str(go)))
    pipeline = copy.deepcopy(PIPELINE)
    pipeline["stages"]["train"]["params"] = ["loss", "arch", "seed"]
    (root / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (root / ".gitignore").write_text("/.losslab/\n/models/\n/reports/\n/data/prepared/\n")
    baseline = project.commit()
    runs = plan_runs(project.read())
    state = StudyState(root, "small")

    def wait_for_stage() -> None:
        deadline = time.monotonic() + 300
        while not begun.exists():
            assert not engine.collect_ended() and time.monotonic() < deadline, state.find_log(run.name).read_text()

    with closing(LocalEngine(state, baseline, root / ".dvc/cache", 1)) as engine:
        assert engine.prepare(runs[0]).reason is None
        for run, victim in zip(runs, ["worker", "dvc", "train", "server", "libraries", "none"], strict=False):
            engine.start(run)
            wait_for_stage()
            begun.unlink()
            assert engine.libraries is not None
            servers = {"server": [engine.servers[engine.slots[0]].pid], "libraries": [engine.libraries.pid], "none": []}
            for pid in servers[victim] if victim in servers else find_forks(victim, root):
                os.kill(pid, signal.SIGKILL)
            if victim not in ("libraries", "none"):
                wait_for_stage()
            go.touch()
            assert wait_for_end(engine) == EndedRun(run, ANY), state.find_log(run.name).read_text()
            go.unlink()
            begun.unlink(missing_ok=True)
        assert len(find_finished_runs(runs, root)) == 6
    assert not list_processes(root)


THREADS = """import os
import torch

print(os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads())
"""


def test_runs_go_on_as_processes_where_the_libraries_cannot_be_imported_ahead(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_library")
    monkeypatch.setattr(fork_server, "__file__", str(broken))
    (repository.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"prepare": {"cmd": "python src/threads.py"}}}))
    (repository.root / "src").mkdir()
    (repository.root / "src/threads.py").write_text(THREADS)
    state = StudyState(repository.root, "small")
    with closing(LocalEngine(state, repository.commit(), repository.root / ".dvc/cache", 1, threads="1")) as engine:
        assert engine.prepare(plan_runs(repository.read())[0]).reason is None
    assert "\n1 1\n" in state.find_log("prepare").read_text()
    warned = capsys.readouterr().err
    assert warned.startswith("WARNING: the libraries could not be imported once") and warned.count("\n") == 1


SLEEPING = {"stages": {"prepare": {"cmd": "true"}, "train": {"cmd": "trap '' INT TERM; touch {}; sleep 100"}}}
"""A stage that does not end by itself when it is interrupted."""


@pytest.mark.parametrize(
    ("signals", "code"),
    [([signal.SIGTERM], 143), ([signal.SIGINT, signal.SIGINT], 130)],
    ids=["SIGTERM", "Ctrl+C twice"],
)
def test_study_that_is_ended_leaves_no_process_and_says_how_to_resume(
    signals: list[int], code: int, repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, begun = repository.root, tmp_path_factory.mktemp("signs") / "begun"
    (root / "dvc.yaml").write_text(yaml.safe_dump(SLEEPING, sort_keys=False).replace("{}", str(begun)))
    repository.commit()
    # A process of its own, whose runs are forks of the server of the test run.
    forker, arguments = str(start_server() / "python"), ["losslab", "study", "run", "small", "--jobs", "2"]
    script = (
        f"import sys; sys.executable = {forker!r}; sys.argv = {arguments}; from losslab.__main__ import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored where the suite runs in the background
    )
    while not begun.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.3)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, "ERROR: interrupted: run `losslab study run small` to resume\n")
    assert "Traceback" not in output and not list_processes(root)
    assert not list((root / ".losslab/study/small").glob("slot-*/")) and StudyState(root, "small").find_runner() is None


def list_processes(folder: Path) -> list[str]:
    """List the commands of the processes that work in a folder or below it."""
    commands = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):  # not a process, or gone, or another user's
            if (process / "cwd").readlink().is_relative_to(folder):
                commands.append((process / "cmdline").read_text())
    return commands
