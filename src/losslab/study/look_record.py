"""Looks at a study that goes on until it is decided: what was planned, what each look saw, and the seeds that cells have."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from losslab.experiments.finished_runs import list_experiments
from losslab.io.files import read_json, write_json
from losslab.io.yaml import Section, validate
from losslab.study.plan import GridCell, Study
from losslab.study.results import read_progress
from losslab.study.spec import make_slug
from losslab.study.state import StudyState, compute_digest

PairState = Literal["real", "equivalent", "open", "limited", "short"]
"""What a look says of a pair: decided either way, open, limited (seeds will hardly decide it), or short of finished runs."""


class DecisionPlan(Section):
    """What a study that goes on until it is decided was begun with; all its looks share the level that this fixes."""

    metric: str
    points: float
    """Points within which two cells are called equivalent."""
    seeds: list[int]
    """Seeds of the card, with which it begins."""
    last: int
    """Greatest number of seeds of a cell."""

    @property
    def first(self) -> int:
        """Number of seeds of each cell at the first look."""
        return len(self.seeds)


class SeenPair(Section):
    """What a look said of two cells, or labels of an axis; numbers are in the unit of the score."""

    question: str
    """Axis of the labels; empty for cells."""
    better: str
    worse: str
    state: PairState
    gap: float
    low: float | None
    """Ends of the interval, and p-value, adjusted for all pairs and looks; None where they are not known."""
    high: float | None
    p: float | None

    def __str__(self) -> str:
        return f"{self.better} against {self.worse}"


class Look(Section):
    """One look: what there was to see, and what it said."""

    number: int
    date: str
    seeds: dict[str, int]
    """Name of the cell → its finished runs."""
    runs: int
    pairs: list[SeenPair]

    def count(self, *states: PairState) -> int:
        """Count the pairs in these states."""
        return sum(pair.state in states for pair in self.pairs)


class CellSeeds(Section):
    """Seeds of a cell beyond the card's; they count as long as the cell's params are these."""

    labels: dict[str, str]
    params: str
    extra: int


class LookRecord(Section):
    """All that a study remembers between its looks."""

    plan: DecisionPlan
    looks: list[Look]
    cells: list[CellSeeds]
    """Cells that got seeds, the most promising of the last look first."""


def read_record(study: Study, root: Path) -> LookRecord | None:
    """Read a study's record; None: it was never run until decided here, or not one of its cells is as it was then.

    Raises InputError if it is broken.
    """
    path = _find_path(study, root)
    record = validate(LookRecord, read_json(path), path) if path.exists() else None
    return record if record is not None and _find_recorded_seeds(study, record) else None


def write_record(study: Study, root: Path, plan: DecisionPlan, looks: list[Look]) -> None:
    """Write what was planned and seen, and the seeds that the study's cells have now, at once."""
    cells = [
        CellSeeds(
            labels=dict(cell.labels),
            params=_compute_cell_digest(study, cell),
            extra=study.extra_seeds.get(cell, 0),
        )
        for cell in dict.fromkeys([*study.extra_seeds, *study.cells])
    ]
    write_json(_find_path(study, root), LookRecord(plan=plan, looks=looks, cells=cells).model_dump())


def add_known_seeds(study: Study, root: Path) -> tuple[Study, LookRecord | None]:
    """Return the study with the seeds that its record gives to cells, and the record.

    Without a record, as in a fresh clone, they are those that finished experiments have.
    """
    if (record := read_record(study, root)) is not None:
        return replace(study, extra_seeds=_find_recorded_seeds(study, record)), record
    named = _find_named_seeds(study, root)
    if not named:
        return study, None
    _, done, _ = read_progress(replace(study, extra_seeds=named), root)
    greatest, finished = max(study.card.seeds), dict[GridCell, int]()
    for run in done:
        finished[run.cell] = max(finished.get(run.cell, 0), run.seed - greatest)
    extra = {cell: number for cell, number in finished.items() if number > 0}
    return (replace(study, extra_seeds=extra) if extra else study), None


def _find_path(study: Study, root: Path) -> Path:
    return StudyState(root, study.key).folder / "looks.json"


def _find_recorded_seeds(study: Study, record: LookRecord) -> dict[GridCell, int]:
    """Find the number of seeds beyond the card's of each cell whose params have not changed since, in the record's order."""
    cells = {cell.labels: cell for cell in study.cells}
    known = {tuple(each.labels.items()): each for each in record.cells}
    return {
        cells[labels]: each.extra
        for labels, each in known.items()
        if labels in cells and each.params == _compute_cell_digest(study, cells[labels])
    }


def _compute_cell_digest(study: Study, cell: GridCell) -> str:
    return compute_digest(study.build_run(cell, None, 0))  # the same whatever the card's seeds


def _find_named_seeds(study: Study, root: Path) -> Mapping[GridCell, int]:
    """Find how many seeds beyond the card's each cell has by the names of experiments, finished or not."""
    cells = {"-".join(make_slug(label) for _, label in cell.labels): cell for cell in study.cells}
    labels, ending = "|".join(map(re.escape, cells)), f"-{study.digest}" if study.sets and study.alias is None else ""
    pattern = re.compile(f"{re.escape(study.prefix)}({labels})(?:-[^-]+)?-s([0-9]+){ending}")
    greatest, named = max(study.card.seeds), dict[GridCell, int]()
    for name, _, _ in list_experiments(root):
        if (match := pattern.fullmatch(name)) is not None and (extra := int(match[2]) - greatest) > 0:
            named[cells[match[1]]] = max(named.get(cells[match[1]], 0), extra)
    return named
