"""A process that does one job of `losslab study run` on this machine, and ends when its parent does.

All that it starts is in its process group, and holds the lock of its slot: who comes after a kill can see whether
something is left there, and end it.
"""

import fcntl
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.experiments import clone
from losslab.io.files import read_json, write_json, write_text
from losslab.io.hashing import compute_file_md5

PATIENCE = 30.0
"""Seconds that what is left in a slot has to end, once it is killed."""


@dataclass(frozen=True)
class WorkerJob:
    home: str
    """What stages take for the main repository: checkpoints and downloads lie there."""
    source: str
    """What is cloned: that repository, or a Git bundle of it."""
    slot: str
    cache: str
    baseline: str
    params: dict[str, Any]
    experiment: str | None
    """None: prepare the data, no more."""
    parent: int
    result: str | None = None
    """Where a bundle with the experiment is wanted, and outs in the DVC remote; None: it goes to the source."""

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))


def run_job(job: WorkerJob) -> int:
    slot = Path(job.slot)
    lock = _take(slot)
    write_text(slot.with_suffix(".pid"), str(os.getpid()))  # the leader of its process group
    threading.Thread(target=_die_with, args=(job.parent,), daemon=True).start()
    clone.make_clone(slot, Path(job.source), Path(job.home), job.baseline, Path(job.cache))
    clone.write_params(slot / "params.yaml", job.params)
    environment = {"DVC_ROOT": job.home, "DVC_EXP_BASELINE_REV": job.baseline}
    if job.experiment is None:
        return clone.run_dvc_repro(slot, ["prepare"], environment, [lock])
    code = clone.run_dvc_repro(slot, [], environment | {"DVC_EXP_NAME": job.experiment}, [lock])
    if code == 0:
        clone.commit_run(slot, f"losslab study: {job.experiment}")
        if job.result is None:
            clone.publish_run(slot, Path(job.source), job.experiment, job.baseline)
        else:
            clone.push_outs(slot)
            clone.write_bundle(slot, Path(job.result), job.baseline)
        _record(job)
    return code


def end_leftovers(folder: Path) -> None:
    """End what killed workers left in the slots of a study. Raises InputError when it does not end."""
    for lock in sorted(folder.glob("slot-*.lock")):
        end_leftover(lock.with_suffix(""))


def end_leftover(slot: Path) -> None:
    os.close(_take(slot))


def _take(slot: Path) -> int:
    """The lock of a slot, when whatever holds it has been ended."""
    path = slot.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            with suppress(OSError, ValueError):
                os.killpg(int(slot.with_suffix(".pid").read_text()), signal.SIGKILL)
            if time.monotonic() > deadline:
                raise InputError(f"{slot}: what a killed run left there does not end") from None
            time.sleep(0.1)
    return descriptor


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.3)
    os.killpg(0, signal.SIGKILL)


def _record(job: WorkerJob) -> None:
    """Tell MLflow, where all came from DVC's cache and no stage could."""
    from losslab import tracking

    slot, home, dataset = Path(job.slot), Path(job.home), job.params["dataset"]
    model, report = (compute_file_md5(slot / name) for name in ("models/model.safetensors", "reports/report.html"))
    try:
        if not tracking.is_recorded(dataset, model, report, job.experiment, home):
            tracking.rebuild_run(slot, model, job.experiment, job.baseline, home)
    except InputError as error:
        print(f"WARNING: {error}; losslab sync adds it later", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        sys.exit(run_job(WorkerJob(**read_json(Path(sys.argv[1])))))
    except InputError as error:
        print(f"ERROR: {' '.join(str(error).split())}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(clone.KILLED_EXIT_CODE)
