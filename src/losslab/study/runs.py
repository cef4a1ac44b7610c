"""Which runs of a study are done: told by DVC's experiments, of whatever commit, and by nothing else."""

import json
import re
import subprocess
from collections.abc import Collection, Iterable, Mapping
from functools import cache as once
from pathlib import Path

from losslab.dvc_cache import Cache
from losslab.errors import InputError
from losslab.experiments import LeftOut, Outs, run_at
from losslab.files import JsonObject
from losslab.schema import parse_yaml
from losslab.study import card as cards
from losslab.study.plan import Cell, Run, Study, cells, every_run, final_runs
from losslab.study.state import State

METRICS = "reports/metrics.json"


def done_runs(study: Study, root: Path) -> dict[Run, Outs]:
    """The finished runs that are to be compared; where the study tunes, those with each cell's chosen value.

    A run is done when an experiment of its name has all outs of the pipeline and exactly its params.

    Raises:
        InputError: no Git or DVC repository; scores that tuning needs are not in DVC's cache.
    """
    every = every_run(study)
    found = found_runs(every, root)
    chosen = chosen_values(study, found, State(root, study.key).failures(every), root)
    return {run: found[run] for run in final_runs(study, chosen) if run in found}


def found_runs(runs: Iterable[Run], root: Path) -> dict[Run, Outs]:
    """Those of the runs that are done."""
    wanted = {run.name: run for run in runs}
    found: dict[Run, Outs] = {}
    for name, baseline, revision in experiments(root):
        run = wanted.get(name)
        if run is None or run in found:
            continue
        outs = run_at(root, name, baseline, revision)
        if not isinstance(outs, LeftOut) and parse_yaml(shown(root, revision, "params.yaml")) == run.params:
            found[run] = outs
    return found


def experiments(root: Path) -> list[tuple[str, str, str]]:
    """Name, baseline and commit of all of DVC's experiments."""
    listed = _git(root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/exps/")
    found = (re.fullmatch(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(\S+) (\w+)", line) for line in listed.splitlines())
    return [(match[3], match[1] + match[2], match[4]) for match in found if match]


def chosen_values(study: Study, found: Mapping[Run, Outs], failed: Collection[Run], root: Path) -> dict[Cell, str]:
    """For each cell whose tuning has ended, the value with the best mIoU on val; of equal ones the card's first.

    A value whose run failed is out: a rate at which a loss diverges is not its best.
    """
    tuned = cards.tuned_of(study.card)
    chosen: dict[Cell, str] = {}
    if tuned is None:
        return chosen
    first = [run for run in every_run(study) if run.seed == study.card.seeds[0]]
    for cell in cells(study):
        runs = [run for run in first if run.cell == cell]
        if all(run in found or run in failed for run in runs):
            scores = {run.tuned: _val_miou(found[run], root) for run in runs if run in found}
            if scores:
                best = max(scores, key=lambda value: scores[value])
                assert best is not None
                chosen[cell] = best
    return chosen


def scores(outs: Outs, root: Path) -> JsonObject:
    """The content of a run's metrics.json. Raises InputError when neither DVC's cache nor its remote has it."""
    return _scores(root.resolve(), str(outs.experiment), str(outs.revision))


@once
def _scores(root: Path, experiment: str, revision: str) -> JsonObject:
    lock = parse_yaml(shown(root, revision, "dvc.lock"))
    md5 = next(
        out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", []) if out["path"] == METRICS
    )
    content = Cache(root).read(md5)
    if content is None:
        raise InputError(f"{experiment}: {METRICS} is neither in DVC's cache nor in its remote")
    found: JsonObject = json.loads(content)
    return found


def shown(root: Path, revision: str, path: str) -> str:
    """A file at a commit."""
    return _git(root, "show", f"{revision}:{path}")


def _val_miou(outs: Outs, root: Path) -> float:
    value = scores(outs, root)["val"]["miou"]
    return float("-inf") if value is None else float(value)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InputError(f"git {arguments[0]}: {told[0] if told else f'exit code {done.returncode}'}")
    return done.stdout.decode("utf-8", "replace")


def head(root: Path) -> str:
    """The commit that runs begin from."""
    return _git(root, "rev-parse", "HEAD").strip()
