"""Finished runs that DVC has: the workspace's, and those of experiments, with their outs."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from dvc.exceptions import DvcException
from dvc.repo import Repo

from losslab.errors import InputError
from losslab.experiments.clone import COMMITTED, METRICS, SCORES
from losslab.experiments.dvc_cache import DvcCache, open_repository
from losslab.io.files import write_text
from losslab.io.git import find_prefix, read_file_at, read_files_at, run_git
from losslab.io.hashing import compute_file_md5, compute_folder_md5
from losslab.io.yaml import parse_yaml
from losslab.params import RECORDING
from losslab.tracking.store import RECORD_FILES

MODEL, DESCRIPTION = "models/model.safetensors", "models/model.json"
REPORT = ("reports/report.html", "reports/figures")
RECORD = (*RECORD_FILES, *REPORT)
"""Files of a run that are needed to show it elsewhere, without weights and data."""
FINISHED = (MODEL, DESCRIPTION, "reports/history.csv", METRICS, *REPORT)
"""Outs that every finished run has; older pipelines had fewer tables beside them."""
WORKSPACE = "workspace"


@dataclass(frozen=True, kw_only=True)
class RunOutputs:
    """A finished run, as params.yaml and dvc.lock describe it."""

    experiment: str | None
    """Name of the DVC experiment; None for the workspace."""
    baseline: str | None
    dataset: str
    model_md5: str
    report_md5: str
    root: Path
    revision: str | None
    """The commit with its params.yaml and dvc.lock; None for the workspace."""
    params: Mapping[str, Any] = field(compare=False, repr=False)
    lock: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def md5s(self) -> dict[str, Any]:
        """Path → md5 of all outs."""
        return _list_md5s(self.lock["stages"])

    @property
    def tracked(self) -> tuple[str, ...]:
        """Paths of the files that MLflow is told of: RECORD, what says what the data are, and the weights if they are copied."""
        copied = self.params.get(RECORDING, {}).get("weights") == "copy"  # an older losslab had no such key
        data = f"data/catalog/{self.dataset}.yaml", f"data/prepared/{self.dataset}/dataset.json"
        return (*RECORD, *data, *([MODEL] if copied else []))

    def read_metrics(self) -> str:
        """Return the text of metrics.json, from the run's commit or DVC's cache. Raises InputError if it is lost."""
        if self.revision is None:
            return (self.root / METRICS).read_text(encoding="utf-8")
        md5 = self.md5s[METRICS]
        with suppress(FileNotFoundError):
            text = read_file_at(self.root, self.revision, METRICS)
            if hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() == md5:
                return text
        if (content := DvcCache(self.root).read(md5)) is None:
            raise InputError(f"{self.experiment}: {METRICS} is neither in its commit nor in DVC's cache or remote")
        return content.decode()

    @contextmanager
    def files(self, paths: Sequence[str] = RECORD) -> Iterator[Path]:
        """Yield a folder, for reading only, with those `paths` that the run has. Raises InputError if outs are lost.

        Cards, and files of folders, are there if they can be had.
        """
        if self.revision is None:
            yield self.root
            return
        with TemporaryDirectory() as name:
            folder, cache, md5s = Path(name), DvcCache(self.root), self.md5s
            for path in paths:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                if path == METRICS or (
                    path == SCORES and path not in md5s
                ):  # older pipelines had all scores in one file
                    write_text(folder / path, self.read_metrics())
                elif path in COMMITTED:
                    write_text(folder / path, read_file_at(self.root, self.revision, path))
                elif path in md5s and not cache.link(md5s[path], folder / path):
                    raise InputError(f"{self.experiment}: {path} is neither in DVC's cache nor in its remote")
                elif path.startswith("data/catalog/"):
                    with suppress(FileNotFoundError):
                        write_text(folder / path, read_file_at(self.root, self.revision, path))
                elif (parent := str(Path(path).parent)) in md5s:
                    entries = cache.read_entries(md5s[parent]) or {}
                    if (md5 := entries.get(Path(path).name)) is not None:
                        cache.link(md5, folder / path)
            yield folder


@dataclass(frozen=True)
class UnfinishedRun:
    name: str
    reason: str


def list_runs(root: Path) -> Iterator[RunOutputs | UnfinishedRun]:
    """Yield the run in the workspace, then all experiments' on all baselines. Raises InputError if there is no repo."""
    with open_repository(root):
        yield read_workspace_run(root)
        yield from read_experiments(list_experiments(root), root)


