"""The runs of a study: its cells, their names, and the params of each, all checked before any of them is run."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.io.git import find_head, find_prefix, read_file_at
from losslab.io.yaml import parse_assignment, parse_yaml
from losslab.params import check_params
from losslab.study.overrides import Overrides, apply_overrides, find_clash, flatten_overrides
from losslab.study.spec import NAME, STUDIES, StudySpec, format_label, list_studies, make_slug, read_spec

MAX_NAME_CHARS = 200
"""Longest name of an experiment, in characters; files are named after it."""


@dataclass(frozen=True)
class GridCell:
    """One label for each axis of the grid, and what they change in params.yaml."""

    labels: tuple[tuple[str, str], ...]
    changes: Overrides = field(compare=False, repr=False)

    def __str__(self) -> str:
        return ", ".join(f"{axis} {name}" for axis, name in self.labels)


@dataclass(frozen=True)
class StudyRun:
    """A cell with a seed, and the label of a tuned value where the study tunes one. Runs are equal by name."""

    name: str
    """Name of the DVC experiment."""
    cell: GridCell = field(compare=False)
    tuned: str | None = field(compare=False)
    seed: int = field(compare=False)
    params: dict[str, Any] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return str(self.cell) if self.tuned is None else f"{self.cell} ({self.tuned})"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as it runs here: its card on the committed params.yaml, with `--set` and `--as`. Its grid is expanded once."""

    name: str
    card: StudySpec
    base: dict[str, Any] = field(repr=False)
    """The params that every cell starts from."""
    overrides: Overrides = field(default_factory=dict, repr=False)
    """The changes by `--set`, over everything else."""
    alias: str | None = None
    sets: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    """Names of the folders from the root of the Git repository to the project."""
    extra_seeds: Mapping[GridCell, int] = field(default_factory=dict, repr=False)
    """Number of seeds that cells have beyond the card's: those after its greatest one."""

    @cached_property
    def params(self) -> dict[str, Any]:
        """The params that all runs share, apart from what the grid changes."""
        return apply_overrides(self.base, self.overrides)

    @property
    def key(self) -> str:
        """Name of its state; it tells apart studies of one card with different `--set`."""
        if self.alias is not None:
            return self.alias
        return f"{self.name}.{self.digest}" if self.sets else self.name

    @property
    def prefix(self) -> str:
        """Beginning of the names of its experiments, which no project in another folder of the Git repository gives."""
        return "".join(f"{part}-" for part in (*map(_name_folder, self.folders), self.alias or self.name))

    @property
    def digest(self) -> str:
        text = json.dumps(sorted(self.sets), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:6]

    @cached_property
    def cells(self) -> list[GridCell]:
        """All combinations of labels, in the card's order, without those it skips."""
        axes = self.card.axes
        skipped = [{axis: format_label(value) for axis, value in cell.items()} for cell in self.card.skip]
        cells = []
        for names in product(*axes.values()):
            labels = dict(zip(axes, names, strict=True))
            if not any(skip.items() <= labels.items() for skip in skipped):
                changes = {path: value for axis, name in labels.items() for path, value in axes[axis][name].items()}
                cells.append(GridCell(tuple(labels.items()), changes))
        return cells

    @cached_property
    def every_run(self) -> list[StudyRun]:
        """All runs that there could be, whatever tuning chooses; all cells with the first seed come first."""
        tuned: list[str | None] = [*self.card.tuned] or [None]
        return [
            self.build_run(cell, value, seed)
            for seed in self.seeds
            for cell in self.cells
            if seed in self.list_seeds(cell)
            for value in tuned
        ]

    @property
    def seeds(self) -> list[int]:
        """All seeds that some cell has, the card's first."""
        return max((self.list_seeds(cell) for cell in self.cells), key=len)

    def list_seeds(self, cell: GridCell) -> list[int]:
        """List the seeds of a cell: the card's, then those that were added."""
        following = max(self.card.seeds) + 1
        return [*self.card.seeds, *range(following, following + self.extra_seeds.get(cell, 0))]

    @property
    def number_of_runs(self) -> int:
        """Runs of the complete study: all tuned values with the first seed, the chosen one with the others."""
        extra = sum(self.extra_seeds.values())
        return len(self.cells) * ((len(self.card.tuned) or 1) + len(self.card.seeds) - 1) + extra

    def build_run(self, cell: GridCell, tuned: str | None, seed: int) -> StudyRun:
        """Build the run of a cell with a tuned value, where the study tunes any, and a seed."""
        changes = cell.changes | {("seed",): seed} | (self.card.tuned[tuned] if tuned is not None else {})
        parts = [make_slug(name) for _, name in cell.labels]
        parts += [make_slug(tuned)] if tuned is not None else []
        parts += [f"s{seed}"] + ([self.digest] if self.sets and self.alias is None else [])
        params = apply_overrides(apply_overrides(self.base, changes), self.overrides)
        return StudyRun(self.prefix + "-".join(parts), cell, tuned, seed, params)


