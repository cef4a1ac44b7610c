"""Runs of a study are done if DVC has experiments of their names and params, on any commit."""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from losslab.experiments.finished_runs import RunOutputs, list_experiments, read_run_at
from losslab.io.files import JsonObject
from losslab.study.plan import GridCell, Study, StudyRun, plan_final_runs, plan_runs
from losslab.study.state import StudyState


def find_done_runs(study: Study, root: Path) -> dict[StudyRun, RunOutputs]:
    """Return the finished runs to compare; where the study tunes, those with each cell's chosen value.

    A run is done when an experiment of its name has all outs of the pipeline and exactly its params.
    Raises InputError without a Git and DVC repository, or if scores that tuning needs are not in DVC's cache.
    """
    done = find_finished_runs(study.every_run, root)
    failed = StudyState(root, study.key).read_failures(study.every_run)
    final = plan_final_runs(study, choose_tuned_values(study, done, failed, root))
    return {run: done[run] for run in final if run in done}


def find_finished_runs(runs: Iterable[StudyRun], root: Path) -> dict[StudyRun, RunOutputs]:
    """Return those of the runs that are done, with their outs."""
    by_name, done = {run.name: run for run in runs}, dict[StudyRun, RunOutputs]()
    for name, baseline, revision in list_experiments(root):
        run = by_name.get(name)
        if run is None or run in done:
            continue
        outs = read_run_at(root, name, baseline, revision)
        if isinstance(outs, RunOutputs) and outs.params == run.params:
            done[run] = outs
    return done


def choose_tuned_values(
    study: Study, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun], root: Path
) -> dict[GridCell, str]:
    """Return the value with the best mIoU on val, for each cell whose tuning has ended; of equal ones the card's first.

    A value whose run failed is out: a rate at which a loss diverges is not its best.
    """
    chosen: dict[GridCell, str] = {}
    for cell in study.cells if study.card.tuned else []:
        runs = [run for run in study.every_run if run.seed == study.card.seeds[0] and run.cell == cell]
        if all(run in done or run in failed for run in runs):
            scores = {str(run.tuned): read_scores(done[run])["val"]["miou"] for run in runs if run in done}
            if scores:
                chosen[cell] = max(scores, key=lambda value: -math.inf if scores[value] is None else scores[value])
    return chosen


@cache
def read_scores(outs: RunOutputs) -> JsonObject:
    """Return the content of a run's metrics.json. Raises InputError if it is lost."""
    scores: JsonObject = json.loads(outs.read_metrics())
    return scores


def read_progress(
    study: Study, root: Path
) -> tuple[list[StudyRun], dict[StudyRun, RunOutputs], dict[StudyRun, JsonObject]]:
    """Return the runs that are known to be needed, and of these the done ones and the failed ones."""
    done = find_finished_runs(study.every_run, root)
    failures = StudyState(root, study.key).read_failures(study.every_run)
    failed = {run: about for run, about in failures.items() if run not in done}
    planned = plan_runs(study, choose_tuned_values(study, done, failed, root))
    return planned, {run: done[run] for run in planned if run in done}, failed


def describe_runs(study: Study, root: Path) -> list[dict[str, Any]]:
    """Return the name, cell, state and scores of each run that is known to be needed, and why it failed."""
    planned, done, failed = read_progress(study, root)
    state = StudyState(root, study.key)
    runner = state.find_runner()
    rows = []
    for run in planned:
        row: dict[str, Any] = {"name": run.name, "cell": dict(run.cell.labels), "tuned": run.tuned, "seed": run.seed}
        row |= {"state": "missing" if runner is None else "waiting"}
        row |= dict.fromkeys(("val_miou", "test_miou", "reason", "log", "progress"))
        if run in done:
            scores = read_scores(done[run])
            row |= {"state": "done", **{f"{split}_miou": scores[split]["miou"] for split in ("val", "test")}}
        elif run.name in (runner or {}).get("runs", []):
            row |= {"state": "running", "progress": find_epoch(state.find_log(run.name))}
        elif run in failed:
            row |= {"state": "failed", "reason": failed[run]["reason"], "log": failed[run]["log"]}
        rows.append(row)
    return rows


def find_epoch(log: Path) -> str | None:
    """Return the epoch that a run is in, by its log; None before the first."""
    try:
        epochs = re.findall(r"^epoch \d+/\d+", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except FileNotFoundError:
        return None
    return epochs[-1] if epochs else None
