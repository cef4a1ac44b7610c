"""What of a study is not in Git or DVC: who runs it, what failed and why, logs. All in .losslab/study/<key>/."""

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
from losslab.io.files import JsonObject, read_json, write_json
from losslab.study.plan import Study, StudyRun, read_study
from losslab.study.spec import STUDIES, list_studies
from losslab.study.worker import end_leftovers

PLACE = Path(".losslab/study")
PATIENCE = 20.0
"""Seconds in which processes that are told to end must be gone."""
BEGINNING = 2.0
"""Seconds that a process has to say that it runs a study, once it has the lock."""


@dataclass(frozen=True)
class StudyState:
    root: Path
    key: str

    @property
    def folder(self) -> Path:
        return self.root / PLACE / self.key

    def log(self, run: str) -> Path:
        return self.folder / "logs" / f"{run}.log"

    def failures(self, runs: Iterable[StudyRun]) -> dict[StudyRun, JsonObject]:
        """Of these runs those that failed, on these very params, and have not been run since: `reason` and `log`."""
        found = {run: self.folder / "failed" / f"{run.name}.json" for run in runs}
        told = {run: read_json(path) for run, path in found.items() if path.exists()}
        return {run: about for run, about in told.items() if about["params"] == compute_digest(run)}

    def failed(self, run: StudyRun, reason: str) -> None:
        content = {
            "reason": reason,
            "log": str(self.log(run.name).relative_to(self.root)),
            "params": compute_digest(run),
        }
        write_json(self.folder / "failed" / f"{run.name}.json", content)

    def forget_failures(self) -> None:
        shutil.rmtree(self.folder / "failed", ignore_errors=True)

    @contextmanager
    def running(self, study: Study, jobs: int) -> Iterator[Callable[[list[str]], None]]:
        """Be the one process that runs this study; what is yielded takes the names of the runs that go on.

        Raises:
            InputError: another process runs it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock, path = self._lock(), self.folder / "running.json"
        try:
            lock.acquire(timeout=1)  # who only looks holds it for a moment
        except Timeout:
            raise InputError(
                f"{self.key} is being run by process {self._about().get('pid', '?')}: losslab study status, or stop"
            ) from None
        try:
            path.unlink(missing_ok=True)  # of one that was killed
            about = {"pid": os.getpid(), "started": _started(os.getpid()), "jobs": jobs}
            write_json(path, about)
            write_json(self.folder / "study.json", {"name": study.name, "sets": list(study.sets), "alias": study.alias})
            yield lambda names: write_json(path, {**about, "runs": names})
        finally:
            path.unlink(missing_ok=True)
            lock.release()

    def runner(self) -> JsonObject | None:
        """What the process said that runs this study now; None where none does, also after a kill."""
        if not self.folder.is_dir():
            return None
        try:
            with self._lock().acquire(timeout=0):
                return None
        except Timeout:
            return self._about()

    def stop(self) -> bool:
        """End the process that runs this study, and its workers. Returns whether there was one.

        Raises:
            InputError: it does not end.
        """
        runner = self._known_runner()
        if runner is None:
            end_leftovers(self.folder)
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                if _is_meant(runner):
                    os.kill(int(runner["pid"]), number)
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if self.runner() is None:
                    end_leftovers(self.folder)
                    return True
                time.sleep(0.2)
        raise InputError(f"process {runner['pid']} does not end")

    def origin(self) -> tuple[str, tuple[str, ...], str | None]:
        """The study's name, and the sets and alias that it was run with."""
        try:
            about = read_json(self.folder / "study.json")
            return about["name"], tuple(about["sets"]), about["alias"]
        except FileNotFoundError:
            return self.key, (), None

    def clear_slots(self) -> None:
        for slot in self.folder.glob("slot-*"):
            if slot.is_dir():
                shutil.rmtree(slot, ignore_errors=True)

    def _known_runner(self) -> JsonObject | None:
        """Who runs this study; waits a moment for one that has just begun to say so, over what a killed one left."""
        deadline = time.monotonic() + BEGINNING
        while (runner := self.runner()) is not None and time.monotonic() < deadline:
            if _is_meant(runner):
                return runner
            time.sleep(0.1)
        return None

    def _about(self) -> JsonObject:
        try:
            return read_json(self.folder / "running.json")
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock")


def _is_meant(runner: JsonObject) -> bool:
    """Whether its pid is still that of the process that wrote it."""
    return "pid" in runner and runner.get("started") == _started(int(runner["pid"]))


def _started(pid: int) -> str | None:
    """When a process was started, as Linux counts it; None where that cannot be known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def list_states(root: Path) -> list[StudyState]:
    """Of all studies that were ever run here."""
    return [StudyState(root, path.name) for path in sorted((root / PLACE).glob("*")) if path.is_dir()]


def compute_digest(run: StudyRun) -> str:
    return hashlib.sha256(json.dumps(run.params, sort_keys=True).encode()).hexdigest()[:12]


def find_study(name: str, root: Path, sets: tuple[str, ...] = (), alias: str | None = None) -> Study:
    """Read a study, see `read_study`; of an alias, with the sets that it was run with.

    Raises:
        InputError: one line; there is none of this name, or its card cannot be.
    """
    if name not in list_studies(root / STUDIES) and alias is None and not sets:
        origin = StudyState(root, name).origin()
        if origin[2] == name:
            return read_study(origin[0], root, *origin[1:])
    return read_study(name, root, sets, alias)
