"""Running a study: what is missing, in order, whatever fails or is killed on the way."""

import json
import math
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from losslab.errors import InputError
from losslab.experiments.finished_runs import RunOutputs
from losslab.study.engine import EndedRun, Engine
from losslab.study.plan import Study, StudyRun, plan_runs
from losslab.study.results import find_finished_runs, follow_searches, read_scores
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
    most: int
    """Greatest number of runs that may be needed; `total`, if that is known."""
    eta_s: float | None
    """Seconds until `total` runs have ended, estimated from those that have; None before the first."""


@dataclass(frozen=True)
class StudyOutcome:
    """Numbers of runs when nothing more can be run."""

    done: int
    failed: int
    total: int
    is_out_of_budget: bool = False
    """Whether runs are missing because the budget is spent."""


@dataclass(frozen=True)
class Budget:
    """What one command may spend: when it is spent, no further run begins; those that are going on end."""

    seconds: float = math.inf
    runs: float = math.inf
    began: float = field(default_factory=time.monotonic)

    def is_spent(self, begun: int) -> bool:
        """Return whether it is spent when so many runs have begun."""
        return begun >= self.runs or time.monotonic() - self.began >= self.seconds


def parse_budget(text: str) -> Budget:
    """Parse a duration, such as 90m, 3h or 2d, or a number of runs. Raises InputError if it is neither.

    >>> parse_budget("1.5h").seconds, parse_budget("40").runs
    (5400.0, 40.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])|(\d+)", text)
    amount = float(match[1] or match[3]) if match is not None else 0.0
    if match is None or not amount:
        raise InputError(f"--budget {text}: must be a duration such as 90m, 3h or 2d, or a number of runs")
    unit = match[2]
    return (
        Budget(runs=amount) if unit is None else Budget(seconds=amount * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit])
    )


class Planner(Protocol):
    """Decides which runs a study needs."""

    def plan(self, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]) -> list[StudyRun]:
        """Return the runs that are needed, as far as is known, in the order in which they should begin."""

    def count_runs(self) -> tuple[int, int]:
        """Count the runs that it takes at least and at most."""

    def advance(self, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]) -> bool:
        """Plan further when all planned runs have ended; return whether there are more."""


class FixedGrid:
    """Planner of the card's grid: every cell with every seed."""

    def __init__(self, study: Study) -> None:
        self.study = study

    def plan(self, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]) -> list[StudyRun]:
        return plan_runs(self.study, follow_searches(self.study, done, failed))

    def count_runs(self) -> tuple[int, int]:
        return self.study.number_of_runs, self.study.number_of_runs

    def advance(self, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]) -> bool:
        return False


def run_study(
    study: Study,
    root: Path,
    state: StudyState,
    engine: Engine,
    jobs: int,
    on_end: Callable[[StudyProgress], None] = lambda progress: None,
    on_idle: Callable[[list[StudyRun]], None] = lambda working: None,
    on_prepare: Callable[[StudyRun], None] = lambda run: None,
    planner: Planner | None = None,
    budget: Budget | None = None,
) -> StudyOutcome:
    """Run what is missing, including runs that failed before, until nothing more can be run, or the budget is spent.

    Args:
        on_end: called when a run has ended.
        on_idle: called a few times a second with the runs that are going on.
        on_prepare: called before the data of a run are made.
        planner: decides which runs are needed; None: those of the card's grid.
        budget: what may be spent; None: whatever it takes.
    """
    state.forget_failures()
    planner, budget = planner or FixedGrid(study), budget or Budget()
    done: dict[StudyRun, RunOutputs] = {}
    failed: dict[StudyRun, str] = {}
    data_failures: dict[str, str | None] = {}
    seconds: list[float] = []
    sought: set[StudyRun] = set()
    begun = 0

    def plan_known_runs() -> list[StudyRun]:
        """Plan, and find the planned runs that experiments have, until no more are found."""
        while True:
            planned = planner.plan(done, failed)
            new = [run for run in planned if run not in sought]
            sought.update(new)
            if not new or not (found := find_finished_runs(new, root)):
                return planned
            done.update(found)

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
        finished, (total, most) = sum(run in done or run in failed for run in plan_known_runs()), planner.count_runs()
        eta_s = sum(seconds) / len(seconds) * math.ceil((total - finished) / jobs) if seconds else None
        numbers = {"finished": finished, "total": total, "most": most}
        on_end(StudyProgress(ended=ended, val_miou=val, test_miou=test, **numbers, eta_s=eta_s))

    while True:
        planned, working = plan_known_runs(), engine.list_working()
        waiting = [run for run in planned if run not in done and run not in failed and run not in working]
        is_spent = budget.is_spent(begun)
        if not working and (is_spent or not waiting):
            if not waiting and planner.advance(done, failed):
                continue
            number = sum(run in done for run in planned)
            return StudyOutcome(number, len(failed), planner.count_runs()[0], is_spent and bool(waiting))
        while waiting and engine.has_free_slot() and not budget.is_spent(begun):
            run = waiting.pop(0)
            begun += 1
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
