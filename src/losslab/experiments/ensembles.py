"""Ensembles of finished runs, as experiments of their own: planned, run and loaded."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from dvc.utils.serialize import dumps_yaml

from losslab.errors import InputError
from losslab.experiments.clone import (
    SCORES,
    commit_run,
    make_clone,
    open_clone_folder,
    publish_run,
    run_dvc,
    run_dvc_repro,
    write_params,
)
from losslab.experiments.dvc_cache import DvcCache, find_cache_folder
from losslab.experiments.finished_runs import DESCRIPTION, MODEL, WORKSPACE, read_run_at
from losslab.experiments.member_files import open_members
from losslab.experiments.run_finder import RunFinder, RunRecord
from losslab.experiments.verify import find_changed_code
from losslab.formats import format_plural
from losslab.io.files import flatten, read_json, write_text
from losslab.io.git import find_prefix
from losslab.params import RECORDING, EnsembleParams
from losslab.tracking.store import LOCK

if TYPE_CHECKING:
    from torch import nn

CLONES = Path(".losslab/ensembles")
EXPERIMENT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*(?<!\.lock)")
"""Names that Git takes as the last part of a ref."""
Average = Literal["probabilities", "weights"]
TRAINING_STAGES = ("plugins", "download", "prepare", "train")
"""Stages whose outs an ensemble takes from its first member."""
UNTRAINED = ("download", "evaluate", "report", RECORDING)
"""Sections of params.yaml that change no net."""


@dataclass(frozen=True)
class PlannedEnsemble:
    """An ensemble as an experiment: the run that it begins from, its name and its params."""

    name: str
    first: RunRecord
    """The first member, whose training the experiment takes over."""
    params: dict[str, Any]


def plan_ensemble(records: Sequence[RunRecord], average: Average, name: str | None, root: Path) -> PlannedEnsemble:
    """Plan the experiment that scores finished runs as one.

    Args:
        records: the members; the experiment has the params, code and training of the first.
        average: what of the members is averaged.
        name: of the experiment; None: one made from those of the members.

    Raises:
        InputError: a run is an ensemble itself, its files are lost, the first one's code knows no ensembles, or no experiment
            can have that name.
    """
    if name is not None and not EXPERIMENT_NAME.fullmatch(name):
        raise InputError(f"--name {name}: use only letters, digits, _ and -, and single dots between them")
    first = records[0]
    if "ensemble" not in first.params.get("evaluate", {}):
        raise InputError(
            f"{first.name} is a run of an older losslab, whose evaluate knows no ensembles: name a newer run first, or run "
            "`losslab upgrade` and train it again"
        )
    if first.revision is None or first.baseline is None or first.name == WORKSPACE:
        raise InputError(
            f"{first.name}: the first run must be an experiment or a commit, whose code can be checked out"
        )
    ensemble = describe_ensemble(records, average, root)
    digest = hashlib.sha256(json.dumps(ensemble, sort_keys=True).encode()).hexdigest()[:6]
    kind = "soup" if average == "weights" else "ensemble"
    params = {**first.params, "evaluate": {**first.params["evaluate"], "ensemble": ensemble}}
    return PlannedEnsemble(name or f"{kind}-of-{len(records)}-{digest}", first, params)


def describe_ensemble(records: Sequence[RunRecord], average: Average, root: Path) -> dict[str, Any]:
    """Describe an ensemble of runs as `evaluate.ensemble` has it. Raises InputError as `plan_ensemble` does."""
    if len(records) < 2:
        raise InputError("an ensemble takes at least two runs")
    cache, leaves = DvcCache(root), [_list_trained_params(record.params) for record in records]
    keys = sorted({key for each in leaves for key in each})
    differing = [key for key in keys if len({json.dumps(each.get(key)) for each in leaves}) > 1]
    ensemble: dict[str, Any] = {
        "average": average,
        "members": [
            _describe_member(record, {key: own[key] for key in differing if key in own}, cache)
            for record, own in zip(records, leaves, strict=True)
        ],
    }
    for one, other in combinations(ensemble["members"], 2):
        name, is_same = one["run"], one["weights"] == other["weights"]
        if name == other["run"]:
            raise InputError(
                f"{name} is named twice"
                if is_same
                else f"two runs are called {name}; `dvc exp rename` gives one another name"
            )
        if is_same:
            raise InputError(f"{name} and {other['run']} are the same net, which would count twice; name one of them")
    return EnsembleParams.model_validate(ensemble).model_dump()


def get_ensemble(params: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `evaluate.ensemble` of a run's params; None without one, as in runs of an older losslab."""
    found: dict[str, Any] | None = params.get("evaluate", {}).get("ensemble")
    return found


def find_ensemble(planned: PlannedEnsemble, root: Path) -> bool:
    """Return whether a planned ensemble has run; InputError: another experiment has its name."""
    for name, baseline, revision in RunFinder(root).experiments:
        if name == planned.name:
            outs = read_run_at(root, name, baseline, revision)
            if dict(getattr(outs, "params", {})) != planned.params:
                raise InputError(f"there is another experiment called {name}: give this one another --name")
            return True
    return False


