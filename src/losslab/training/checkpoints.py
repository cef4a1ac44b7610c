"""The checkpoint of an unfinished run: one file, replaced whole after each epoch, trusted only when it is of this very run."""

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
from losslab.errors import InputError
from losslab.io.files import atomic_write
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
"""Those whose version may change the bits of a run."""
SUFFIXES = {".ckpt", ".partial", ".set-aside", ".finished"}
Say = Callable[[str], None]


def compute_run_key(description: Mapping[str, Any]) -> str:
    """What a run's weights depend on, as one hash: its params and data (from model.json), losslab's code, the versions of the
    packages that compute, and the kind of device.

    The number of workers that load data is left out: it changes nothing but speed.
    """
    run = description["run"]
    train = {key: value for key, value in run["train"].items() if key != "workers"}
    known = {
        **description,
        "run": {**run, "train": train},
        "code": _code(),
        "packages": [version(name) for name in PACKAGES],
        "device": pick_model_device(description).type,
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


class Checkpoint:
    """The checkpoint file of the run with this key.

    A run that is trained to its end leaves it as `KEY.MD5.….finished`, by the md5s of what was written: until DVC has taken
    that in, a kill would cost the whole training.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.path = folder / f"{key}.ckpt"
        self.found: Path | None = None
        """The file that an interrupted run left and that can be trusted."""
        self.rows: list[dict[str, float]] = []
        """The finished epochs, as in history.csv."""
        self.weights: dict[str, torch.Tensor] | None = None
        """Those of the best epoch."""

    def load(self, say: Say) -> None:
        """Read what an interrupted run left; what cannot be trusted is renamed, with a line, and the run begins anew."""
        path = next((path for path in [self.path, *self.folder.glob(f"{self.key}.*.finished")] if path.exists()), None)
        if path is None:
            return
        try:
            with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums that it writes
                broken = archive.testzip()
            if broken is not None:
                raise zipfile.BadZipFile(broken)
            content = torch.load(path, map_location="cpu", weights_only=True)
            reason = None if content[KEY] == self.key else "it is of other params, data or code"
            self.rows, self.weights = content[RECORD]["rows"], content[RECORD]["weights"]
        except FileNotFoundError:  # another run has just been told that it is not needed any more
            return
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError):
            reason = "it is not whole"
        if reason is not None:
            self.rows, self.weights = [], None
            aside = self.path.with_suffix(".set-aside")
            with suppress(FileNotFoundError):  # another process of this run was faster
                path.replace(aside)
            say(f"the checkpoint {path} is not used: {reason}; it is now {aside.name}, and training begins anew")
            return
        self.found = path

    def finish(self, md5s: Sequence[str]) -> None:
        """Keep it only for as long as DVC has not taken in the files of these md5s."""
        with suppress(FileNotFoundError):
            (self.found or self.path).replace(self.folder / ".".join([self.key, *md5s, "finished"]))

    def remove(self) -> None:
        for path in [self.path, *self.folder.glob(f"{self.key}.*.finished")]:
            path.unlink(missing_ok=True)


@contextmanager
def open_checkpoint(description: Mapping[str, Any], folder: Path, say: Say, main: bool = True) -> Iterator[Checkpoint]:
    """The checkpoint of this run, for its body alone to use; one that a killed run left is loaded. It stays in the folder.

    Args:
        main: whether this is the process that writes; the others of the same run only read.

    Raises:
        InputError: the same run is being trained, and this one, of several processes, cannot wait for it.
    """
    checkpoint = Checkpoint(folder, compute_run_key(description))
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
        other = "another process trains this very run (same params, data and code)"
        if count_launched() is not None:  # the processes beside this one have begun already
            raise InputError(f"{other}: start again when it has ended") from None
        say(f"{other}: waiting for it")
        lock.acquire()
    try:
        _tell_of_others(folder, checkpoint.key, say)
        checkpoint.load(say)
        yield checkpoint
    finally:
        _give_back(lock)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, to disk, and renames it: the place holds the old one or the new one, never a part."""

    def __init__(self, key: str) -> None:
        self.key = key

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        try:
            with atomic_write(path) as partial, partial.open("wb") as file:
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


def _tell_of_others(folder: Path, own: str, say: Say) -> None:
    """Say how many checkpoints of other runs lie there that nobody trains now: they take room."""
    left = []
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES):
        key = path.name.lstrip(".").partition(".")[0]
        lock = FileLock(folder / f"{key}.lock")
        with suppress(Timeout, FileNotFoundError):
            if key != own:
                lock.acquire(timeout=0)
                try:
                    left.append(path.stat())
                finally:
                    _give_back(lock)
    if left:
        size = sum(stat.st_size for stat in left) / 2**20
        days = (time.time() - min(stat.st_mtime for stat in left)) / 86400
        say(
            f"{len(left)} checkpoint{'s' if len(left) > 1 else ''} of other params, data or code, or broken, in {folder} "
            f"({size:.0f} MB, up to {days:.0f} days old): kept for when that run is started again, else remove them"
        )


def _give_back(lock: FileLock) -> None:
    """Release a lock and leave no file of it: whoever waits for it sees that it is gone, and makes another."""
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def _code() -> str:
    """A hash of losslab's source."""
    digest = hashlib.sha256()
    root = Path(losslab.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
