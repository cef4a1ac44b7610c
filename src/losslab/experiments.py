"""The outs of runs that DVC keeps: those of the workspace, and of every experiment in its cache."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from dvc.repo import Repo

from losslab.errors import InputError
from losslab.files import file_md5, folder_md5
from losslab.schema import parse_yaml

MODEL, DESCRIPTION = "models/model.safetensors", "models/model.json"
RECORD = (
    "params.yaml",
    DESCRIPTION,
    "reports/history.csv",
    "reports/metrics.json",
    "reports/report.html",
    "reports/figures",
)
"""What of a run is needed to show it elsewhere: not the weights, not the data."""
WORKSPACE = "workspace"


@dataclass(frozen=True)
class Outs:
    """A finished run, by what dvc.lock says of it."""

    experiment: str | None
    """The DVC experiment's name; None for the workspace."""
    baseline: str | None
    dataset: str
    model_md5: str
    report_md5: str
    root: Path
    revision: str | None

    def files(self) -> AbstractContextManager[Path]:
        """A folder that holds RECORD. Raises InputError when the cache does not have them any more."""
        return nullcontext(self.root) if self.revision is None else self._checked_out(self.revision)

    @contextmanager
    def _checked_out(self, revision: str) -> Iterator[Path]:
        with TemporaryDirectory() as name:
            folder, fs = Path(name), DVCFileSystem(str(self.root), rev=revision)
            for path in RECORD:
                (folder / path).parent.mkdir(exist_ok=True)
                try:
                    fs.get(path, str(folder / path), recursive=path == "reports/figures")
                except (OSError, DvcException) as error:
                    raise InputError(f"{self.experiment}: {path} is not in DVC's cache: {error}") from None
            yield folder


@dataclass(frozen=True)
class LeftOut:
    """What is no finished run, and why."""

    name: str
    reason: str


def runs_of(root: Path) -> Iterator[Outs | LeftOut]:
    """The run in the workspace, then those of all experiments, of all baselines.

    Raises:
        InputError: no DVC repository.
    """
    with _repo(root) as repo:
        yield _workspace(root)
        for baseline, found in repo.experiments.ls(all_commits=True).items():
            for name, revision in found:
                fs = DVCFileSystem(str(root), rev=revision)
                yield _read(fs.read_text, name, baseline, root, revision)


@contextmanager
def model_of(model_md5: str, root: Path) -> Iterator[Path]:
    """A folder with the weights of this md5 and their model.json: the workspace's, or of DVC's cache, or of an experiment
    whose outs lie in a remote.

    Raises:
        InputError: they are nowhere any more, or no DVC repository.
    """
    weights = root / MODEL
    if weights.is_file() and (root / DESCRIPTION).is_file() and file_md5(weights) == model_md5:
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
            fs = DVCFileSystem(str(root), rev=revision)
            outs = _read(fs.read_text, name, baseline, root, revision)
            if isinstance(outs, Outs) and outs.model_md5 == model_md5:
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


def _workspace(root: Path) -> Outs | LeftOut:
    found = _read(lambda name: (root / name).read_text(encoding="utf-8"), None, None, root, None)
    if isinstance(found, LeftOut):
        return found
    recorded = _outs(parse_yaml((root / "dvc.lock").read_text(encoding="utf-8"))["stages"])
    for name in (name for name in RECORD if name != "params.yaml"):
        path = root / name
        if not path.exists() or (folder_md5(path) if path.is_dir() else file_md5(path)) != recorded[name]:
            return LeftOut(WORKSPACE, f"{name} is not what dvc.lock says: dvc checkout, or dvc repro")
    return found


def _read(
    text_of: Callable[[str], str], experiment: str | None, baseline: str | None, root: Path, revision: str | None
) -> Outs | LeftOut:
    name = experiment or WORKSPACE
    try:
        stages, params = parse_yaml(text_of("dvc.lock"))["stages"], parse_yaml(text_of("params.yaml"))
        outs = _outs(stages)
        if {*RECORD[1:], MODEL} <= outs.keys() and all(_is_current(stage, outs, params) for stage in stages.values()):
            report, model = outs["reports/report.html"], outs[MODEL]
            return Outs(experiment, baseline, params["dataset"], model, report, root, revision)
    except (OSError, DvcException):
        return LeftOut(name, "no dvc.lock or params.yaml")
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        return LeftOut(name, "dvc.lock or params.yaml is not of this pipeline")
    return LeftOut(name, "not run to its end")


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
