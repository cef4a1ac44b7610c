"""Running a study: what is missing, in order, whatever fails or is killed on the way."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from losslab.experiments.outs import RunOutputs
from losslab.study.engine import EndedRun, Engine
from losslab.study.plan import Study, StudyRun, count_runs, plan_every_run, plan_runs
from losslab.study.results import choose_tuned_values, find_finished_runs, read_scores
from losslab.study.state import StudyState


@dataclass(frozen=True)
class StudyProgress:
    """After a run has ended: how far the study is."""

    ended: EndedRun
    val_miou: float | None
    test_miou: float | None
    over: int
    """Runs that are done or have failed."""
    of: int
    eta: float | None
    """Seconds, from the runs that have ended so far."""


@dataclass(frozen=True)
class StudyOutcome:
    done: int
    failed: int
    of: int


def run_study(
    study: Study,
    root: Path,
    state: StudyState,
    engine: Engine,
    jobs: int,
    told: Callable[[StudyProgress], None] = lambda progress: None,
    idle: Callable[[list[StudyRun]], None] = lambda working: None,
    preparing: Callable[[StudyRun], None] = lambda run: None,
) -> StudyOutcome:
    """Run what is missing, those that failed before too, until nothing can be done any more.

    Args:
        told: called when a run has ended.
        idle: called some times a second with the runs that go on.
        preparing: called when the data of a run are about to be made.
    """
    state.forget_failures()
    every = plan_every_run(study)
    found: dict[StudyRun, RunOutputs] = find_finished_runs(every, root)
    failed: dict[StudyRun, str] = {}
    data: dict[str, str | None] = {}
    seconds: list[float] = []
    of = count_runs(study)

    def planned_runs() -> list[StudyRun]:
        return plan_runs(study, choose_tuned_values(study, found, failed, root))

    def end(ended: EndedRun) -> None:
        val = test = None
        if ended.reason is None:
            found.update(find_finished_runs([ended.run], root))
            if ended.run not in found:
                ended = replace(ended, reason="it ended well, but left no whole experiment")
        if ended.reason is None:
            seconds.append(ended.seconds)
            val, test = (read_scores(found[ended.run], root)[split]["miou"] for split in ("val", "test"))
        else:
            failed[ended.run] = ended.reason
            state.failed(ended.run, ended.reason)
        over = sum(run in found or run in failed for run in planned_runs())
        left = of - over
        eta = sum(seconds) / len(seconds) * math.ceil(left / jobs) if seconds else None
        told(StudyProgress(ended, val, test, over, of, eta))

    while True:
        planned = planned_runs()
        working = engine.working()
        waiting = [run for run in planned if run not in found and run not in failed and run not in working]
        if not waiting and not working:
            return StudyOutcome(sum(run in found for run in planned), len(failed), of)
        while waiting and engine.free():
            run = waiting.pop(0)
            key = build_data_key(run)
            if engine.shares_data and key not in data:
                preparing(run)
                data[key] = engine.prepare(run).reason
            if (reason := data.get(key)) is not None:
                end(EndedRun(run, 0.0, reason))
            else:
                engine.start(run)
        idle(engine.working())
        for ended in engine.ended():
            end(ended)


def build_data_key(run: StudyRun) -> str:
    """Runs with the same one train on the same prepared data."""
    return json.dumps([run.params[key] for key in ("dataset", "download", "prepare")], sort_keys=True)
