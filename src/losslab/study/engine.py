"""What runs cells: as many at once as asked for, on this machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from losslab.experiments import clone
from losslab.study.plan import StudyRun
from losslab.study.state import StudyState
from losslab.study.worker import WorkerJob, end_leftover, end_leftovers

MAX_ATTEMPTS = 3
"""At a run whose process is killed; it goes on from its checkpoint."""
GRACE_S = 5.0
"""Seconds that a stage has to tell MLflow that it was interrupted."""


@dataclass(frozen=True)
class EndedRun:
    """How a run ended; `reason`: why it failed."""

    run: StudyRun
    seconds: float
    reason: str | None = None


def describe_failure(code: int, log: str) -> str:
    """Why a run failed, from the worker's exit code and output."""
    told = clone.find_reason(log)
    return f"killed {MAX_ATTEMPTS} times; out of memory? {told}" if clone.was_killed(code, log) else told


class Engine(Protocol):
    shares_data: bool
    """Whether what `prepare` makes is there for all runs."""

    def prepare(self, run: StudyRun) -> EndedRun:
        """Make the data of a run, and wait for it."""

    def free(self) -> bool:
        """Whether another run can be started."""

    def start(self, run: StudyRun) -> None: ...

    def ended(self) -> list[EndedRun]:
        """The runs that have ended since it was last asked; waits for a moment when there is none."""

    def working(self) -> list[StudyRun]: ...

    def close(self) -> None:
        """End all that goes on."""


@dataclass
class _Work:
    run: StudyRun
    slot: Path
    log: Path
    process: subprocess.Popen[bytes]
    began: float
    attempt: int = 1


class LocalEngine:
    """Workers on this machine, each with a clone of its own that shares the cache."""

    shares_data = True

    def __init__(self, state: StudyState, baseline: str, cache: Path, jobs: int) -> None:
        self.state, self.baseline, self.cache = state, baseline, cache
        self.slots = [state.folder.resolve() / f"slot-{number + 1}" for number in range(jobs)]
        self.works: list[_Work] = []
        end_leftovers(state.folder)
        state.clear_slots()

    def prepare(self, run: StudyRun) -> EndedRun:
        slot = next(slot for slot in self.slots if slot not in self._busy())
        work = self._work(run, slot, "prepare", None)
        self.works.append(work)
        while True:
            work.process.wait()
            if (ended := self._judged(work, None)) is not None:
                self.works.remove(work)
                return ended

    def free(self) -> bool:
        return len(self.works) < len(self.slots)

    def start(self, run: StudyRun) -> None:
        slot = next(slot for slot in self.slots if slot not in self._busy())
        self.works.append(self._work(run, slot, run.name, run.name))

    def ended(self) -> list[EndedRun]:
        found = []
        for work in [work for work in self.works if work.process.poll() is not None]:
            if (ended := self._judged(work, work.run.name)) is not None:
                self.works.remove(work)
                found.append(ended)
        if not found:
            time.sleep(0.2)
        return found

    def working(self) -> list[StudyRun]:
        return [work.run for work in self.works]

    def close(self) -> None:
        for number, patience in ((signal.SIGINT, GRACE_S), (signal.SIGKILL, GRACE_S)):
            for work in self.works:
                _signal_group(work.process.pid, number)
            deadline = time.monotonic() + patience
            while any(_group_lives(work.process) for work in self.works) and time.monotonic() < deadline:
                time.sleep(0.1)
        self.works = []
        self.state.clear_slots()

    def _busy(self) -> set[Path]:
        return {work.slot for work in self.works}

    def _work(self, run: StudyRun, slot: Path, name: str, experiment: str | None) -> _Work:
        log = self.state.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        return _Work(run, slot, log, self._process(run, slot, log, experiment), time.monotonic())

    def _process(self, run: StudyRun, slot: Path, log: Path, experiment: str | None) -> "subprocess.Popen[bytes]":
        job = WorkerJob(
            home=str(self.state.root.resolve()),
            source=str(self.state.root.resolve()),
            slot=str(slot),
            cache=str(self.cache),
            baseline=self.baseline,
            params=run.params,
            experiment=experiment,
            parent=os.getpid(),
        )
        path = slot.with_suffix(".json")
        job.write(path)
        with log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "losslab.study.worker", str(path)],
                cwd=self.state.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C is for this process, which then ends them
            )

    def _judged(self, work: _Work, experiment: str | None) -> EndedRun | None:
        """How a worker that is gone has ended; None: it was killed, and another has taken its place."""
        code, seconds = work.process.returncode, time.monotonic() - work.began
        if code == 0:
            return EndedRun(work.run, seconds)
        text = work.log.read_text(encoding="utf-8", errors="replace")
        if clone.was_killed(code, text) and work.attempt < MAX_ATTEMPTS:
            _signal_group(work.process.pid, signal.SIGKILL)
            end_leftover(work.slot)
            shutil.rmtree(work.slot, ignore_errors=True)
            work.attempt += 1
            work.process = self._process(work.run, work.slot, work.log, experiment)
            return None
        return EndedRun(work.run, seconds, describe_failure(code, text))


def _signal_group(leader: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def _group_lives(process: "subprocess.Popen[bytes]") -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True