def list_experiments(root: Path) -> list[tuple[str, str, str]]:
    """Return name, baseline and commit of the project's DVC experiments, not of others in its Git repository.

    An experiment is another project's if it changed dvc.lock there and not here.
    """
    listed = run_git(root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps/")
    matches = re.findall(r"^refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(\S+) (\w+)$", listed, re.MULTILINE)
    if not matches:
        return []
    logged = run_git(
        root,
        *("log", "--no-walk=unsorted", "--glob=refs/exps/??/*", "--first-parent", "--name-only", "--format=%x00%H"),
        *("--", ":(top,glob)**/dvc.lock"),
    )
    locks = {revision: paths for revision, *paths in map(str.splitlines, logged.split("\0")[1:])}
    own = (find_prefix(root) / "dvc.lock").as_posix()
    return [
        (name, first + rest, revision) for first, rest, name, revision in matches if own in locks.get(revision, [own])
    ]


def read_experiments(entries: Sequence[tuple[str, str, str]], root: Path) -> Iterator[RunOutputs | UnfinishedRun]:
    """Yield the runs of experiments, given by name, baseline and commit as `list_experiments` does; Git is run once."""
    texts = read_files_at(root, [(revision, path) for *_, revision in entries for path in ("dvc.lock", "params.yaml")])

    def read_text(revision: str, path: str) -> str:
        if (revision, path) not in texts:
            raise FileNotFoundError(path)
        return texts[revision, path]

    for name, baseline, revision in entries:
        yield _read_run(partial(read_text, revision), name, baseline, root, revision)


def read_run_at(root: Path, name: str | None, baseline: str | None, revision: str) -> RunOutputs | UnfinishedRun:
    """Read an experiment by its commit; without a name, the run in a commit's own dvc.lock."""
    return _read_run(lambda path: read_file_at(root, revision, path), name, baseline, root, revision)


@contextmanager
def open_model(model_md5: str, root: Path) -> Iterator[Path]:
    """Yield a folder with the weights of this md5 and their model.json, from the workspace, DVC's cache or its remote.

    Raises InputError if the weights are nowhere any more, or there is no DVC repository.
    """
    weights = root / MODEL
    if weights.is_file() and (root / DESCRIPTION).is_file() and compute_file_md5(weights) == model_md5:
        yield weights.parent
        return
    with open_repository(root) as repo, TemporaryDirectory() as name:
        folder, cache = Path(name), DvcCache(root)
        if not _link_cached(repo, cache, model_md5, folder) and not _link_from_experiment(
            cache, model_md5, root, folder
        ):
            raise InputError(
                f"the model of this run (md5 {model_md5}) is no longer in models/ or DVC's cache; train it again"
            )
        yield folder


def _link_cached(repo: Repo, cache: DvcCache, model_md5: str, folder: Path) -> bool:
    """Link to the weights and the model.json that belongs to them by DVC's run cache; return whether both are there."""
    for entry in sorted(Path(repo.stage_cache.cache_dir).glob("*/*/*")):
        text = entry.read_text(encoding="utf-8", errors="replace")
        if model_md5 in text:
            md5s = {out["path"]: out.get("md5") for out in parse_yaml(text).get("outs", [])}
            if (
                md5s.get(MODEL) == model_md5
                and DESCRIPTION in md5s
                and all(map(cache.has, (model_md5, md5s[DESCRIPTION])))
            ):
                return _link_model(cache, md5s, folder)
    return False


def _link_from_experiment(cache: DvcCache, model_md5: str, root: Path, folder: Path) -> bool:
    for outs in read_experiments(list_experiments(root), root):
        if isinstance(outs, RunOutputs) and outs.model_md5 == model_md5:
            return _link_model(cache, outs.md5s, folder)
    return False


def _link_model(cache: DvcCache, md5s: Mapping[str, Any], folder: Path) -> bool:
    return all(cache.link(md5s[path], folder / Path(path).name) for path in (MODEL, DESCRIPTION))


def read_workspace_run(root: Path) -> RunOutputs | UnfinishedRun:
    """Read the run whose outs are in the workspace."""
    run = _read_run(lambda name: (root / name).read_text(encoding="utf-8"), None, None, root, None)
    if isinstance(run, RunOutputs):
        md5s = run.md5s
        for name in (name for name in RECORD if name in md5s):
            if compute_md5(root / name) != md5s[name]:
                return UnfinishedRun(WORKSPACE, f"{name} is not what dvc.lock says: run dvc checkout, or dvc repro")
    return run


def compute_md5(path: Path) -> str:
    """Return the md5 of a file or folder, as DVC computes it; an empty text if it is missing."""
    if path.is_dir():
        return compute_folder_md5(path)
    return compute_file_md5(path) if path.exists() else ""


def _read_run(
    read_text: Callable[[str], str], experiment: str | None, baseline: str | None, root: Path, revision: str | None
) -> RunOutputs | UnfinishedRun:
    name = experiment or WORKSPACE
    try:
        lock, params = parse_yaml(read_text("dvc.lock")), parse_yaml(read_text("params.yaml"))
        stages = lock["stages"]
        md5s = _list_md5s(stages)
        if {*FINISHED} <= md5s.keys() and all(_is_current(stage, md5s, params) for stage in stages.values()):
            return RunOutputs(
                experiment=experiment,
                baseline=baseline,
                dataset=params["dataset"],
                model_md5=md5s[MODEL],
                report_md5=md5s["reports/report.html"],
                root=root,
                revision=revision,
                params=params,
                lock=lock,
            )
    except (OSError, DvcException):
        return UnfinishedRun(name, "no dvc.lock or params.yaml")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return UnfinishedRun(name, "dvc.lock or params.yaml belongs to another pipeline")
    return UnfinishedRun(name, "not finished")


def _list_md5s(stages: Mapping[str, Any]) -> dict[str, Any]:
    return {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}


def _is_current(stage: dict[str, Any], md5s: dict[str, Any], params: dict[str, Any]) -> bool:
    """Return whether a stage in dvc.lock, which may be from the run before, ran on these outs and these params."""
    raw = f"data/raw/{params['dataset']}"  # not an out: the user's own data may lie beside what was fetched
    data = (
        dep for dep in stage.get("deps", []) if not f"{dep['path']}/".startswith(("src/", "data/catalog/", "plugins/"))
    )
    recorded = stage.get("params", {}).get("params.yaml", {}).items()
    return all(dep["path"] == raw or md5s.get(dep["path"]) == dep.get("md5") for dep in data) and all(
        reduce(lambda values, part: values[part], key.split("."), params) == value for key, value in recorded
    )
