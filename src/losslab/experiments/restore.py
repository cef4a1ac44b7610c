"""The workspace as a run left it: params.yaml, dvc.lock, and what DVC's cache has of its outs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dvc.utils.serialize import dumps_yaml

from losslab import tracking
from losslab.errors import InputError
from losslab.experiments.clone import run_dvc
from losslab.experiments.dvc_cache import DvcCache
from losslab.experiments.outs import COMMITTED, REPORT, WORKSPACE, RunOutputs, list_experiments
from losslab.experiments.records import RunRecord
from losslab.experiments.verify import find_changed_code
from losslab.io.files import write_text
from losslab.io.git import list_changes, read_file_at, run_git
from losslab.io.hashing import compute_file_md5, compute_folder_md5
from losslab.io.yaml import parse_yaml
from losslab.tracking.store import LOCK

STAGES = ["download", "prepare", "train", "evaluate", "report"]
SHOWN = 3
"""Paths that a message names."""
DATA = "data/"
"""Below which outs are left alone where the cache has not those of the run: they may be the user's."""


@dataclass(frozen=True)
class RestoredWorkspace:
    outs: int
    """That are in the workspace now."""
    missing: list[str]
    """Outs that are nowhere any more."""
    code: str | None
    """What of the code is not as it was; only when forced."""


def restore_workspace(record: RunRecord, root: Path, force: bool = False) -> RestoredWorkspace:
    """Put the workspace into the state of a run. Code is never touched; what is refused leaves all as it is.

    Args:
        force: also where changes that are kept nowhere are lost, or the code is another.

    Raises:
        InputError: it is refused, and why.
    """
    if record.name == WORKSPACE or record.lock is None:
        raise InputError(f"{record.name}: that is the state the workspace is in")
    changed = find_changed_code(record.lock, root) or _changed_data(record, root)
    if not force:
        _refuse_other_code(record, changed, root)
        _refuse_losses(record, root)
    before = {name: (root / name).read_bytes() if (root / name).exists() else None for name in COMMITTED}
    texts = _texts(record, root)
    try:
        for name, text in texts.items():
            write_text(root / name, text)
        missing = _missing(record, root)
        if missing:
            run_dvc(root, "fetch", "-q", check=False)  # from a remote, where there is one
            missing = _missing(record, root)
        _checkout(root, record.lock)
    except BaseException:
        for name, content in before.items():
            (root / name).unlink(missing_ok=True) if content is None else (root / name).write_bytes(content)
        if (lock := before[LOCK]) is not None:
            _checkout(root, parse_yaml(lock.decode()), must=False)
        raise
    return RestoredWorkspace(len(record.md5s) - len(missing), missing, changed)


def _checkout(root: Path, lock: Mapping[str, Any], must: bool = True) -> None:
    """Of all stages but those whose data the cache lacks: DVC would remove what is there in their place, whosever it is."""
    cache, stages = DvcCache(root), lock.get("stages", {})
    outs = {stage: {out["path"]: out["md5"] for out in stages.get(stage, {}).get("outs", [])} for stage in STAGES}
    lacking = {
        stage
        for stage, md5s in outs.items()
        for path, md5 in md5s.items()
        if path.startswith(DATA) and not cache.has(md5)
    }
    unknown = {
        stage for stage in STAGES if not outs[stage] and stage != "report"
    }  # a report of another run must not stay
    targets = [stage for stage in STAGES if stage not in lacking | unknown]
    run_dvc(root, "checkout", "-q", "--force", "--allow-missing", *targets, check=must)


def _texts(record: RunRecord, root: Path) -> dict[str, str]:
    if isinstance(record.source, RunOutputs):
        return {name: read_file_at(root, str(record.source.revision), name) for name in COMMITTED}
    with TemporaryDirectory() as name:
        folder = Path(name)
        tracking.download_outs(record.source, folder, root, "params.yaml")
        return {"params.yaml": (folder / "params.yaml").read_text(encoding="utf-8"), LOCK: dumps_yaml(record.lock)}


def _refuse_other_code(record: RunRecord, changed: str | None, root: Path) -> None:
    if changed is None:
        return
    target = _where_code_is(record, root)
    if target is None:
        raise InputError(
            f"{changed} is not what it was when {record.name} ran, and was never committed so; --force takes params and outs alone"
        )
    if list_changes(root, [changed]):
        raise InputError(f"{changed} has changes that are not committed: git stash, or commit them, first")
    raise InputError(f"{changed} is not what it was when {record.name} ran: git checkout {target} first")


def _where_code_is(record: RunRecord, root: Path) -> str | None:
    """The commit to check out: the baseline, where it has the code of the run; else the experiment's own."""
    same = record.baseline is not None and not run_git(
        root, "diff", "--name-only", record.baseline, str(record.revision), "--", "src", "data", "dvc.yaml"
    )
    commit = record.baseline if same else record.revision
    return commit[:10] if commit is not None else None


def _changed_data(record: RunRecord, root: Path) -> str | None:
    """What Git tracks of the data, and the pipeline itself, if they are not as at the run's commit."""
    if record.revision is None:
        return None
    names = list_changes(root, [f"data/raw/{record.dataset}", "dvc.yaml"], since=record.revision)
    return names[0] if names else None


def _refuse_losses(record: RunRecord, root: Path) -> None:
    changed = list_changes(root, COMMITTED, since="HEAD")
    if changed and not _is_kept(root):
        raise InputError(
            f"{' and '.join(changed)}: changes that are neither committed nor an experiment's would be lost; dvc exp save keeps "
            "them, --force drops them"
        )
    cache, lost = DvcCache(root), []
    for path, md5 in {**dict.fromkeys(REPORT, ""), **record.md5s}.items():
        out = root / path
        if out.exists() and (cache.has(md5) or not path.startswith(DATA)):
            here = compute_folder_md5(out) if out.is_dir() else compute_file_md5(out)
            if here != md5 and not cache.has(here):
                lost.append(path)
    if lost:
        raise InputError(
            f"{_listed(lost)}: not in DVC's cache, so lost; dvc commit keeps what is there, --force drops it"
        )


def _is_kept(root: Path) -> bool:
    """Whether an experiment has the very params.yaml and dvc.lock of the workspace, as `dvc exp run` leaves them there."""
    here = run_git(root, "hash-object", *(name for name in COMMITTED if (root / name).exists())).split()
    return any(
        [line.split()[2] for line in run_git(root, "ls-tree", revision, *COMMITTED).splitlines()]
        == _in_tree_order(here)
        for _, _, revision in list_experiments(root)
    )


def _in_tree_order(hashes: Sequence[str]) -> list[str]:
    """Git lists dvc.lock before params.yaml."""
    return list(reversed(hashes))


def _missing(record: RunRecord, root: Path) -> list[str]:
    cache = DvcCache(root)
    return [path for path, md5 in record.md5s.items() if not cache.has(md5)]


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:SHOWN]) + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")
