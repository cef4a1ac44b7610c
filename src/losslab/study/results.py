"""Runs of a study are done if DVC has experiments of their names and params, on any commit."""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from losslab.experiments.finished_runs import RunOutputs, list_experiments, read_experiments
from losslab.io.files import JsonObject
from losslab.params import RECORDING
from losslab.study.plan import Search, Study, StudyRun, plan_runs
from losslab.study.slurm_queue import list_queued_runs
from losslab.study.state import StudyState


class ProjectExperiments:
    """The DVC experiments that a project has now, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries = list_experiments(root)
        self.outs: dict[str, list[RunOutputs]] = {}

    def find(self, runs: Iterable[StudyRun]) -> dict[StudyRun, RunOutputs]:
        """Return those of the runs that are done: an experiment of their name has all outs and exactly their params."""
        wanted = list(runs)
        new = {run.name: list[RunOutputs]() for run in wanted if run.name not in self.outs}
        for outs in read_experiments([entry for entry in self.entries if entry[0] in new], self.root):
            if isinstance(outs, RunOutputs) and outs.experiment is not None:
                new[outs.experiment].append(outs)
        self.outs |= new
        found = {
            run: [outs for outs in self.outs[run.name] if _select(outs.params) == _select(run.params)] for run in wanted
        }
        return {run: matching[0] for run, matching in found.items() if matching}


def _select(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != RECORDING}


def find_finished_runs(runs: Iterable[StudyRun], root: Path) -> dict[StudyRun, RunOutputs]:
    """Return those of the runs that are done, with their outs."""
    return ProjectExperiments(root).find(runs)


def follow_searches(study: Study, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]) -> list[Search]:
    """Return the searches of all cells as far as these runs bring them.

    A trial whose run failed is worse than any other: a rate at which a loss diverges is not its best.
    """

    def find_score(run: StudyRun) -> float | None:
        if run not in done:
            return -math.inf if run in failed else None
        score: float | None = read_scores(done[run])["val"]["miou"]
        return -math.inf if score is None else score

    return study.follow_searches(find_score)


@cache
def read_scores(outs: RunOutputs) -> JsonObject:
    """Return the content of a run's metrics.json. Raises InputError if it is lost."""
    scores: JsonObject = json.loads(outs.read_metrics())
    return scores


def read_progress(
    study: Study, root: Path
) -> tuple[list[StudyRun], dict[StudyRun, RunOutputs], dict[StudyRun, JsonObject]]:
    """Return the runs that are known to be needed, and of these the done ones and the failed ones.

    Raises InputError without a Git and DVC repository, or if scores that tuning needs are not in DVC's cache.
    """
    experiments, state = ProjectExperiments(root), StudyState(root, study.key)
    done, failed = dict[StudyRun, RunOutputs](), dict[StudyRun, JsonObject]()
    while True:  # what a search tries next is known once the trials before have ended
        planned = plan_runs(study, follow_searches(study, done, failed))
        unknown = [run for run in planned if run not in done and run not in failed]
        found = experiments.find(unknown)
        lost = state.read_failures(run for run in unknown if run not in found)
        if not found and not lost:
            return planned, done, failed
        done |= found
        failed |= lost


def describe_runs(study: Study, root: Path) -> list[dict[str, Any]]:
    """Return the name, cell, state and scores of each run that is known to be needed, and why it failed."""
    planned, done, failed = read_progress(study, root)
    state = StudyState(root, study.key)
    runner, queued = state.find_runner(), list_queued_runs(state.folder)
    rows = []
    for run in planned:
        row: dict[str, Any] = describe_run(run)
        row |= {"state": "missing" if runner is None else "waiting"}
        row |= dict.fromkeys(("val_miou", "test_miou", "reason", "log", "progress"))
        if run in done:
            scores = read_scores(done[run])
            row |= {"state": "done", **{f"{split}_miou": scores[split]["miou"] for split in ("val", "test")}}
        elif run.name in queued and queued[run.name][1] != "RUNNING":
            job, job_state = queued[run.name]
            row |= {"state": "waiting", "progress": f"job {job} is {job_state.lower()}"}
        elif run.name in queued or run.name in (runner or {}).get("runs", []):
            row |= {"state": "running", "progress": find_epoch(state.find_log(run.name))}
        elif run in failed:
            row |= {"state": "failed", "reason": failed[run]["reason"], "log": failed[run]["log"]}
        rows.append(row)
    return rows


def describe_run(run: StudyRun) -> dict[str, Any]:
    """Return the name, cell, seed and tuned values of a run."""
    trial = run.tuned
    tuned, values = (None, {}) if trial is None else (trial.name, trial.values)
    return {"name": run.name, "cell": dict(run.cell.labels), "tuned": tuned, "values": values, "seed": run.seed}


def find_epoch(log: Path) -> str | None:
    """Return the epoch that a run is in, by its log; None before the first."""
    try:
        epochs = re.findall(r"^epoch \d+/\d+", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except FileNotFoundError:
        return None
    return epochs[-1] if epochs else None
