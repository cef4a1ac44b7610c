"""A run is repeated from its code, params and data in a temporary clone, and its outs are compared with the recorded ones."""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.experiments.clone import METRICS, STAGES, make_clone, open_clone_folder, run_dvc_repro, write_params
from losslab.experiments.differences import describe_difference
from losslab.experiments.dvc_cache import DvcCache
from losslab.experiments.finished_runs import compute_md5
from losslab.experiments.member_files import list_member_md5s
from losslab.experiments.run_finder import RunRecord
from losslab.formats import format_list, format_plural
from losslab.io.files import write_text
from losslab.io.git import find_prefix, read_file_at
from losslab.io.hashing import compute_bytes_md5, compute_folder_md5
from losslab.io.yaml import read_yaml
from losslab.plugins.manifest import FOLDER as PLUGINS
from losslab.plugins.usage import describe_usage, get_usage_path
from losslab.project.code import CODE, RECORD, read_record
from losslab.runtime.devices import describe_hardware
from losslab.tracking.store import LOCK, build_sqlite_uri

CLONES = Path(".losslab/verify")
CODE_FOLDERS = ("src/", "data/catalog/")
"""Folders of the deps that Git tracks."""
REPEATED_STAGES = [stage for stage in STAGES if stage != "download"]
MAX_PACKAGES_SHOWN = 4
Say = Callable[[str], None]


@dataclass(frozen=True)
class OutDifference:
    """An out that is not as recorded, and how it differs."""

    path: str
    description: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of repeating a run; all lists are in the order of the pipeline."""

    outs: int
    """Number of outs that were compared."""
    size_bytes: int
    differing: list[str]
    differences: list[OutDifference]
    """Descriptions of the first out that differs and of the scores."""
    revision: str
    threads: int | None
    """Number of threads of the repetition; None if torch chose it."""


def verify_run(record: RunRecord, root: Path, say: Say, threads: int | None = None, keep: bool = False) -> Verification:
    """Repeat a run and compare. The workspace, DVC's cache, experiments and MLflow are left as they are.

    Args:
        threads: use this number instead of the recorded one.

    Raises InputError if the code was not committed, the data cannot be had, or the run fails.
    """
    lock, revision = record.lock, record.revision
    if lock is None or revision is None:
        raise InputError(f"{record.name}: the commit it ran on is not recorded")
    threads = threads or record.threads
    with open_clone_folder(root / CLONES, keep, say) as (folder, held):
        cache = DvcCache(root)
        say(f"verify {record.name}: code of commit {revision[:10]}, {_describe_threads(record, threads)}")
        # Nothing of the clone may stay elsewhere: neither outs in the cache, nor DVC's notes on them.
        places = folder / "cache", find_prefix(root)
        clone = make_clone(folder / "clone", root, root, revision, *places, core__site_cache_dir=str(folder / "site"))
        if (changed := find_changed_code(lock, clone, record.params)) is not None:
            raise InputError(
                f"{record.name} cannot be repeated: it ran with uncommitted changes in {changed} (on commit {revision[:10]})"
            )
        write_params(clone / "params.yaml", record.params)
        stages = _place_data(record, lock, clone, cache, say)
        for md5 in list_member_md5s(record.params):
            cache.link(md5, places[0] / "files/md5" / md5[:2] / md5[2:])
        environment = {"DVC_ROOT": str(clone), "MLFLOW_TRACKING_URI": build_sqlite_uri(folder / "mlflow.db")}
        environment |= {"OMP_NUM_THREADS": str(threads)} if threads is not None else {}
        how = ["--force", "--no-run-cache", "--no-commit", "--single-item"]
        if run_dvc_repro(clone, [*how, *stages], environment, [held], own_group=True):
            raise InputError(f"{record.name} failed when it was repeated; its output is above")
        new = _list_outs(read_yaml(clone / LOCK))
        outs = _list_outs(lock, stages)
        differing = [path for path, out in outs.items() if new.get(path, {}).get("md5") != out["md5"]]
        if METRICS in differing:
            with suppress(InputError):
                write_text(folder / "old" / METRICS, record.read_metrics())
        return Verification(
            outs=len(outs),
            size_bytes=sum(out.get("size", 0) for out in outs.values()),
            differing=differing,
            differences=[
                OutDifference(path, _describe_out(path, outs[path]["md5"], clone, folder / "old", cache))
                for path in differing
                if path in (differing[0], METRICS)
            ],
            revision=revision,
            threads=threads,
        )


def find_changed_code(lock: dict[str, Any], folder: Path, params: Mapping[str, Any]) -> str | None:
    """Return the first file or folder of code that is not what a dvc.lock says; None if there is none.

    Args:
        params: of the run: of plugins/, what it uses counts alone.
    """
    installed = (read_record(folder) or {}).get(CODE, {})
    for name, stage in lock["stages"].items():
        for dep in stage.get("deps", []):
            if dep["path"].startswith(CODE_FOLDERS) and compute_md5(folder / dep["path"]) != dep["md5"]:
                return str(dep["path"])
        if stage.get("params", {}).get(RECORD, {}).get(f"{CODE}.{name}") != installed.get(name):
            return RECORD
    used = {get_usage_path(stage).as_posix(): text for stage, text in describe_usage(params, folder).items()}
    recorded = lock["stages"].get("plugins", {}).get("outs", [])
    if any(compute_bytes_md5(used[out["path"]].encode()) != out["md5"] for out in recorded):
        return str(PLUGINS)
    return None


def _place_data(record: RunRecord, lock: dict[str, Any], clone: Path, cache: DvcCache, say: Say) -> list[str]:
    """Put the data of a run into the clone, and return the stages to repeat."""
    raw, prepared = f"data/raw/{record.dataset}", f"data/prepared/{record.dataset}"
    prepared_md5 = record.md5s.get(prepared)
    deps = lock["stages"].get("prepare", {}).get("deps", [])
    raw_md5 = next((dep["md5"] for dep in deps if dep["path"] == raw), None)
    own = clone / raw / "own.dvc"
    if own.is_file():
        shutil.rmtree(own.with_suffix(""), ignore_errors=True)
        cache.link(read_yaml(own)["outs"][0]["md5"], own.with_suffix(""))
    fetched = f"{raw}/fetched"
    if fetched in record.md5s:
        cache.link(record.md5s[fetched], clone / fetched)
    stages = [stage for stage in REPEATED_STAGES if stage in lock["stages"]]
    if "report" not in stages:  # an MLflow run without an experiment
        say("report is not repeated: dvc.lock was recorded before that stage ended")
    if (clone / raw).is_dir() and compute_folder_md5(clone / raw) == raw_md5:
        say(f"repeating {format_list(stages)}; download is not repeated, {raw} has the recorded md5")
        return stages
    if record.params["evaluate"]["resolution"] == "original":
        raise InputError(
            f"{record.name}: evaluate reads {raw}, and neither DVC's cache nor its remote has it as it was"
        )
    if prepared_md5 is None or not cache.link(prepared_md5, clone / prepared):
        raise InputError(f"{record.name}: neither DVC's cache nor its remote has {raw} or {prepared} as they were")
    (clone / raw).mkdir(parents=True, exist_ok=True)  # a dep of evaluate, which reads nothing there at this resolution
    stages.remove("prepare")
    say(
        f"repeating {format_list(stages)}; download and prepare are not repeated: {raw} is no longer available, "
        f"{prepared} has the recorded md5"
    )
    return stages


def _list_outs(lock: dict[str, Any], stages: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return path → entry in a dvc.lock of the outs of these stages, or of all."""
    return {out["path"]: out for stage in stages or lock["stages"] for out in lock["stages"][stage].get("outs", [])}


