"""Which runs of a study are done: told by DVC's experiments, of whatever commit, and by nothing else."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache as once
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.experiments.dvc_cache import DvcCache
from losslab.experiments.outs import RunOutputs, UnfinishedRun, list_experiments, read_run_at
from losslab.io.files import JsonObject
from losslab.io.git import read_file_at
from losslab.io.yaml import parse_yaml
from losslab.study import spec as cards
from losslab.study.plan import GridCell, Study, StudyRun, expand_cells, plan_every_run, plan_final_runs, plan_runs
from losslab.study.state import StudyState

METRICS = "reports/metrics.json"


def find_done_runs(study: Study, root: Path) -> dict[StudyRun, RunOutputs]:
    """The finished runs that are to be compared; where the study tunes, those with each cell's chosen value.

    A run is done when an experiment of its name has all outs of the pipeline and exactly its params.

    Raises:
        InputError: no Git or DVC repository; scores that tuning needs are not in DVC's cache.
    """
    every = plan_every_run(study)
    found = find_finished_runs(every, root)
    chosen = choose_tuned_values(study, found, StudyState(root, study.key).failures(every), root)
    return {run: found[run] for run in plan_final_runs(study, chosen) if run in found}


def find_finished_runs(runs: Iterable[StudyRun], root: Path) -> dict[StudyRun, RunOutputs]:
    """Those of the runs that are done."""
    wanted = {run.name: run for run in runs}
    found: dict[StudyRun, RunOutputs] = {}
    for name, baseline, revision in list_experiments(root):
        run = wanted.get(name)
        if run is None or run in found:
            continue
        outs = read_run_at(root, name, baseline, revision)
        if (
            not isinstance(outs, UnfinishedRun)
            and parse_yaml(read_file_at(root, revision, "params.yaml")) == run.params
        ):
            found[run] = outs
    return found


def choose_tuned_values(
    study: Study, found: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun], root: Path
) -> dict[GridCell, str]:
    """For each cell whose tuning has ended, the value with the best mIoU on val; of equal ones the card's first.

    A value whose run failed is out: a rate at which a loss diverges is not its best.
    """
    tuned = cards.find_tuned(study.card)
    chosen: dict[GridCell, str] = {}
    if tuned is None:
        return chosen
    first = [run for run in plan_every_run(study) if run.seed == study.card.seeds[0]]
    for cell in expand_cells(study):
        runs = [run for run in first if run.cell == cell]
        if all(run in found or run in failed for run in runs):
            scores = {run.tuned: _val_miou(found[run], root) for run in runs if run in found}
            if scores:
                best = max(scores, key=lambda value: scores[value])
                assert best is not None
                chosen[cell] = best
    return chosen


def read_scores(outs: RunOutputs, root: Path) -> JsonObject:
    """The content of a run's metrics.json. Raises InputError when neither DVC's cache nor its remote has it."""
    return _scores(root.resolve(), str(outs.experiment), str(outs.revision))


@once
def _scores(root: Path, experiment: str, revision: str) -> JsonObject:
    lock = parse_yaml(read_file_at(root, revision, "dvc.lock"))
    md5 = next(
        out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", []) if out["path"] == METRICS
    )
    content = DvcCache(root).read(md5)
    if content is None:
        raise InputError(f"{experiment}: {METRICS} is neither in DVC's cache nor in its remote")
    found: JsonObject = json.loads(content)
    return found


def _val_miou(outs: RunOutputs, root: Path) -> float:
    value = read_scores(outs, root)["val"]["miou"]
    return float("-inf") if value is None else float(value)


def read_progress(study: Study, root: Path) -> tuple[list[StudyRun], dict[StudyRun, RunOutputs], dict[StudyRun, Any]]:
    """The runs that are known to be needed; of these the done ones, and the failed ones."""
    every = plan_every_run(study)
    found = find_finished_runs(every, root)
    failed = {run: about for run, about in StudyState(root, study.key).failures(every).items() if run not in found}
    planned = plan_runs(study, choose_tuned_values(study, found, failed, root))
    return planned, {run: found[run] for run in planned if run in found}, failed


def describe_runs(study: Study, root: Path) -> list[dict[str, Any]]:
    """Of each run that is known to be needed: its name, cell, state, scores, and why it failed."""
    planned, done, failed = read_progress(study, root)
    state = StudyState(root, study.key)
    runner = state.runner()
    going = [] if runner is None else runner.get("runs", [])
    rows = []
    for run in planned:
        row: dict[str, Any] = {"name": run.name, "cell": dict(run.cell.labels), "tuned": run.tuned, "seed": run.seed}
        row |= {"state": "missing" if runner is None else "waiting"}
        row |= dict.fromkeys(("val_miou", "test_miou", "reason", "log", "progress"))
        if run in done:
            measured = read_scores(done[run], root)
            row |= {"state": "done", **{f"{split}_miou": measured[split]["miou"] for split in ("val", "test")}}
        elif run.name in going:
            row |= {"state": "running", "progress": find_epoch(state.log(run.name))}
        elif run in failed:
            row |= {"state": "failed", "reason": failed[run]["reason"], "log": failed[run]["log"]}
        rows.append(row)
    return rows


def find_epoch(log: Path) -> str | None:
    """The epoch that a run is in, by its log; None before the first."""
    try:
        found = re.findall(r"^epoch \d+/\d+", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found[-1] if found else None