def read_study(name: str, root: Path, sets: tuple[str, ...] = (), alias: str | None = None) -> Study:
    """Read a study on the committed params.yaml. Raises InputError if the card, a set, the alias or a run is wrong.

    Args:
        sets: `key=value` each, over everything in the card.
        alias: a name for its experiments in place of the study's.
    """
    folder = root / STUDIES
    card = read_spec(name, folder)
    if alias is not None and (not re.fullmatch(NAME, alias) or alias in list_studies(folder)):
        raise InputError(f"--as {alias}: use letters, digits, _ and . only, and not the name of a study")
    base = apply_overrides(read_committed_params(root), flatten_overrides(card.params, "params"))
    overrides = _parse_sets(sets)
    folders = find_prefix(root).parts
    study = Study(
        name=name, card=card, base=base, overrides=overrides, alias=alias, sets=tuple(sorted(sets)), folders=folders
    )
    if not study.cells:
        raise InputError(f"studies/{name}.yaml: skip removes every cell of the grid; leave at least one")
    runs: dict[str, StudyRun] = {}
    for run in study.every_run:
        if (same := runs.setdefault(json.dumps(run.params, sort_keys=True), run)) is not run:
            cause = f"with --set {' --set '.join(sets)} " if sets else ""
            raise InputError(f"studies/{name}.yaml: {cause}{same} and {run} are the same run")
        check_params(run.params, f"studies/{name}.yaml: {run.cell}", root / "data/catalog")
        if len(run.name) > MAX_NAME_CHARS:
            raise InputError(
                f"studies/{name}.yaml: {run.cell}: the name of the run is longer than {MAX_NAME_CHARS} characters; "
                "give the values short labels"
            )
    _check_comparable(study)
    return study


def _check_comparable(study: Study) -> None:
    """Raise InputError for cells whose images are scored at different sizes, which no comparison takes."""
    scored: dict[str, tuple[str, StudyRun]] = {}
    for run in study.every_run:
        prepare, is_original = run.params["prepare"], run.params["evaluate"]["resolution"] == "original"
        made = f"prepare.fit {prepare['fit']}, size {prepare['size']}"
        size = "the files' own size" if is_original or prepare["fit"] == "tile" else made
        first, other = scored.setdefault(run.params["dataset"], (size, run))
        if first != size:
            raise InputError(
                f"studies/{study.name}.yaml: {other.cell} is scored at {first}, {run.cell} at {size}, which cannot be compared; "
                "add evaluate.resolution: original"
            )


def plan_runs(study: Study, chosen: Mapping[GridCell, str] | None = None) -> list[StudyRun]:
    """Return the runs that are needed, as far as is known, all cells with the first seed first.

    Where the study tunes: all values of each cell with the first seed, and the `chosen` value with the other seeds.
    """
    final = set(plan_final_runs(study, chosen))
    return [run for run in study.every_run if run.seed == study.card.seeds[0] or run in final]


def plan_final_runs(study: Study, chosen: Mapping[GridCell, str] | None = None) -> list[StudyRun]:
    """Return the runs to compare: every cell whose tuned value is chosen, with every seed."""
    return [run for run in study.every_run if run.tuned is None or (chosen or {}).get(run.cell) == run.tuned]


def read_committed_params(root: Path) -> dict[str, Any]:
    """Read params.yaml as it is at HEAD. Raises InputError if there is none."""
    try:
        content = parse_yaml(read_file_at(root, find_head(root), "params.yaml"))
    except (InputError, FileNotFoundError):
        raise InputError(
            "params.yaml is not committed here: commit it first, because studies run on the last commit"
        ) from None
    if not isinstance(content, dict):
        raise InputError("the committed params.yaml has no keys")
    return content


def _name_folder(folder: str) -> str:
    slug = make_slug(folder)
    return slug if slug == folder else f"{slug}_{hashlib.sha256(folder.encode()).hexdigest()[:4]}".strip("_")


def _parse_sets(sets: tuple[str, ...]) -> Overrides:
    overrides: Overrides = {}
    for text in sets:
        key, value = parse_assignment(text, "train.epochs=3")
        changes = flatten_overrides({key: value}, "--set")
        if find_clash(changes, {("seed",): None}):
            raise InputError(f"--set {text}: seeds are set in the study's file")
        if find_clash(changes, overrides):
            raise InputError(f"--set {text}: {key} is set twice")
        overrides |= changes
    return overrides
