"""The checkpoint of an unfinished run: one file, replaced after each epoch, trusted only if this very run wrote it."""

import hashlib
import json
import os
import pickle
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

import losslab
from losslab.errors import InputError, find_killed_worker
from losslab.io.files import atomic_write, make_folder
from losslab.plugins.usage import read_usage
from losslab.runtime.devices import pick_model_device
from losslab.training.launch import count_launched

KEY, RECORD = "losslab_key", "losslab_record"
PACKAGES = (
    "torch",
    "lightning",
    "numpy",
    "albumentations",
    "opencv-python-headless",
    "segmentation-models-pytorch",
    "timm",
    "gudhi",
)
"""Packages whose version may change the bits of a run."""
SUFFIXES = {".ckpt", ".partial", ".set-aside", ".finished"}
Warn = Callable[[str], None]


def compute_run_key(description: Mapping[str, Any]) -> str:
    """Hash all that a run's weights depend on: model.json (workers change only speed), code, packages and device."""
    run = description["run"]
    train = {key: value for key, value in run["train"].items() if key != "workers"}
    known = {
        **description,
        "run": {**run, "train": train},
        "code": _compute_code_digest(),
        "plugins": read_usage("train"),
        "packages": [version(name) for name in PACKAGES],
        "device": pick_model_device(description).type,
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoint:
    """The checkpoint file of the run with this key.

    A run trained to its end renames it to `KEY.MD5.….finished`, with the md5s of the outs, until DVC has taken them in.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.path = folder / f"{key}.ckpt"
        self.resume_path: Path | None = None
        """The file of an interrupted run, when it can be trusted."""
        self.rows: list[dict[str, float]] = []
        """The rows of history.csv of the finished epochs."""
        self.weights: dict[str, torch.Tensor] | None = None
        """The weights of the best epoch."""

    def load(self, warn: Warn) -> None:
        """Read the file of an interrupted run; one that cannot be trusted is renamed, with a warning."""
        path = next((path for path in [self.path, *self.folder.glob(f"{self.key}.*.finished")] if path.exists()), None)
        if path is None:
            return
        try:
            with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums that it writes
                if archive.testzip() is not None or archive.comment != _compute_seal(archive):
                    raise zipfile.BadZipFile(path)
            content = torch.load(path, map_location="cpu", weights_only=True)
            reason = None if content[KEY] == self.key else "its params, data or code differ"
            self.rows, self.weights = content[RECORD]["rows"], content[RECORD]["weights"]
        except FileNotFoundError:  # another run has just found that it is no longer needed
            return
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError):
            reason = "it is damaged"
        if reason is not None:
            self.rows, self.weights = [], None
            aside = self.path.with_suffix(".set-aside")
            with suppress(FileNotFoundError):  # another process of this run was faster
                path.replace(aside)
            warn(f"cannot use the checkpoint {path}: {reason}; renamed to {aside.name}, training starts over")
            return
        self.resume_path = path

    def finish(self, md5s: Sequence[str]) -> None:
        """Rename the file, to be kept until DVC has taken in the outs with these md5s."""
        with suppress(FileNotFoundError):
            (self.resume_path or self.path).replace(self.folder / ".".join([self.key, *md5s, "finished"]))

    def remove(self) -> None:
        for path in [self.path, *self.folder.glob(f"{self.key}.*.finished")]:
            path.unlink(missing_ok=True)


@contextmanager
def open_checkpoint(description: dict[str, Any], folder: Path, warn: Warn, main: bool = True) -> Iterator[Checkpoint]:
    """Lock and yield the checkpoint of this run, loaded from what a killed run left. Its file stays in the folder.

    Args:
        main: whether this is the process that writes; the others of the same run only read, and take no lock.

    Raises:
        InputError: another process trains the same run, and this one, started by torchrun or srun, cannot wait for it.
    """
    checkpoint = Checkpoint(folder, compute_run_key(description))
    if not main:
        checkpoint.load(warn)
        yield checkpoint
        return
    make_folder(folder)
    lock = FileLock(folder / f"{checkpoint.key}.lock")
    try:
        # A killed DVC leaves its stage behind for a second; longer is a run of the same params beside this one.
        lock.acquire(timeout=3)
    except Timeout:
        other = "another process is training this run (same params, data and code)"
        if count_launched() is not None:  # the processes beside this one have begun already
            raise InputError(f"{other}; start again when it has ended") from None
        warn(f"{other}; waiting for it")
        lock.acquire()
    try:
        _report_leftovers(folder, checkpoint.key, warn)
        checkpoint.load(warn)
        yield checkpoint
    finally:
        _release(lock)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a file beside its path and renames it: the path holds the old one or the new one, never a part."""

    def __init__(self, key: str) -> None:
        self.key = key

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        try:
            with atomic_write(path) as partial, partial.open("wb") as file:
                torch.save({KEY: self.key, **checkpoint}, file)
                file.flush()
                with zipfile.ZipFile(partial, "a") as archive:
                    archive.comment = _compute_seal(archive)
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch makes a RuntimeError of a write that fails
            if find_killed_worker(error):
                raise
            free = shutil.disk_usage(path.parent).free
            reason = error.strerror if isinstance(error, OSError) else "not all of it was written"
            raise InputError(
                f"cannot write the checkpoint {path} ({reason}; {free / 2**20:.0f} MB are free): free some space and run it again; "
                "training resumes from the last checkpoint"
            ) from error


def _compute_seal(archive: zipfile.ZipFile) -> bytes:
    """Hash the checksums of all parts of a checkpoint: a file without this was not written here, whatever it holds."""
    parts = sorted((part.filename, part.CRC, part.file_size) for part in archive.infolist())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest().encode()


def _report_leftovers(folder: Path, own: str, warn: Warn) -> None:
    """Warn of checkpoints of other runs that nobody trains now: they take room."""
    stats = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES):
        key = path.name.lstrip(".").partition(".")[0]
        lock = FileLock(folder / f"{key}.lock")
        with suppress(Timeout, FileNotFoundError):
            if key != own:
                lock.acquire(timeout=0)
                try:
                    stats.append(path.stat())
                finally:
                    _release(lock)
    if stats:
        size = sum(stat.st_size for stat in stats) / 2**20
        days = (time.time() - min(stat.st_mtime for stat in stats)) / 86400
        warn(
            f"{len(stats)} checkpoint{'s' if len(stats) > 1 else ''} in {folder} of other params, data or code, or damaged "
            f"({size:.0f} MB, up to {days:.0f} days old): delete them unless you want to resume those runs"
        )


def _release(lock: FileLock) -> None:
    """Release a lock and remove its file: whoever waits for it sees that it is gone, and makes another."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _compute_code_digest() -> str:
    digest = hashlib.sha256()
    root = Path(losslab.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
