"""A process that does one job of `losslab study run` on a machine, and ends when its parent does.

Everything it starts is in its process group and holds the lock of its slot, so that the next one sees what a killed worker
left there, and can end it.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.experiments import clone
from losslab.io.files import make_folder, open_private, read_json, write_json, write_text
from losslab.io.hashing import compute_file_md5
from losslab.runtime.fork_server import ForkedCommand, ForkServer
from losslab.runtime.processes import die_with_parent, signal_group
from losslab.stage import print_lines, print_warning

LEFTOVER_TIMEOUT_S = 30.0
"""Seconds until the processes of a killed worker must be gone."""


@dataclass(frozen=True, kw_only=True)
class WorkerJob:
    """The arguments of a worker, as its JSON file has them."""

    home: str
    """The main repository of the stages: it holds checkpoints and downloads."""
    source: str
    """The repository to clone, or a Git bundle of it."""
    prefix: str
    """Path of the project below the root of its Git repository."""
    slot: str
    cache: str
    baseline: str
    params: dict[str, Any]
    experiment: str | None
    """Name of the experiment; None prepares the data and no more."""
    parent: int
    result: str | None = None
    """Path for a bundle with the experiment, whose outs go to the DVC remote; None publishes it to the source."""


def start_worker(
    job: WorkerJob, path: Path, log: Path, server: ForkServer | None = None, **options: Any
) -> "subprocess.Popen[bytes] | ForkedCommand":
    """Start a worker on a job, which `path` is for, in a session of its own: Ctrl+C reaches this process alone.

    Args:
        server: a server to fork it from, and all that it starts; None: they are processes that import what they need.
        options: `cwd` and `env`, as those of `subprocess.Popen`.
    """
    write_json(path, asdict(job))
    arguments = ["-m", "losslab.study.worker", str(path)]
    with open_private(log) as output:
        if server is not None:
            cwd, environment = Path(options.get("cwd", ".")), options.get("env") or os.environ
            return server.start(arguments, cwd, environment, output.fileno())
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )


def run_job(job: WorkerJob) -> int:
    """Do the job as a process of its own, and return the exit code of `dvc repro`."""
    slot = Path(job.slot)
    lock = _lock_slot(slot)
    write_text(slot.with_suffix(".pid"), str(os.getpgrp()))
    die_with_parent(job.parent, kill_group=True)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm's at a preemption, which the parent deals with
    return execute_job(job, lock)


def execute_job(job: WorkerJob, lock: int, **options: Any) -> int:
    """Do the job in a clone, and return the exit code of `dvc repro`.

    Args:
        lock: descriptor of the lock of the slot, which DVC inherits.
        options: more for `run_dvc_repro`.
    """
    source, home, cache = Path(job.source), Path(job.home), Path(job.cache)
    project = clone.make_clone(Path(job.slot), source, home, job.baseline, cache, Path(job.prefix))
    clone.write_params(project / "params.yaml", job.params)
    environment = {"DVC_ROOT": job.home, "DVC_EXP_BASELINE_REV": job.baseline}
    if job.experiment is None:
        return clone.run_dvc_repro(project, ["prepare"], environment, [lock], **options)
    code = clone.run_dvc_repro(project, [], environment | {"DVC_EXP_NAME": job.experiment}, [lock], **options)
    if code == 0:
        clone.commit_run(project, f"losslab: {job.experiment}")
        if job.result is None:
            clone.publish_run(project, source, job.experiment, job.baseline)
        else:
            clone.run_dvc(project, "push")
            clone.write_bundle(project, Path(job.result), job.baseline)
        _record_run(job, project)
    return code


def end_leftovers(folder: Path) -> None:
    """End what killed workers left in the slots of a study. Raises InputError if something does not end."""
    for lock in sorted(folder.glob("slot-*.lock")):
        end_leftover(lock.with_suffix(""))


def end_leftover(slot: Path) -> None:
    """End what a killed worker left in a slot. Raises InputError if it does not end."""
    os.close(_lock_slot(slot))


def _lock_slot(slot: Path) -> int:
    """Kill whatever holds the lock of a slot, and return the descriptor of the lock."""
    path = slot.with_suffix(".lock")
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    deadline = time.monotonic() + LEFTOVER_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            with suppress(OSError, ValueError):
                signal_group(int(slot.with_suffix(".pid").read_text()), signal.SIGKILL)
            if time.monotonic() > deadline:
                raise InputError(f"{slot}: processes left by a killed run are still running") from None
            time.sleep(0.1)


def _record_run(job: WorkerJob, project: Path) -> None:
    """Add the run to MLflow if no stage did: DVC may have taken all outs from its cache."""
    from losslab import tracking

    home, dataset = Path(job.home), job.params["dataset"]
    model, report = (compute_file_md5(project / name) for name in ("models/model.safetensors", "reports/report.html"))
    if tracking.is_noted(project, model, report, job.experiment):
        return
    try:
        store = tracking.open_store(home)
        if not tracking.is_recorded(dataset, model, report, job.experiment, store):
            tracking.rebuild_run(project, model, job.experiment, job.baseline, store)
    except InputError as error:
        print_warning(f"{error}; run `losslab sync` to add the run later")


if __name__ == "__main__":
    try:
        sys.exit(run_job(WorkerJob(**read_json(Path(sys.argv[1])))))
    except InputError as error:
        print_lines([f"ERROR: {' '.join(str(error).split())}"])
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(clone.KILLED_EXIT_CODE)
