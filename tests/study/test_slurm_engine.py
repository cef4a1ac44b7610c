"""`--engine slurm` with a stand-in for Slurm, and its tasks under submitit's own executors; stages only write their outs."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import submitit
import yaml

from losslab.errors import InputError
from losslab.experiments.finished_runs import list_experiments
from losslab.io.git import find_head
from losslab.study import slurm_engine
from losslab.study.engine import MAX_ATTEMPTS
from losslab.study.plan import plan_runs
from losslab.study.slurm_engine import SlurmEngine, SlurmTask
from losslab.study.slurm_options import read_options
from losslab.study.state import StudyState
from losslab.study.worker import WorkerJob
from tests.fork_server import start_server
from tests.study.repository import STUDY, Repository
from tests.study.test_engine import PIPELINE, TRAIN, list_processes, wait_for_end

LOSSLAB = Path(sys.executable).with_name("losslab")
PATIENCE_S = 120
LOOK = """
import signal
import time

hidden = sorted(key for key in os.environ if key.startswith(("SLURM", "SUBMITIT")))
Path("reports/history.csv").write_text(f"{hidden} {os.environ['OMP_NUM_THREADS']}")
if "STUB_TASK" in os.environ:
    os.killpg(0, signal.SIGUSR2)  # as a cluster may at a preemption
"""
"""More of the train stage: it tells in an out what it sees of the job, and signals all processes of the worker."""
WAIT = """
starts = Path(os.environ["STUB_STARTS"])
with starts.open("a") as file:
    print("start", file=file)
print("epoch 1/3", flush=True)
while not starts.with_name("go").exists():
    time.sleep(0.02)
