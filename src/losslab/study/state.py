"""The state of a study outside Git and DVC: who runs it, what failed and why, logs. It lies in .losslab/study/<key>/."""

import errno
import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from losslab.errors import InputError
from losslab.formats import format_line
from losslab.io.files import JsonObject, make_folder, read_json, write_json
from losslab.params import RECORDING
from losslab.study.plan import STATES, Study, StudyRun, read_study
from losslab.study.slurm_queue import cancel_jobs
from losslab.study.spec import STUDIES, list_studies
from losslab.study.worker import end_leftovers

STOP_TIMEOUT_S = 20.0
"""Seconds until a process that was told to end must be gone."""
ANNOUNCE_TIMEOUT_S = 2.0
"""Seconds a process has to say that it runs a study, once it has the lock."""


@dataclass(frozen=True)
class StudyState:
    """The folder of a study's state, and the lock of the one process that runs the study."""

    root: Path
    key: str

    @property
    def folder(self) -> Path:
        return self.root / STATES / self.key

    def find_log(self, run: str) -> Path:
        return self.folder / "logs" / f"{run}.log"

    def read_failures(self, runs: Iterable[StudyRun]) -> dict[StudyRun, JsonObject]:
        """Return `reason` and `log` of those runs that failed with exactly these params and have not been run since."""
        paths = {run: self.folder / "failed" / f"{run.name}.json" for run in runs}
        failures = {run: read_json(path) for run, path in paths.items() if path.exists()}
        return {run: about for run, about in failures.items() if about["params"] == compute_digest(run)}

    def record_failure(self, run: StudyRun, reason: str) -> None:
        log = str(self.find_log(run.name).relative_to(self.root))
        content = {"reason": format_line(reason), "log": log, "params": compute_digest(run)}
        write_json(self.folder / "failed" / f"{run.name}.json", content)

    def forget_failures(self) -> None:
        shutil.rmtree(self.folder / "failed", ignore_errors=True)

    @contextmanager
    def claim(self, study: Study, jobs: int, options: str = "") -> Iterator[Callable[[list[str]], None]]:
        """Be the one process that runs this study, else InputError; yield a function that announces current runs.

        `options` are those of `losslab study run`, but for the name and jobs, with which it goes on after a stop.
        """
        make_folder(self.folder)
        lock, path = self._build_lock(), self.folder / "running.json"
        try:
            lock.acquire(timeout=1)  # `find_runner` holds it for a moment
        except Timeout:
            pid = self._read_announced().get("pid", "?")
            raise InputError(
                f"{self.key} is already running (process {pid}): see `losslab study status`, or end it with `losslab study stop`"
            ) from None
        try:
            path.unlink(missing_ok=True)  # a killed process left it
            about = {"pid": os.getpid(), "started": _read_start_time(os.getpid()), "jobs": jobs}
            write_json(path, about)
            origin = {"name": study.name, "sets": list(study.sets), "alias": study.alias, "options": options}
            write_json(self.folder / "study.json", origin)
            yield lambda names: write_json(path, {**about, "runs": names})
        finally:
            path.unlink(missing_ok=True)
            lock.release()

    def find_runner(self) -> JsonObject | None:
        """Return what the process announced that runs this study; None if none does, as after a kill."""
        if not self.folder.is_dir():
            return None
        try:
            with self._build_lock().acquire(timeout=0):
                return None
        except Timeout:
            return self._read_announced()
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return None  # nothing runs where nothing can be written

    def stop(self) -> bool:
        """End the process that runs this study, its workers and jobs; return whether there were any, or raise InputError."""
        runner = self._wait_for_runner()
        if runner is None:
            end_leftovers(self.folder)
            return cancel_jobs(self.folder)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                if _is_same_process(runner):
                    os.kill(int(runner["pid"]), number)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while time.monotonic() < deadline:
                if self.find_runner() is None:
                    end_leftovers(self.folder)
                    cancel_jobs(self.folder)
                    return True
                time.sleep(0.2)
        raise InputError(
            f"process {runner['pid']} is still running after {2 * STOP_TIMEOUT_S:.0f} s; end it with kill -9"
        )

    def read_origin(self) -> tuple[str, tuple[str, ...], str | None]:
        """Return the study's name, and the sets and alias that it was run with."""
        try:
            about = read_json(self.folder / "study.json")
            return about["name"], tuple(about["sets"]), about["alias"]
        except FileNotFoundError:
            return self.key, (), None

    def read_options(self) -> str:
        """Return the options that the study was last run with, but for `--set` and `--as`."""
        try:
            return str(read_json(self.folder / "study.json").get("options", ""))
        except FileNotFoundError:
            return ""

    def clear_slots(self) -> None:
        for slot in self.folder.glob("slot-*"):
            if slot.is_dir():
                shutil.rmtree(slot, ignore_errors=True)

    def _wait_for_runner(self) -> JsonObject | None:
        """Return who runs this study, after a moment if it has just begun; what a killed process left does not count."""
        deadline = time.monotonic() + ANNOUNCE_TIMEOUT_S
        while (runner := self.find_runner()) is not None and time.monotonic() < deadline:
            if _is_same_process(runner):
                return runner
            time.sleep(0.1)
        return None

    def _read_announced(self) -> JsonObject:
        try:
            return read_json(self.folder / "running.json")
        except (FileNotFoundError, InputError):
            return {}

    def _build_lock(self) -> FileLock:
        return FileLock(self.folder / "lock")


def _is_same_process(runner: JsonObject) -> bool:
    """Return whether the pid still belongs to the process that announced it."""
    return "pid" in runner and runner.get("started") == _read_start_time(int(runner["pid"]))


def _read_start_time(pid: int) -> str | None:
    """Return when a process was started, as Linux counts it; None if that cannot be known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def list_states(root: Path) -> list[StudyState]:
    """Return the states of all studies that were ever run here."""
    return [StudyState(root, path.name) for path in sorted((root / STATES).glob("*")) if path.is_dir()]


def compute_digest(run: StudyRun) -> str:
    params = {key: value for key, value in run.params.items() if key != RECORDING}
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:12]


def find_study(name: str, root: Path, sets: tuple[str, ...] = (), alias: str | None = None) -> Study:
    """Read a study by its name, as `read_study` does, or by an alias, with the sets that it was run with."""
    if name not in list_studies(root / STUDIES) and alias is None and not sets:
        origin = StudyState(root, name).read_origin()
        if origin[2] == name:
            return read_study(origin[0], root, *origin[1:])
    return read_study(name, root, sets, alias)
