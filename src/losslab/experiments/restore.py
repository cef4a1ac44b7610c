"""The workspace is put into the state of a run: params, lock and metrics, and the outs that DVC's cache has."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.utils.serialize import dumps_yaml

from losslab import tracking
from losslab.errors import InputError
from losslab.experiments.clone import COMMITTED, METRICS, STAGES, run_dvc
from losslab.experiments.dvc_cache import DvcCache
from losslab.experiments.finished_runs import REPORT, WORKSPACE, RunOutputs, compute_md5, list_experiments
from losslab.experiments.run_finder import RunRecord
from losslab.experiments.verify import find_changed_code
from losslab.formats import format_list
from losslab.io.files import PRIVATE, make_folder, open_scratch_folder, write_text
from losslab.io.git import list_changes, read_file_at, run_git
from losslab.io.yaml import read_yaml
from losslab.project.code import RECORD
from losslab.tracking.store import LOCK

MAX_PATHS_SHOWN = 3
DATA = "data/"
"""Folder of outs that are left alone if the cache lacks those of the run: they may be the user's."""


@dataclass(frozen=True)
class RestoredWorkspace:
    """What was restored, and what was not."""

    outs: int
    """Number of the run's outs that are in the workspace now."""
    missing: list[str]
    changed_code: str | None
    """File or folder of code that is not as it was, which `force` allows."""


def restore_workspace(record: RunRecord, root: Path, force: bool = False) -> RestoredWorkspace:
    """Put the workspace into the state of a run, but never touch code. If it fails, the workspace is left as it is.

    Args:
        force: restore even if changes are lost that are kept nowhere, or the code has changed: else an InputError.
    """
    if record.name == WORKSPACE or record.lock is None:
        raise InputError(f"{record.name}: the workspace is in this state already")
    changed = find_changed_code(record.lock, root, record.params) or _find_changed_data(record, root)
    if not force:
        _refuse_other_code(record, changed, root)
        _refuse_losses(record, root)
    texts, cache, kept = _read_texts(record, root), DvcCache(root), root / PRIVATE / "before"
    make_folder(kept.parent)
    with open_scratch_folder(kept):
        for name in (name for name in COMMITTED if (root / name).exists()):
            shutil.copy(root / name, kept / Path(name).name)
        try:
            for name, text in texts.items():
                (root / name).unlink(missing_ok=True) if text is None else write_text(root / name, text)
            missing = _list_missing(record, root, texts)
            if missing:
                run_dvc(root, "fetch", "-q", check=False)  # from a remote, if there is one
                missing = _list_missing(record, root, texts)
            _check_out(root, record.lock)
            for path, md5 in record.md5s.items():  # DVC has not looked at what it took from its cache
                if path not in missing and compute_md5(root / path) != md5:
                    cache.check(md5)
        except BaseException:
            for name in COMMITTED:  # by renaming, as the disk may be full
                before = kept / Path(name).name
                before.replace(root / name) if before.exists() else (root / name).unlink(missing_ok=True)
            if (root / LOCK).exists():
                _check_out(root, read_yaml(root / LOCK), must=False)
            raise
    return RestoredWorkspace(len(record.md5s) - len(missing), missing, changed)


def _check_out(root: Path, lock: Mapping[str, Any], must: bool = True) -> None:
    """Check out the outs of all stages but those whose data the cache lacks: DVC would remove the user's in their place."""
    cache, stages = DvcCache(root), lock.get("stages", {})
    outs = {stage: {out["path"]: out["md5"] for out in stages.get(stage, {}).get("outs", [])} for stage in STAGES}
    data = {stage: [md5 for path, md5 in outs[stage].items() if path.startswith(DATA)] for stage in STAGES}
    lacking = {stage for stage in STAGES if not all(map(cache.has, data[stage]))}
    unknown = {stage for stage in STAGES if not outs[stage] and stage != "report"}  # another run's report must not stay
    targets = [stage for stage in STAGES if stage not in lacking | unknown]
    run_dvc(root, "checkout", "-q", "--force", "--allow-missing", *targets, check=must)


def _read_texts(record: RunRecord, root: Path) -> dict[str, str | None]:
    """Read the committed files of a run; None stands for metrics.json that is lost."""
    metrics = None
    with suppress(InputError):
        metrics = record.read_metrics()
    if isinstance(record.source, RunOutputs):
        revision = str(record.source.revision)
        return {name: metrics if name == METRICS else read_file_at(root, revision, name) for name in COMMITTED}
    with TemporaryDirectory() as name:
        folder = Path(name)
        tracking.download_outs(record.source, folder, root, "params.yaml")
        params = (folder / "params.yaml").read_text(encoding="utf-8")
        return {"params.yaml": params, LOCK: dumps_yaml(record.lock), METRICS: metrics}


def _refuse_other_code(record: RunRecord, changed: str | None, root: Path) -> None:
    if changed is None:
        return
    same = record.baseline is not None and not run_git(
        root,
        "diff",
        "--name-only",
        record.baseline,
        str(record.revision),
        "--",
        "src",
        "data",
        "plugins",
        "dvc.yaml",
        RECORD,
    )
    target = record.baseline if same else record.revision  # rather the baseline than the experiment's own commit
    if target is None:
        raise InputError(
            f"{changed} changed after {record.name} ran and was not committed; --force restores params and outs only"
        )
    if list_changes(root, [changed]):
        raise InputError(f"{changed} has uncommitted changes: commit them, or run git stash, first")
    raise InputError(f"{changed} has changed since {record.name} ran: run git checkout {target[:10]} first")


def _find_changed_data(record: RunRecord, root: Path) -> str | None:
    """Return a file that Git tracks of the data or the pipeline, if it has changed since the run's commit."""
    if record.revision is None:
        return None
    names = list_changes(root, [f"data/raw/{record.dataset}", "dvc.yaml"], since=record.revision)
    return names[0] if names else None


def _refuse_losses(record: RunRecord, root: Path) -> None:
    if changed := [name for name in COMMITTED[:2] if not _is_kept(root, name)]:
        raise InputError(
            f"changes in {format_list(changed)} would be lost: keep them with git commit or dvc exp save, or drop them with "
            "--force"
        )
    cache, lost = DvcCache(root), []
    for path, md5 in {**dict.fromkeys(REPORT, ""), **record.md5s}.items():
        out = root / path
        if out.exists() and (cache.has(md5) or not path.startswith(DATA)):
            here = compute_md5(out)
            if here != md5 and not cache.has(here) and not (path == METRICS and _is_kept(root, path)):
                lost.append(path)
    if lost:
        raise InputError(
            f"{format_list(lost, MAX_PATHS_SHOWN)} would be lost, because DVC's cache does not have it: keep it with dvc commit, "
            "or drop it with --force"
        )


def _is_kept(root: Path, name: str) -> bool:
    """Return whether HEAD or an experiment has a file of the workspace as it is, or there is none to lose."""
    if not (root / name).exists():
        return True
    blob = run_git(root, "hash-object", name).strip()
    revisions = ["HEAD", *(revision for _, _, revision in list_experiments(root))]
    return any(blob in run_git(root, "ls-tree", revision, name).split() for revision in revisions)


def _list_missing(record: RunRecord, root: Path, texts: Mapping[str, str | None]) -> list[str]:
    cache = DvcCache(root)
    return [path for path, md5 in record.md5s.items() if texts.get(path) is None and not cache.has(md5)]
