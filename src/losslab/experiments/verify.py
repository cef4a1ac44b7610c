"""A run anew, from its code, params and data, in a clone that is thrown away; and what came out against what had."""

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.experiments.clone import make_clone, run_dvc_repro, write_params
from losslab.experiments.differences import describe_difference
from losslab.experiments.dvc_cache import DvcCache
from losslab.experiments.records import RunRecord
from losslab.io.git import read_file_at
from losslab.io.hashing import compute_file_md5, compute_folder_md5
from losslab.io.yaml import read_yaml
from losslab.runtime.devices import describe_hardware
from losslab.tracking.store import LOCK

PLACE = Path(".losslab/verify")
CODE = ("src/", "data/catalog/")
"""Where the deps lie that Git tracks."""
METRICS = "reports/metrics.json"
REPEATED = ["train", "evaluate", "report"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class OutDifference:
    path: str
    how: str


@dataclass(frozen=True)
class Verification:
    """What was compared, and what of it differs, in the order of the pipeline."""

    outs: int
    size: int
    """Bytes of all that was compared."""
    differing: list[str]
    told: list[OutDifference]
    """By how much: of the first that differs, and of the scores."""
    revision: str
    threads: int | None
    """With which it was run again; None: as many as torch likes."""


def verify_run(record: RunRecord, root: Path, say: Say, threads: int | None = None, keep: bool = False) -> Verification:
    """Run it again and compare. The workspace, DVC's cache, experiments and MLflow are left as they are.

    Args:
        threads: instead of the recorded number.
        keep: leave the clone.

    Raises:
        InputError: its code was not committed, its data are not to be had, or it does not run to its end.
    """
    lock, revision = record.lock, record.revision
    if lock is None or revision is None:
        raise InputError(f"{record.name}: nothing tells which commit it ran on")
    threads = threads or record.threads
    with _own_folder(root, keep, say) as (folder, held):
        clone, cache = folder / "clone", DvcCache(root)
        say(f"verify {record.name}: code of commit {revision[:10]}, {_told_threads(record, threads)}")
        # Nothing of the clone is to stay elsewhere: neither outs in the cache, nor DVC's notes on them.
        make_clone(clone, root, root, revision, folder / "cache", core__site_cache_dir=str(folder / "site"))
        if (changed := find_changed_code(lock, clone)) is not None:
            raise InputError(
                f"{record.name}: {changed} was not committed as it was when this ran ({revision[:10]} has another), so it cannot "
                "be run again"
            )
        write_params(clone / "params.yaml", record.params)
        stages = _place_data(record, lock, clone, cache, say)
        environment = {
            "DVC_ROOT": str(clone),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        } | ({"OMP_NUM_THREADS": str(threads)} if threads is not None else {})
        how = ["--force", "--no-run-cache", "--no-commit", "--single-item"]
        if run_dvc_repro(clone, [*how, *stages], environment, [held], own_group=True):
            raise InputError(f"{record.name}: it did not run to its end again; what it said is above")
        return _compared(record, lock, stages, clone, folder, cache, threads, revision)


def find_changed_code(lock: dict[str, Any], folder: Path) -> str | None:
    """The first file or folder of code that is not what a dvc.lock says."""
    for stage in lock["stages"].values():
        for dep in stage.get("deps", []):
            if dep["path"].startswith(CODE):
                path = folder / dep["path"]
                if not path.exists() or _md5(path) != dep["md5"]:
                    return str(dep["path"])
    return None


def _place_data(record: RunRecord, lock: dict[str, Any], clone: Path, cache: DvcCache, say: Say) -> list[str]:
    """Put the data of the run into the clone; returns the stages that are to be run."""
    raw, prepared = f"data/raw/{record.dataset}", f"data/prepared/{record.dataset}"
    raw_md5, prepared_md5 = _dep(lock, "prepare", raw), record.md5s.get(prepared)
    own = clone / raw / "own.dvc"
    if own.is_file():
        shutil.rmtree(own.with_suffix(""), ignore_errors=True)
        cache.link(read_yaml(own)["outs"][0]["md5"], own.with_suffix(""))
    fetched = f"{raw}/fetched"
    if fetched in record.md5s:
        cache.link(record.md5s[fetched], clone / fetched)
    stages = [stage for stage in ["prepare", *REPEATED] if stage in lock["stages"]]
    if "report" not in stages:  # as of an MLflow run without an experiment
        say("report is not repeated: dvc.lock, as it was recorded, is of the moment before it")
    if (clone / raw).is_dir() and compute_folder_md5(clone / raw) == raw_md5:
        say(f"download is not repeated: {raw} has the md5 that it had; repeated: {', '.join(stages)}")
        return stages
    if record.params["evaluate"]["resolution"] == "original":
        raise InputError(
            f"{record.name}: {raw} as it was is neither in DVC's cache nor in its remote; evaluate reads it"
        )
    if prepared_md5 is None or not cache.link(prepared_md5, clone / prepared):
        raise InputError(f"{record.name}: neither {raw} nor {prepared} as it was is in DVC's cache or its remote")
    (clone / raw).mkdir(
        parents=True, exist_ok=True
    )  # evaluate depends on it, though at this resolution it reads none of it
    stages.remove("prepare")
    say(
        f"download and prepare are not repeated, as {raw} is not at hand as it was: {prepared} is as recorded, by its md5; "
        f"repeated: {', '.join(stages)}"
    )
    return stages


def _compared(
    record: RunRecord,
    lock: dict[str, Any],
    stages: list[str],
    clone: Path,
    folder: Path,
    cache: DvcCache,
    threads: int | None,
    revision: str,
) -> Verification:
    new = {
        out["path"]: out["md5"] for stage in read_yaml(clone / LOCK)["stages"].values() for out in stage.get("outs", [])
    }
    outs = [out for stage in stages for out in lock["stages"][stage].get("outs", [])]
    differing = [out for out in outs if new.get(out["path"]) != out["md5"]]
    told = [
        OutDifference(out["path"], _how(out, clone, folder / "old", cache))
        for number, out in enumerate(differing)
        if number == 0 or out["path"] == METRICS
    ]
    size = sum(out.get("size", 0) for out in outs)
    return Verification(len(outs), size, [out["path"] for out in differing], told, revision, threads)


def _how(out: dict[str, Any], clone: Path, old: Path, cache: DvcCache) -> str:
    path = out["path"]
    if not cache.link(out["md5"], old / path):
        return "differs; by how much cannot be told, as what it was is neither in DVC's cache nor in its remote"
    return describe_difference(old / path, clone / path) or "is as it was, though DVC has another md5 of it"


@contextmanager
def _own_folder(root: Path, keep: bool, say: Say) -> Iterator[tuple[Path, int]]:
    """A folder that is gone afterwards, and a descriptor of its lock; those that killed ones left are cleared away first."""
    place = (root / PLACE).resolve()
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob("*.lock"):
        _clear(left)
    folder = place / uuid.uuid4().hex[:8]
    lock = folder.with_suffix(".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        folder.mkdir()
        yield folder, descriptor
    finally:
        if keep:
            say(f"kept: {folder / 'clone'}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):  # another is at work, or one was kept
            place.rmdir()


def _clear(lock: Path) -> None:
    descriptor = os.open(lock, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)
    except BlockingIOError:  # it is at work
        pass
    finally:
        os.close(descriptor)


def _told_threads(record: RunRecord, threads: int | None) -> str:
    if threads is None:
        return "threads as torch likes (how many there were is not recorded)"
    count = f"{threads} thread{'s' * (threads > 1)}"
    return f"{count}, as recorded" if threads == record.threads else f"{count}; recorded: {record.threads or 'unknown'}"


def _dep(lock: dict[str, Any], stage: str, path: str) -> str | None:
    deps = lock["stages"].get(stage, {}).get("deps", [])
    return next((dep["md5"] for dep in deps if dep["path"] == path), None)


def _md5(path: Path) -> str:
    return compute_folder_md5(path) if path.is_dir() else compute_file_md5(path)


MOST = 4
"""Packages that are named."""


def find_likely_reasons(record: RunRecord, verified: Verification, root: Path) -> list[str]:
    """What is known to be another than when it was recorded, or is not known; each in a few words."""
    found, here = [], describe_hardware()
    if record.hardware is None:
        found.append("the hardware it ran on is not recorded")
    elif record.hardware != here:
        found.append(f"it ran on other hardware ({record.hardware}; here: {here})")
    if record.threads is None:
        found.append("how many threads computed is not recorded: try --threads N")
    elif verified.threads != record.threads:
        found.append(f"the number of threads was {record.threads}, now {verified.threads}")
    try:
        pinned = read_file_at(root, verified.revision, "requirements.lock")
    except FileNotFoundError:
        pinned = ""
    changed = find_changed_packages(pinned)
    if changed:
        more = f" and {len(changed) - MOST} more" if len(changed) > MOST else ""
        found.append(f"packages are not those of its requirements.lock: {', '.join(changed[:MOST])}{more}")
    return found


def find_changed_packages(pinned: str) -> list[str]:
    """`name 1.0, here 2.0`, for the packages installed here in another version than a lock file says."""
    wanted: dict[str, set[str]] = {}
    for name, number in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", pinned, re.MULTILINE):
        wanted.setdefault(name, set()).add(number)
    found = []
    for name, numbers in sorted(wanted.items()):
        try:
            here = version(name)
        except PackageNotFoundError:  # of another system, or an extra
            continue
        if here.partition("+")[0] not in {number.partition("+")[0] for number in numbers}:
            found.append(f"{name} {' or '.join(sorted(numbers))}, here {here}")
    return found
