"""The checkpoint of an unfinished run: one file, replaced whole after each epoch, trusted only when it is of this very run."""

import hashlib
import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

import losslab
from losslab.errors import InputError
from losslab.files import whole

KEY, RECORD = "losslab_key", "losslab_record"
Say = Callable[[str], None]


def run_key(description: Mapping[str, Any]) -> str:
    """What a run's weights depend on, as one hash: its params and data (from model.json), losslab's code and torch's version.

    The number of workers that load data is left out: it changes nothing but speed.
    """
    run = description["run"]
    train = {key: value for key, value in run["train"].items() if key != "workers"}
    known = {**description, "run": {**run, "train": train}, "code": _code(), "torch": torch.__version__}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoint:
    """The checkpoint file of the run with this key. `content` is what was found there and can be trusted, or None."""

    def __init__(self, folder: Path, key: str) -> None:
        self.path, self.key = folder / f"{key}.ckpt", key
        self.content: dict[str, Any] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """The finished epochs: `rows` of history.csv, and `weights` of the best."""
        record: dict[str, Any] = {"rows": [], "weights": None}
        return record if self.content is None else self.content[RECORD]

    def load(self, say: Say) -> None:
        """Read what an interrupted run left; what cannot be trusted is renamed, with a line, and the run begins anew."""
        if not self.path.exists():
            return
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch does not look at the checksums that it writes
                broken = archive.testzip()
            if broken is not None:
                raise zipfile.BadZipFile(broken)
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            reason = None if content[KEY] == self.key else "it is of other params, data or code"
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError):
            content, reason = None, "it is not whole"
        if reason is not None:
            aside = self.path.with_suffix(".set-aside")
            with suppress(FileNotFoundError):  # another process of this run was faster
                self.path.replace(aside)
            say(f"the checkpoint {self.path} is not used: {reason}; it is now {aside.name}, and training begins anew")
            return
        self.content = content

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


@contextmanager
def checkpoint_of(description: Mapping[str, Any], folder: Path, say: Say, main: bool = True) -> Iterator[Checkpoint]:
    """The checkpoint of this run, for its body alone to use; one that a killed run left is loaded. It stays in the folder.

    Args:
        main: whether this is the process that writes; the others of the same run only read.
    """
    checkpoint = Checkpoint(folder, run_key(description))
    if not main:
        checkpoint.load(say)
        yield checkpoint
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{checkpoint.key}.lock")
    try:
        # A killed DVC leaves its stage behind for a second; longer is a run of the same params beside this one.
        lock.acquire(timeout=3)
    except Timeout:
        say("another process trains this very run (same params, data and code): waiting for it")
        lock.acquire()
    try:
        _tell_of_others(folder, checkpoint, say)
        checkpoint.load(say)
        yield checkpoint
    finally:
        if not checkpoint.path.exists():  # whoever waits for the lock sees that it is gone, and makes another
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, to disk, and renames it: the place holds the old one or the new one, never a part."""

    def __init__(self, key: str) -> None:
        self.key = key

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        try:
            with whole(path) as partial, partial.open("wb") as file:
                torch.save({KEY: self.key, **checkpoint}, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch makes a RuntimeError of a write that fails
            free = shutil.disk_usage(path.parent).free
            reason = str(error).splitlines()[0]
            raise InputError(
                f"the checkpoint {path} cannot be written ({reason}; {free / 2**20:.0f} MB are free): make room and start "
                "again; what was saved before is kept, and training goes on from there"
            ) from error


def _tell_of_others(folder: Path, checkpoint: Checkpoint, say: Say) -> None:
    """Name the checkpoints of other runs that nobody trains now: they are kept for these, and take room."""
    left = []
    for path in sorted(folder.glob("*.ckpt")):
        lock = FileLock(folder / f"{path.stem}.lock")
        with suppress(Timeout, FileNotFoundError):
            if path != checkpoint.path:
                with lock.acquire(timeout=0):
                    left.append(path.stat())
    if left:
        size = sum(stat.st_size for stat in left) / 2**20
        days = (time.time() - min(stat.st_mtime for stat in left)) / 86400
        say(
            f"{len(left)} checkpoint{'s' if len(left) > 1 else ''} of other params, data or code in {folder} "
            f"({size:.0f} MB, up to {days:.0f} days old): kept for those runs, not used for this one"
        )


def _code() -> str:
    """A hash of losslab's source."""
    digest = hashlib.sha256()
    root = Path(losslab.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
