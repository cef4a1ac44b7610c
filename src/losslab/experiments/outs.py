"""The outs of runs that DVC keeps: those of the workspace, and of every experiment in its cache."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo

from losslab.errors import InputError
from losslab.experiments.dvc_cache import DvcCache
from losslab.io.files import write_text
from losslab.io.git import read_file_at, run_git
from losslab.io.hashing import compute_file_md5, compute_folder_md5
from losslab.io.yaml import parse_yaml
from losslab.tracking.store import KEPT

MODEL, DESCRIPTION = "models/model.safetensors", "models/model.json"
REPORT = ("reports/report.html", "reports/figures")
RECORD = (*KEPT, *REPORT)
"""What of a run is needed to show it elsewhere: not the weights, not the data."""
FINISHED = (MODEL, DESCRIPTION, "reports/history.csv", "reports/metrics.json", *REPORT)
"""The outs without which a run is not finished; older pipelines had fewer tables beside them."""
COMMITTED = ("params.yaml", "dvc.lock")
WORKSPACE = "workspace"


@dataclass(frozen=True)
class RunOutputs:
    """A finished run, by what dvc.lock says of it."""

    experiment: str | None
    """The DVC experiment's name; None for the workspace."""
    baseline: str | None
    dataset: str
    model_md5: str
    report_md5: str
    root: Path
    revision: str | None
    """The commit with its params.yaml and dvc.lock; None for the workspace."""
    params: Mapping[str, Any] = field(compare=False, repr=False)
    """The content of params.yaml."""
    lock: Mapping[str, Any] = field(compare=False, repr=False)
    """The content of dvc.lock."""

    @property
    def md5s(self) -> dict[str, Any]:
        """Path → md5 of all outs."""
        return _outs(self.lock["stages"])

    @contextmanager
    def files(self, paths: Sequence[str] = RECORD) -> Iterator[Path]:
        """A folder, for reading alone, that holds those of `paths` that the run has.

        Raises:
            InputError: neither DVC's cache nor its remote has them any more.
        """
        if self.revision is None:
            yield self.root
            return
        with TemporaryDirectory() as name:
            folder, cache, md5s = Path(name), DvcCache(self.root), self.md5s
            for path in paths:
                (folder / path).parent.mkdir(exist_ok=True)
                if path in COMMITTED:
                    write_text(folder / path, read_file_at(self.root, self.revision, path))
                elif path in md5s and not cache.link(md5s[path], folder / path):
                    raise InputError(f"{self.experiment}: {path} is neither in DVC's cache nor in its remote")
            yield folder


@dataclass(frozen=True)
class UnfinishedRun:
    """What is no finished run, and why."""

    name: str
    reason: str


def list_runs(root: Path) -> Iterator[RunOutputs | UnfinishedRun]:
    """The run in the workspace, then those of all experiments, of all baselines.

    Raises:
        InputError: no DVC repository.
    """
    with _repo(root) as repo:
        yield read_workspace_run(root)
        for baseline, found in repo.experiments.ls(all_commits=True).items():
            for name, revision in found:
                yield read_run_at(root, name, baseline, revision)


