"""Planner of a study that goes on until every pair is decided: seeds are added to the cells of pairs that are open."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from losslab.errors import InputError
from losslab.experiments.finished_runs import RunOutputs
from losslab.formats import format_plural
from losslab.study.look_record import (
    DecisionPlan,
    Look,
    SeenPair,
    add_known_seeds,
    read_record,
    write_record,
)
from losslab.study.plan import GridCell, Study, StudyRun, plan_final_runs, plan_runs
from losslab.study.results import follow_searches

DEFAULT_METRIC, DEFAULT_POINTS, DEFAULT_LAST = "miou", 1.0, 12
MAX_PAIRS_NAMED = 3
"""Pairs that a line names; more are counted."""


@dataclass(frozen=True)
class Findings:
    """What a look finds in the finished runs."""

    seeds: Mapping[str, int]
    """Name of the cell → its finished runs."""
    pairs: list[SeenPair]
    """All pairs, the most promising first among those that are open."""
    wanted: list[GridCell]
    """Cells of open pairs, the most promising first."""


Judge = Callable[[Mapping[StudyRun, RunOutputs]], Findings]
"""Judges the finished runs of a study."""


class UntilDecided:
    """Planner of rounds: when all planned runs have ended, a look; then one more seed for each cell of an open pair.

    Args:
        study: the study as its card has it.
        plan: what it was begun with.
        judge: judges the finished runs.
        on_look: called after each look with lines that say what it saw.
    """

    def __init__(
        self,
        study: Study,
        root: Path,
        plan: DecisionPlan,
        judge: Judge,
        on_look: Callable[[list[str]], None] = lambda lines: None,
    ) -> None:
        self.root, self.decision, self.judge, self.on_look = root, plan, judge, on_look
        record = read_record(study, root)
        self.study = add_known_seeds(study, root)[0] if record is not None else study
        self.looks = list(record.looks) if record is not None else []
        self.growing = {*study.cells}
        """Cells that may get more seeds, as far as is known."""

    def plan(self, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]) -> list[StudyRun]:
        """Return the runs of this round and those before, the most promising first."""
        planned = plan_runs(self.study, follow_searches(self.study, done, failed))
        ranks = {cell: rank for rank, cell in enumerate(self.study.extra_seeds)}
        added = {run: rank for run in planned if (rank := self._find_round(run)) > 0}
        return sorted(planned, key=lambda run: (added.get(run, 0), ranks[run.cell] if run in added else 0))

    def count_runs(self) -> tuple[int, int]:
        """Count the runs that it takes at least and at most."""
        least = self.study.number_of_runs
        return least, least + sum(self.decision.last - len(self.study.list_seeds(cell)) for cell in self.growing)

    def advance(self, done: Mapping[StudyRun, RunOutputs], failed: Collection[StudyRun]) -> bool:
        """Look at the finished runs, and add seeds to the cells of open pairs; return whether there are any."""
        final = plan_final_runs(self.study, follow_searches(self.study, done, failed))
        findings = self.judge({run: done[run] for run in final if run in done})
        runs = sum(run in done for run in final)
        if self.looks and (self.looks[-1].runs, self.looks[-1].seeds) == (runs, findings.seeds):
            self.looks.pop()  # the study was resumed after this look
        look = Look(
            number=len(self.looks) + 1,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            seeds=dict(findings.seeds),
            runs=runs,
            pairs=findings.pairs,
        )
        self.looks.append(look)
        before = self.study
        growing = [cell for cell in findings.wanted if len(before.list_seeds(cell)) < self.decision.last]
        extra = {cell: before.extra_seeds.get(cell, 0) + 1 for cell in growing}
        self.study = replace(before, extra_seeds=extra | {**before.extra_seeds, **extra})
        self.growing = set(growing)
        write_record(self.study, self.root, self.decision, self.looks)
        lost = [run for run in final if run in failed]
        self.on_look(describe_look(look, [self.study.list_seeds(cell)[-1] for cell in growing], lost))
        return bool(growing)

    def describe_end(self, done: int) -> str:
        """Say what was found, and how many runs it took: those that are done."""
        if not self.looks:
            runs = self.study.number_of_runs
            return f"not judged yet: {self.study.key} is looked at when all of its first {runs} runs have ended"
        cells, seeds = len(self.study.cells), self.decision.last
        fixed = replace(
            self.study, extra_seeds=dict.fromkeys(self.study.cells, seeds - self.decision.first)
        ).number_of_runs
        return (
            f"{describe_last_look(self.looks)}; {format_plural(done, 'run')}, where all {cells} cells with "
            f"{seeds} seeds take {fixed}"
        )

    def _find_round(self, run: StudyRun) -> int:
        return self.study.list_seeds(run.cell).index(run.seed) + 1 - len(self.study.card.seeds)


def make_plan(study: Study, root: Path, last: int | None, points: float | None, metric: str | None) -> DecisionPlan:
    """Make the plan of a study from options, or read the one that it was begun with; None: an option is not given.

    Raises InputError if an option is wrong, or is not what the study was begun with.
    """
    record, place = read_record(study, root), f"studies/{study.name}.yaml"
    begun = record.plan if record is not None else None
    plan = DecisionPlan(
        metric=metric or (begun.metric if begun else DEFAULT_METRIC),
        points=points if points is not None else begun.points if begun else DEFAULT_POINTS,
        seeds=study.card.seeds,
        last=last if last is not None else begun.last if begun else max(DEFAULT_LAST, len(study.card.seeds)),
    )
    if begun is not None:
        for what, asked, first in (
            ("--max-seeds", plan.last, begun.last),
            ("--points", f"{plan.points:g}", f"{begun.points:g}"),
            ("--metric", plan.metric, begun.metric),
            (f"seeds of {place}", plan.seeds, begun.seeds),
        ):
            if asked != first:
                raise InputError(
                    f"{what} {asked}: {study.key} has been looked at with {first}, and false claims stay at 5 % only if that "
                    f"stays; go back to {first}, or begin anew with --as NAME"
                )
    if len(study.cells) < 2:
        raise InputError(f"{place}: there is only one cell, so nothing to decide; add another")
    if not plan.points > 0:
        raise InputError(f"--points {plan.points:g}: must be above 0")
    if plan.last < plan.first:
        raise InputError(f"--max-seeds {plan.last}: {place} has {plan.first} seeds already; give at least as many")
    known, _ = add_known_seeds(study, root)
    most = max(len(known.list_seeds(cell)) for cell in known.cells)
    if plan.last < most:
        raise InputError(
            f"--max-seeds {plan.last}: there are experiments of {study.key} with {most} seeds; give at least as many"
        )
    return plan


def describe_last_look(looks: list[Look]) -> str:
    """Say how many looks there were, and what the last one saw."""
    return f"{format_plural(len(looks), 'look')}: {count_pairs(looks[-1])}"


def describe_look(look: Look, added: list[int], lost: list[StudyRun]) -> list[str]:
    """Say in a line or two what a look saw, and which seeds are added, one for each cell that gets one."""
    seeds = " to ".join(map(str, dict.fromkeys((min(look.seeds.values()), max(look.seeds.values())))))
    line = f"look {look.number} ({seeds} seeds): {count_pairs(look)}"
    if added:
        names = f"seed {added[0]}" if len(set(added)) == 1 else "a seed"
        line += f"; adding {names} to {format_plural(len(added), 'cell')}"
    elif look.count("open"):
        line += "; no more seeds, as --max-seeds is reached"
    lines = [line]
    if lost:
        lines.append(f"without {', '.join(run.name for run in lost)}, which failed")
    if limited := [pair for pair in look.pairs if pair.state == "limited"]:
        lines.append(
            f"more seeds would hardly decide {name_pairs(limited)}: test images are too few, or seeds differ too much"
        )
    if short := [pair for pair in look.pairs if pair.state == "short"]:
        lines.append(f"too few finished runs for {name_pairs(short)}: see losslab study status")
    return lines


def count_pairs(look: Look) -> str:
    """Say how many pairs are decided, equivalent and open, and which are open.

    >>> pair = SeenPair(question="", better="a", worse="b", state="open", gap=0.1, low=None, high=None, p=None)
    >>> count_pairs(Look(number=1, date="", seeds={"a": 3, "b": 3}, runs=6, pairs=[pair]))
    '0 of 1 pair differ, 0 equivalent, 1 open: a against b'
    """
    left = [pair for pair in look.pairs if pair.state not in ("real", "equivalent")]
    line = f"{look.count('real')} of {format_plural(len(look.pairs), 'pair')} differ, {look.count('equivalent')} equivalent"
    return f"{line}, {len(left)} open" + (f": {name_pairs(left)}" if left else "")


def name_pairs(pairs: list[SeenPair]) -> str:
    """Name pairs, the first few of many."""
    shown = ", ".join(map(str, pairs[:MAX_PAIRS_NAMED]))
    return shown + (f" and {len(pairs) - MAX_PAIRS_NAMED} more" if len(pairs) > MAX_PAIRS_NAMED else "")