"""
"""More of the train stage: it counts how often it is started, and waits for a sign."""


class Cluster:
    def __init__(self, folder: Path, signs: Path) -> None:
        self.folder, self.signs = folder, signs
        self.starts = signs / "starts"

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def read(self, ending: str) -> dict[str, str]:
        return {path.stem: path.read_text() for path in sorted(self.folder.glob(f"[0-9]*.{ending}"))}

    def count_starts(self) -> int:
        return len(self.starts.read_text().split()) if self.starts.exists() else 0

    def let_go(self) -> None:
        (self.signs / "go").touch()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    folder, commands = tmp_path_factory.mktemp("slurm"), tmp_path_factory.mktemp("commands")
    stub = Path(__file__).with_name("slurm_stub.py")
    for name in (*slurm_engine.COMMANDS, "sacct"):
        command = shlex.join([sys.executable, "-S", str(stub), name])
        (commands / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (commands / name).chmod(0o755)
    made = Cluster(folder, tmp_path_factory.mktemp("signs"))
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("STUB_SLURM", str(folder))
    monkeypatch.setenv("STUB_STARTS", str(made.starts))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody answers, at once
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(slurm_engine, "QUEUE_POLL_S", 0.1)
    monkeypatch.setattr(slurm_engine, "RESULT_GRACE_S", 0.5)
    yield made
    for task in made.read("state"):
        (folder / f"{task}.cancel").touch()
    made.wait_for(lambda: not made.read("state"))


def build(root: Path, *more: str) -> Repository:
    """Build a project whose study has two runs, one of each loss."""
    project = Repository(root)
    (root / "src").mkdir()
    (root / "src/train.py").write_text(TRAIN + "".join(more))
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    (root / ".gitignore").write_text("/.losslab/\n/models/\n/reports/\n/data/prepared/\n")
    (root / "slurm.yaml").write_text("time: 1:00:00\ncpus-per-task: 1\n")
    grid = {"loss": STUDY["grid"]["loss"], "net": {"unet": STUDY["grid"]["net"]["unet"]}}
    project.study("small", STUDY | {"grid": grid, "seeds": [0]})
    project.commit()
    return project


def start_losslab(root: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [LOSSLAB if "slurm" in arguments else start_server() / "losslab", *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def losslab(root: Path, *arguments: str, code: int = 0) -> str:
    process = start_losslab(root, *arguments)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code and "Traceback" not in output, output
    return output


def read_locks(project: Repository) -> dict[str, str]:
    return {name: project.git("show", f"{revision}:dvc.lock") for name, _, revision in list_experiments(project.root)}


def read_states(root: Path) -> dict[str, str]:
    rows = json.loads(losslab(root, "study", "status", "small", "--json"))["runs"]
    return {row["name"]: f"{row['state']} {row['progress'] or ''}".strip() for row in rows}


def test_array_of_jobs_leaves_the_experiments_of_the_engine_here(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = build(tmp_path / "here", LOOK), build(tmp_path / "there", LOOK)
    monkeypatch.setenv("SHELL", "/bin/sh")  # it may unblock signals
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "99")  # of the job that losslab itself runs in
    output = losslab(
        there.root, "study", "run", "small", "--jobs", "2", "--engine", "slurm", "--slurm", "partition=main"
    )
    assert "small: 2 of 2 done" in output and "set MLFLOW_TRACKING_URI" not in output
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    losslab(here.root, "study", "run", "small", "--jobs", "2")
    assert len(read_locks(there)) == 2 and read_locks(there) == read_locks(here)
    options = [json.loads(text)["options"] for text in cluster.read("submitted").values()]
    assert [each.get("array") for each in options] == [None, "0-1%2"], "data are prepared first"
    assert {(each["time"], each["partition"], each["cpus-per-task"]) for each in options} == {("60", "main", "1")}
    logs = there.root / ".losslab/study/small/logs"
    assert sorted(path.stem for path in logs.iterdir()) == ["prepare", *sorted(read_locks(there))]
    assert "a client at http" in (logs / "small-dice-unet-s0.log").read_text()
    assert not (there.root / ".losslab/study/small/slurm").exists() and not list_processes(there.root)
    assert there.git("status", "--porcelain") == ""


def test_preempted_job_is_queued_again(cluster: Cluster, tmp_path: Path) -> None:
    project = build(tmp_path, LOOK, WAIT)
    process = start_losslab(tmp_path, "study", "run", "small", "--jobs", "1", "--engine", "slurm")
    cluster.wait_for(lambda: cluster.count_starts() == 1)
    assert read_states(tmp_path) == {
        "small-cross_entropy-unet-s0": "running epoch 1/3",
        "small-dice-unet-s0": "waiting job 2_1 is pending",
    }
    os.kill(int(cluster.read("pid")["2_0"]), signal.SIGUSR2)
    cluster.wait_for(lambda: cluster.count_starts() == 2)
    cluster.let_go()
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and "2 of 2 done" in output, output
    assert len(read_locks(project)) == 2 and cluster.count_starts() == 3
    assert set(cluster.read("ended").values()) == {"COMPLETED"}


def test_jobs_that_outlive_a_killed_study_are_adopted(cluster: Cluster, tmp_path: Path) -> None:
    build(tmp_path, LOOK, WAIT)
    command = ("study", "run", "small", "--jobs", "1", "--engine", "slurm")
    process = start_losslab(tmp_path, *command)
    cluster.wait_for(lambda: cluster.count_starts() == 1)
    process.kill()
    process.communicate()
    assert [state.split()[0] for state in read_states(tmp_path).values()] == ["running", "waiting"]
    process = start_losslab(tmp_path, *command)
    cluster.wait_for(lambda: StudyState(tmp_path, "small").find_runner())
    cluster.let_go()
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0 and "2 of 2 done" in output, output
    # The data are there: preparing them again is the only new job.
    assert [json.loads(text)["options"].get("array") for text in cluster.read("submitted").values()] == [
        None,
        "0-1%1",
        None,
    ]
    assert cluster.count_starts() == 2


@pytest.mark.parametrize("is_killed", [False, True], ids=["running", "killed before"])
def test_stop_cancels_the_jobs(is_killed: bool, cluster: Cluster, tmp_path: Path) -> None:
    project = build(tmp_path, LOOK, WAIT)
    process = start_losslab(tmp_path, "study", "run", "small", "--jobs", "2", "--engine", "slurm", "--slurm", "time=9")
    cluster.wait_for(lambda: cluster.count_starts() == 2)
    if is_killed:
        process.kill()
        process.communicate()
    assert "stopped: run `losslab study run small` to resume" in losslab(tmp_path, "study", "stop", "small")
    output, _ = process.communicate(timeout=PATIENCE_S)
    if not is_killed:
        assert "run `losslab study run small --engine slurm --slurm time=9` to resume" in output
    cluster.wait_for(lambda: not cluster.read("state"))
    assert [state for task, state in cluster.read("ended").items() if task != "1"] == ["CANCELLED"] * 2
    cluster.wait_for(lambda: not list_processes(tmp_path))
    assert read_locks(project) == {}
    assert "small was not running" in losslab(tmp_path, "study", "stop", "small")


def test_job_that_slurm_ends_has_failed_and_its_message_is_in_the_log(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = build(tmp_path, LOOK, WAIT)
    state, run = StudyState(tmp_path, "small"), plan_runs(project.read())[0]
    monkeypatch.chdir(tmp_path)
    engine = SlurmEngine(state, find_head(tmp_path), tmp_path / ".dvc/cache", [], 1)
    engine.start(run)
    assert engine.collect_ended() == [] and engine.list_working() == [run] and not engine.has_free_slot()
    cluster.wait_for(lambda: cluster.count_starts() == 1)
    os.kill(int(cluster.read("pid")["1"]), signal.SIGKILL)
    assert wait_for_end(engine).reason == "Slurm ended job 1: OUT_OF_MEMORY"
    text = state.find_log(run.name).read_text()
    assert "epoch 1/3" in text and "submitit INFO" in text
    engine.close()
    assert not (state.folder / "slurm").exists()


def refuse(project: Repository, *options: str) -> str:
    with pytest.raises(InputError) as error:
        SlurmEngine(StudyState(project.root, "small"), find_head(project.root), project.root / ".dvc/cache", options, 1)
    assert "\n" not in str(error.value) and not (project.root / ".losslab").exists()
    return str(error.value)


def test_missing_programs_are_refused(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda command: None)
    assert refuse(repository, "foo").startswith("--slurm foo: must be OPTION=VALUE")  # the options come first
    assert refuse(repository).startswith("--engine slurm needs a time limit for a run")
    assert (
        refuse(repository, "time=9")
        == "--engine slurm: sbatch is not on the PATH; run this on a login node of the cluster"
    )
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert (
        refuse(repository, "time=9") == "--engine slurm: submitit is not installed; run uv pip install 'losslab[slurm]'"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--engine slurm needs a time limit for a run: --slurm time=4:00:00, or time in slurm.yaml"),
        (["time=soon"], "time is 'soon'; it must be a time limit of Slurm: 90 (minutes), 4:00:00 or 1-12:00:00"),
        (["time=0"], "time is '0'; it must be a time limit"),
        (["time=9", "cpus-per-task=none"], "cpus-per-task is 'none'; it must be a number from 1"),
        (["partition"], "--slurm partition: must be OPTION=VALUE of sbatch, such as partition=gpu or exclusive=true"),
        (["p=gpu"], "--slurm p=gpu: 'p' is not a long option of sbatch, such as partition"),
        (["array=0-9"], "--slurm array=0-9: losslab sets array itself, to --jobs jobs at once; remove it"),
        (
            ["comment=a\nb"],
            "--slurm comment=a\nb: comment is 'a\\nb'; it must be a plain value".replace("a\nb:", "a b:"),
        ),
    ],
)
def test_wrong_options_are_refused(options: list[str], expected: str, cluster: Cluster, repository: Repository) -> None:
    assert refuse(repository, *options).startswith(expected)


def test_options_come_from_the_file_and_then_the_command(tmp_path: Path) -> None:
    path = tmp_path / "slurm.yaml"
    path.write_text("time: 1-00:00:00\npartition: gpu\nmem_per_cpu: 4G\nexclusive: true\nnice: 5\n")
    expected = {"time": "9", "partition": "gpu", "mem-per-cpu": "4G", "exclusive": True, "nice": "5", "requeue": True}
    assert read_options(tmp_path, ["time=9", "requeue=true"]) == expected
    for text, fault in [
        ("- gpu", "slurm.yaml: must hold options of sbatch, such as partition: gpu"),
        ("mem: [1]", "slurm.yaml: mem is [1]; it must be a plain value, or true for an option without one"),
        ("mem:", "slurm.yaml: mem is null; it must be a plain value"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError) as error:
            read_options(tmp_path, [])
        assert str(error.value).startswith(fault)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("partition=nope", "ERROR: sbatch: Batch job submission failed: Invalid partition name specified"),
        ("partion=main", "ERROR: sbatch: sbatch: unrecognized option '--partion'"),
    ],
)
def test_what_sbatch_refuses_ends_the_study_before_it_begins(
    option: str, expected: str, cluster: Cluster, repository: Repository
) -> None:
    command = ("study", "run", "small", "--engine", "slurm", "--slurm", "time=9", "--slurm", option)
    assert expected in losslab(repository.root, *command, code=1).splitlines()
    assert not cluster.read("submitted") and not (repository.root / ".losslab/study/small/slurm").exists()


@pytest.mark.parametrize(
    ("device", "options", "gpus"), [("cpu", [], None), ("cuda", [], "2"), ("cuda", ["gpus-per-task=1"], None)]
)
def test_run_on_cuda_asks_for_its_devices(
    device: str, options: list[str], gpus: str | None, cluster: Cluster, repository: Repository
) -> None:
    (cluster.folder / "full").touch()
    repository.study("small", STUDY | {"params": {"train": {"device": device, "devices": 2, "batch_size": 4}}})
    engine = SlurmEngine(StudyState(repository.root, "small"), "0" * 40, Path("cache"), ["time=9", *options], 1)
    for run in plan_runs(repository.read())[:2]:
        engine.start(run)
    assert engine.collect_ended() == []
    engine.close()
    (submitted,) = cluster.read("submitted").values()
    options_seen = json.loads(submitted)["options"]
    assert options_seen.get("gpus-per-node") == gpus and options_seen["array"] == "0-1%1"


def build_task(root: Path, experiment: str | None = None, **params: Any) -> SlurmTask:
    job = WorkerJob(
        home=str(root),
        source=str(root),
        prefix=".",
        slot=str(root / ".losslab/study/small/slurm/1"),
        cache=str(root / ".dvc/cache"),
        baseline=find_head(root),
        params=params,
        experiment=experiment,
        parent=0,
    )
    (root / ".losslab/study/small/slurm").mkdir(parents=True)
    return SlurmTask(job, str(root / "log"), "1")


@pytest.mark.parametrize(("codes", "expected"), [([0], 0), ([-9, 75, 0], 0), ([-9] * MAX_ATTEMPTS, -9), ([1], 1)])
def test_killed_worker_is_started_again_in_its_job(
    codes: list[int], expected: int, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = list(codes)
    (tmp_path / "log").write_text("")
    monkeypatch.setattr(SlurmTask, "_run_worker", lambda task: left.pop(0))
    job = submitit.DebugExecutor(tmp_path / "jobs").submit(build_task(repository.root))
    assert job.result()[0] == expected and not left


def test_submitit_does_a_task_on_this_machine(cluster: Cluster, tmp_path: Path) -> None:
    project = build(tmp_path, LOOK)
    run = plan_runs(project.read())[0]
    executor = submitit.LocalExecutor(tmp_path / ".losslab/jobs")
    executor.update_parameters(timeout_min=60)
    job = executor.submit(build_task(tmp_path, run.name, **run.params))
    assert job.result()[0] == 0 and list(read_locks(project)) == [run.name]