def run_ensemble(planned: PlannedEnsemble, root: Path) -> None:
    """Score a planned ensemble in a clone of its first member's code, and make it an experiment beside that one.

    Nothing is trained, and the workspace is left alone.
    Raises InputError if the member's outs are lost, its code was not committed, or evaluate or report fails.
    """
    first = planned.first
    lock, revision, baseline = first.lock, str(first.revision), str(first.baseline)
    if lock is None:
        raise InputError(f"{first.name}: its dvc.lock is not recorded")
    cache = DvcCache(root)
    stages = {stage: lock["stages"][stage] for stage in TRAINING_STAGES if stage in lock["stages"]}
    with open_clone_folder(root / CLONES) as (folder, held):
        project = make_clone(folder / "clone", root, root, revision, find_cache_folder(root), find_prefix(root))
        if changed := find_changed_code(lock, project, first.params):
            raise InputError(f"{first.name} ran with uncommitted changes in {changed}: commit them and run it again")
        write_params(project / "params.yaml", planned.params)
        write_text(project / LOCK, dumps_yaml(lock))
        run_dvc(project, "checkout", "-q", "--force", "--allow-missing", *stages)
        for path, md5 in ((out["path"], out["md5"]) for stage in stages.values() for out in stage.get("outs", [])):
            if not (project / path).exists() and not cache.link(md5, project / path):
                raise InputError(
                    f"{path} of {first.name} is neither in DVC's cache nor in its remote: run dvc exp pull, or train it again"
                )
        environment = {"DVC_ROOT": str(root.resolve()), "DVC_EXP_NAME": planned.name, "DVC_EXP_BASELINE_REV": baseline}
        # Single items: what came before is as the lock has it, and nothing is trained in any case.
        if run_dvc_repro(project, ["--single-item", "evaluate", "report"], environment, [held], own_group=True):
            raise InputError(f"{planned.name} could not be scored; the reason is above")
        commit_run(project, f"losslab: {planned.name}")
        publish_run(project, root, planned.name, baseline)


def load_ensemble(
    ensemble: Mapping[str, Any], prepared_md5: str | None, root: Path
) -> "tuple[nn.Module, dict[str, Any]]":
    """Load an ensemble as one net, with its description as in model.json.

    Args:
        ensemble: as in `evaluate.ensemble`.
        prepared_md5: of the prepared data whose images a mean of weights needs for its batch norms.

    Raises:
        InputError: files are lost, or the members do not fit together.
    """
    from losslab.data.loading.arrays import PreparedData
    from losslab.evaluation.ensemble import combine
    from losslab.evaluation.members import check_members, load_member

    checked = EnsembleParams.model_validate(ensemble)
    with open_members(checked, root) as folders, TemporaryDirectory() as temporary:
        members = [load_member(name, folder) for name, folder in folders.items()]
        check_members(members, members[0].description["run"]["dataset"])
        data = Path(temporary) / "data"
        if checked.average == "weights" and (prepared_md5 is None or not DvcCache(root).link(prepared_md5, data)):
            raise InputError(
                "the prepared data of this ensemble, over which batch norms are estimated, are neither in DVC's cache nor in its "
                "remote: run dvc exp pull, or dvc repro prepare"
            )
        return combine(members, checked.average, PreparedData(data))


@dataclass(frozen=True, kw_only=True)
class OpenedEnsemble:
    """Runs as one net, ready for a predictor."""

    what: str
    members: list[str]
    net: "nn.Module"
    description: dict[str, Any]
    threshold: float | None
    """Threshold of two classes that was chosen on val; None where the runs were not scored together."""


def open_ensemble(names: Sequence[str], root: Path) -> OpenedEnsemble:
    """Load an experiment of `losslab ensemble`, or several runs, whose probabilities are then averaged.

    Raises InputError if it is one run and no ensemble, or as `describe_ensemble` and `load_ensemble` do.
    """
    finder = RunFinder(root)
    records = [finder.find(name) for name in finder.expand(names)]
    threshold = None
    if len(records) == 1:
        ensemble = get_ensemble(records[0].params)
        if ensemble is None:
            raise InputError(
                f"{records[0].name} is no ensemble: name an experiment of `losslab ensemble`, or several runs"
            )
        with records[0].files() as folder:
            threshold = read_json(folder / SCORES)["val"].get("threshold")
    else:
        ensemble = describe_ensemble(records, "probabilities", root)
    net, description = load_ensemble(ensemble, find_prepared(records[0]), root)
    return OpenedEnsemble(
        what=describe_members(ensemble),
        members=[member["run"] for member in ensemble["members"]],
        net=net,
        description=description,
        threshold=threshold,
    )


def find_prepared(record: RunRecord) -> str | None:
    """Find the md5 of the prepared data of a run."""
    return record.md5s.get(f"data/prepared/{record.dataset}")


def _describe_member(record: RunRecord, settings: dict[str, Any], cache: DvcCache) -> dict[str, Any]:
    if get_ensemble(record.params) is not None:
        raise InputError(f"{record.name} is an ensemble itself; name its members")
    prepared = find_prepared(record)
    images = (cache.read_entries(prepared) or {}).get("index.csv") if prepared is not None else None
    if images is None:
        raise InputError(
            f"{record.name}: its prepared data, which tell what it was trained on, are neither in DVC's cache nor in its "
            "remote: run dvc exp pull, or dvc fetch"
        )
    md5s = record.md5s
    named = {"run": record.name, "weights": record.model_md5, "description": md5s[DESCRIPTION], "images": images}
    lost = [path for path in (MODEL, DESCRIPTION) if not cache.has(md5s[path]) and cache.read(md5s[path]) is None]
    if lost:
        raise InputError(f"{record.name}: {lost[0]} is neither in DVC's cache nor in its remote: run dvc exp pull")
    return {**named, "settings": settings}


def _list_trained_params(params: Mapping[str, Any]) -> dict[str, Any]:
    return flatten({key: value for key, value in params.items() if key not in UNTRAINED})


def describe_members(ensemble: Mapping[str, Any]) -> str:
    """Describe an ensemble in a few words: `ensemble of 5 nets`, or `soup of 5 nets`."""
    kind = "ensemble" if ensemble["average"] == "probabilities" else "soup"
    return f"{kind} of {format_plural(len(ensemble['members']), 'net')}"