def _describe_out(path: str, md5: str, clone: Path, old: Path, cache: DvcCache) -> str:
    try:
        if not (old / path).exists() and not cache.link(md5, old / path):
            return "differs; neither DVC's cache nor its remote has the old version to compare with"
    except InputError as error:  # it is damaged
        return f"differs; {error}"
    return describe_difference(old / path, clone / path) or "has the same content, but dvc.lock has another md5"


def _describe_threads(record: RunRecord, threads: int | None) -> str:
    if threads is None:
        return "as many threads as torch chooses (the number is not recorded)"
    count = format_plural(threads, "thread")
    return (
        f"{count}, as recorded" if threads == record.threads else f"{count} (recorded: {record.threads or 'unknown'})"
    )


def find_likely_reasons(record: RunRecord, verified: Verification, root: Path) -> list[str]:
    """List what is known to have changed since the run was recorded, or is not known, each in a few words."""
    reasons, here = [], describe_hardware()
    if record.hardware is None:
        reasons.append("the hardware it ran on is not recorded")
    elif record.hardware != here:
        reasons.append(f"it ran on other hardware ({record.hardware}; here: {here})")
    if record.threads is None:
        reasons.append("the number of threads is not recorded: try --threads N")
    elif verified.threads != record.threads:
        reasons.append(f"the number of threads was {record.threads}, now {verified.threads}")
    try:
        pinned = read_file_at(root, verified.revision, "requirements.lock")
    except FileNotFoundError:
        pinned = ""
    if changed := find_changed_packages(pinned):
        reasons.append(f"packages differ from its requirements.lock: {format_list(changed, MAX_PACKAGES_SHOWN)}")
    return reasons


def find_changed_packages(pinned: str) -> list[str]:
    """List `name 1.0, here 2.0` for each package that is installed in another version than a lock file pins."""
    versions: dict[str, set[str]] = {}
    for name, number in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", pinned, re.MULTILINE):
        versions.setdefault(name, set()).add(number)
    changed = []
    for name, numbers in sorted(versions.items()):
        try:
            here = version(name)
        except PackageNotFoundError:  # for another system, or an extra
            continue
        if here.partition("+")[0] not in {number.partition("+")[0] for number in numbers}:
            changed.append(f"{name} {' or '.join(sorted(numbers))}, here {here}")
    return changed