def list_experiments(root: Path) -> list[tuple[str, str, str]]:
    """Name, baseline and commit of all of DVC's experiments."""
    listed = run_git(root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps/")
    found = (re.fullmatch(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(\S+) (\w+)", line) for line in listed.splitlines())
    return [(match[3], match[1] + match[2], match[4]) for match in found if match]


def read_run_at(root: Path, name: str | None, baseline: str | None, revision: str) -> RunOutputs | UnfinishedRun:
    """One run, by its commit: quicker than `list_runs` where the names are known.

    Args:
        name: of the experiment; None: the run that a commit's own dvc.lock holds.
    """
    return _read(lambda path: read_file_at(root, revision, path), name, baseline, root, revision)


@contextmanager
def open_model(model_md5: str, root: Path) -> Iterator[Path]:
    """A folder with the weights of this md5 and their model.json: the workspace's, or of DVC's cache, or of an experiment
    whose outs lie in a remote.

    Raises:
        InputError: they are nowhere any more, or no DVC repository.
    """
    weights = root / MODEL
    if weights.is_file() and (root / DESCRIPTION).is_file() and compute_file_md5(weights) == model_md5:
        yield weights.parent
        return
    with _repo(root) as repo, TemporaryDirectory() as name:
        folder = Path(name)
        if not _copy_cached(repo, model_md5, folder) and not _copy_of_experiment(repo, model_md5, root, folder):
            raise InputError(
                f"the model of this run (md5 {model_md5}) is neither in models/ nor in DVC's cache any more; train it again"
            )
        yield folder


def _copy_cached(repo: Repo, model_md5: str, folder: Path) -> bool:
    """By the entry that DVC keeps of each stage that ran here: it names the model.json of these weights."""
    for entry in sorted(Path(repo.stage_cache.cache_dir).glob("*/*/*")):
        text = entry.read_text(encoding="utf-8", errors="replace")
        if model_md5 in text:
            md5s = {out["path"]: out.get("md5") for out in parse_yaml(text).get("outs", [])}
            if md5s.get(MODEL) == model_md5 and DESCRIPTION in md5s:
                cached = {path: Path(repo.cache.local.oid_to_path(md5s[path])) for path in (MODEL, DESCRIPTION)}
                if all(file.is_file() for file in cached.values()):
                    for path, file in cached.items():
                        shutil.copyfile(file, folder / Path(path).name)
                    return True
    return False


def _copy_of_experiment(repo: Repo, model_md5: str, root: Path, folder: Path) -> bool:
    for baseline, found in repo.experiments.ls(all_commits=True).items():
        for name, revision in found:
            outs = read_run_at(root, name, baseline, revision)
            if isinstance(outs, RunOutputs) and outs.model_md5 == model_md5:
                fs = DVCFileSystem(str(root), rev=revision)
                with suppress(OSError, DvcException):
                    for path in (MODEL, DESCRIPTION):
                        fs.get(path, str(folder / Path(path).name))
                    return True
    return False


def _repo(root: Path) -> Repo:
    try:
        return Repo(str(root))
    except DvcException as error:
        raise InputError(f"{root.resolve()} is no DVC repository ({error}); run at the root of your clone") from None


def read_workspace_run(root: Path) -> RunOutputs | UnfinishedRun:
    """The run whose outs lie in the workspace."""
    found = _read(lambda name: (root / name).read_text(encoding="utf-8"), None, None, root, None)
    if isinstance(found, UnfinishedRun):
        return found
    recorded = found.md5s
    for name in (name for name in RECORD if name in recorded):
        path = root / name
        if (
            not path.exists()
            or (compute_folder_md5(path) if path.is_dir() else compute_file_md5(path)) != recorded[name]
        ):
            return UnfinishedRun(WORKSPACE, f"{name} is not what dvc.lock says: dvc checkout, or dvc repro")
    return found


def _read(
    text_of: Callable[[str], str], experiment: str | None, baseline: str | None, root: Path, revision: str | None
) -> RunOutputs | UnfinishedRun:
    name = experiment or WORKSPACE
    try:
        lock, params = parse_yaml(text_of("dvc.lock")), parse_yaml(text_of("params.yaml"))
        stages = lock["stages"]
        outs = _outs(stages)
        if {*FINISHED} <= outs.keys() and all(_is_current(stage, outs, params) for stage in stages.values()):
            report, model = outs["reports/report.html"], outs[MODEL]
            return RunOutputs(experiment, baseline, params["dataset"], model, report, root, revision, params, lock)
    except (OSError, DvcException):
        return UnfinishedRun(name, "no dvc.lock or params.yaml")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return UnfinishedRun(name, "dvc.lock or params.yaml is not of this pipeline")
    return UnfinishedRun(name, "not run to its end")


def _outs(stages: dict[str, Any]) -> dict[str, Any]:
    """Path → md5 of all outs in a dvc.lock."""
    return {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}


def _is_current(stage: dict[str, Any], outs: dict[str, Any], params: dict[str, Any]) -> bool:
    """Whether a stage in dvc.lock ran on what the stages before it left, and on these params.

    After `dvc exp run … prepare` the later stages' entries are still there, but of the run before.
    """
    raw = f"data/raw/{params['dataset']}"  # no out as a whole: beside what was fetched it may hold the user's own
    data = (dep for dep in stage.get("deps", []) if not dep["path"].startswith(("src/", "data/catalog/")))
    recorded = stage.get("params", {}).get("params.yaml", {}).items()
    return all(dep["path"] == raw or outs.get(dep["path"]) == dep.get("md5") for dep in data) and all(
        reduce(lambda values, part: values[part], key.split("."), params) == value for key, value in recorded
    )
