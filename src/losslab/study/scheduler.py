"""Running a study: what is missing, in order, whatever fails or is killed on the way."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from losslab.study.engine import EndedRun, Engine
from losslab.study.plan import Study, StudyRun, plan_runs
from losslab.study.results import choose_tuned_values, find_finished_runs, read_scores
from losslab.study.state import StudyState


@dataclass(frozen=True, kw_only=True)
class StudyProgress:
    """How far a study is when a run has ended."""

    ended: EndedRun
    val_miou: float | None
    test_miou: float | None
    finished: int
    """Number of runs that are done or have failed."""
    total: int
    eta_s: float | None
    """Seconds to go, estimated from the runs that have ended; None before the first."""


@dataclass(frozen=True)
class StudyOutcome:
    """Numbers of runs when nothing more can be run."""

    done: int
    failed: int
    total: int


def run_study(
    study: Study,
    root: Path,
    state: StudyState,
    engine: Engine,
    jobs: int,
    on_end: Callable[[StudyProgress], None] = lambda progress: None,
    on_idle: Callable[[list[StudyRun]], None] = lambda working: None,
    on_prepare: Callable[[StudyRun], None] = lambda run: None,
) -> StudyOutcome:
    """Run what is missing, including runs that failed before, until nothing more can be run.

    Args:
        on_end: called when a run has ended.
        on_idle: called a few times a second with the runs that are going on.
        on_prepare: called before the data of a run are made.
    """
    state.forget_failures()
    done = find_finished_runs(study.every_run, root)
    failed: dict[StudyRun, str] = {}
    data_failures: dict[str, str | None] = {}
    seconds: list[float] = []
    total = study.number_of_runs

    def plan_known_runs() -> list[StudyRun]:
        return plan_runs(study, choose_tuned_values(study, done, failed, root))

    def end(ended: EndedRun) -> None:
        val = test = None
        if ended.reason is None:
            done.update(find_finished_runs([ended.run], root))
            if ended.run not in done:
                ended = replace(ended, reason="it ended without an error, but left no complete experiment")
        if ended.reason is None:
            seconds.append(ended.seconds)
            val, test = (read_scores(done[ended.run])[split]["miou"] for split in ("val", "test"))
        else:
            failed[ended.run] = ended.reason
            state.record_failure(ended.run, ended.reason)
        finished = sum(run in done or run in failed for run in plan_known_runs())
        eta_s = sum(seconds) / len(seconds) * math.ceil((total - finished) / jobs) if seconds else None
        on_end(StudyProgress(ended=ended, val_miou=val, test_miou=test, finished=finished, total=total, eta_s=eta_s))

    while True:
        planned, working = plan_known_runs(), engine.list_working()
        waiting = [run for run in planned if run not in done and run not in failed and run not in working]
        if not waiting and not working:
            return StudyOutcome(sum(run in done for run in planned), len(failed), total)
        while waiting and engine.has_free_slot():
            run = waiting.pop(0)
            # What the prepared data depend on: runs with the same key share them.
            key = json.dumps([run.params[part] for part in ("dataset", "download", "prepare")], sort_keys=True)
            if engine.shares_data and key not in data_failures:
                on_prepare(run)
                data_failures[key] = engine.prepare(run).reason
            if (reason := data_failures.get(key)) is not None:
                end(EndedRun(run, 0.0, reason))
            else:
                engine.start(run)
        on_idle(engine.list_working())
        for ended in engine.collect_ended():
            end(ended)
