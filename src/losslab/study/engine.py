"""Engines run the runs of a study, several at once; this one does so on this machine."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from losslab.errors import mask_credentials
from losslab.experiments import clone
from losslab.io.files import make_folder, write_private
from losslab.io.git import find_prefix
from losslab.runtime.fork_server import ForkedCommand, ForkServer, is_supported
from losslab.runtime.processes import end_groups, signal_group
from losslab.stage import print_warning
from losslab.study.plan import StudyRun
from losslab.study.state import StudyState
from losslab.study.worker import WorkerJob, end_leftover, end_leftovers, start_worker

MAX_ATTEMPTS = 3
"""Attempts at a run whose process is killed; each goes on from its checkpoint."""


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended, well or with the reason why it failed."""

    run: StudyRun
    seconds: float
    reason: str | None = None


class Engine(Protocol):
    shares_data: bool
    """Whether the data that `prepare` makes are there for all runs."""

    def prepare(self, run: StudyRun) -> EndedRun:
        """Make the data of a run, and wait for them."""

    def has_free_slot(self) -> bool: ...

    def start(self, run: StudyRun) -> None: ...

    def collect_ended(self) -> list[EndedRun]:
        """Return the runs that have ended since the last call; wait a moment if there are none."""

    def list_working(self) -> list[StudyRun]: ...

    def close(self) -> None:
        """End all runs that are going on."""


@dataclass(kw_only=True)
class _Work:
    run: StudyRun
    experiment: str | None
    slot: Path
    log: Path
    process: subprocess.Popen[bytes] | ForkedCommand
    began: float
    attempt: int = 1


class LocalEngine:
    """Workers on this machine, each with its own clone that shares the cache.

    A run has eight processes, whose imports take longer than many a training. So they are forks: of a server for each slot, which
    is a fork of one that has imported the libraries.

    Args:
        threads: `OMP_NUM_THREADS` of all runs; None: that is left to torch.
    """

    shares_data = True

    def __init__(self, state: StudyState, baseline: str, cache: Path, jobs: int, threads: str | None = None) -> None:
        self.state, self.baseline, self.cache = state, baseline, cache
        self.prefix = find_prefix(state.root).as_posix()
        self.slots = [state.folder.resolve() / f"slot-{number + 1}" for number in range(jobs)]
        self.works: list[_Work] = []
        self.threads = threads
        end_leftovers(state.folder)
        state.clear_slots()
        self.folder = Path(tempfile.mkdtemp(prefix="losslab-"))  # a socket needs a short path
        self.libraries = ForkServer(self.folder / "libraries", os.getpid(), threads) if is_supported() else None
        self.servers: dict[Path, ForkServer] = {}
        self.started = 0

    def prepare(self, run: StudyRun) -> EndedRun:
        work = self._begin(run, "prepare", None)
        ended = None
        while ended is None:
            work.process.wait()
            ended = self._end_or_restart(work)
        return ended

    def has_free_slot(self) -> bool:
        return len(self.works) < len(self.slots)

    def start(self, run: StudyRun) -> None:
        self._begin(run, run.name, run.name)

    def collect_ended(self) -> list[EndedRun]:
        gone = [work for work in self.works if work.process.poll() is not None]
        ended = [each for each in map(self._end_or_restart, gone) if each is not None]
        if not ended:
            time.sleep(0.2)
        return ended

    def list_working(self) -> list[StudyRun]:
        return [work.run for work in self.works]

    def close(self) -> None:
        servers = [*self.servers.values(), *([self.libraries] if self.libraries is not None else [])]
        end_groups([*(work.process for work in self.works), *servers])
        self.works = []
        self.state.clear_slots()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self, run: StudyRun, name: str, experiment: str | None) -> _Work:
        busy = {work.slot for work in self.works}
        slot = next(slot for slot in self.slots if slot not in busy)
        log = self.state.find_log(name)
        make_folder(log.parent)
        process = self._start_worker(run, slot, log, experiment)
        work = _Work(run=run, experiment=experiment, slot=slot, log=log, process=process, began=time.monotonic())
        self.works.append(work)
        return work

    def _start_worker(
        self, run: StudyRun, slot: Path, log: Path, experiment: str | None
    ) -> "subprocess.Popen[bytes] | ForkedCommand":
        root, server = str(self.state.root.resolve()), self._find_server(slot)
        job = WorkerJob(
            home=root,
            source=root,
            prefix=self.prefix,
            slot=str(slot),
            cache=str(self.cache),
            baseline=self.baseline,
            params=run.params,
            experiment=experiment,
            parent=os.getpid() if server is None else server.pid,
        )
        threads = {"OMP_NUM_THREADS": self.threads} if self.threads is not None else {}
        return start_worker(
            job, slot.with_suffix(".json"), log, server, cwd=self.state.root, env={**os.environ, **threads}
        )

    def _find_server(self, slot: Path) -> ForkServer | None:
        """Find the server of a slot, or start one if there is none, or it was killed; None: there can be none."""
        if self.libraries is None:
            return None
        if slot in self.servers and self.servers[slot].poll() is not None:  # it was killed, or the one it is a fork of
            self._end_server(slot)
        if slot not in self.servers:
            self.started += 1  # a folder of its own: one that was killed may not be gone yet
            folder = self.folder / f"{slot.name}.{self.started}"
            self.servers[slot] = ForkServer(folder, os.getpid(), self.threads, self.libraries)
        if self.servers[slot].wait_until_ready():
            return self.servers[slot]
        print_warning("the libraries could not be imported once for all runs, so each run takes seconds more")
        self.libraries = None
        return None

    def _end_server(self, slot: Path) -> None:
        """Kill the server of a slot with all its forks, if there is one; the next worker gets another."""
        if (server := self.servers.pop(slot, None)) is not None:
            signal_group(server.pid, signal.SIGKILL)
            shutil.rmtree(server.folder, ignore_errors=True)

    def _end_or_restart(self, work: _Work) -> EndedRun | None:
        """Return how a worker that is gone has ended; if it was killed, start another in its place and return None."""
        code, reason = work.process.wait(), None
        text = mask_log(work.log)
        if code != 0:
            if clone.was_killed(code, text) and work.attempt < MAX_ATTEMPTS:
                signal_group(work.process.pid, signal.SIGKILL)
                self._end_server(work.slot)
                end_leftover(work.slot)
                shutil.rmtree(work.slot, ignore_errors=True)
                work.attempt += 1
                work.process = self._start_worker(work.run, work.slot, work.log, work.experiment)
                return None
            reason = describe_failure(code, text)
        self.works.remove(work)
        return EndedRun(work.run, time.monotonic() - work.began, reason)


def mask_log(log: Path) -> str:
    """Take credentials out of what the programs of a run have printed, and return it."""
    text = log.read_text(encoding="utf-8", errors="replace")
    if (masked := mask_credentials(text)) != text:
        write_private(log, masked.encode())
    return masked


def describe_failure(code: int, log: str) -> str:
    """Tell why a run failed, from the worker's exit code and output."""
    reason = clone.find_reason(log)
    return f"killed {MAX_ATTEMPTS} times; out of memory? {reason}" if clone.was_killed(code, log) else reason
