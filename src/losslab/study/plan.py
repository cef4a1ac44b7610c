"""The runs of a study: its cells, their names, and the params of each, all checked before any of them is run."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from losslab.errors import InputError
from losslab.io.git import find_head, read_file_at
from losslab.io.yaml import parse_yaml
from losslab.params import check_params
from losslab.study import spec as cards
from losslab.study.overrides import Overrides, apply_overrides, find_clash, flatten_overrides
from losslab.study.spec import StudySpec, format_label, make_slug

LONGEST = 200
"""Characters of an experiment's name; it becomes a file's."""


@dataclass(frozen=True)
class GridCell:
    """One label for each axis of the grid."""

    labels: tuple[tuple[str, str], ...]
    changes: Overrides = field(compare=False, repr=False)

    def __str__(self) -> str:
        return ", ".join(f"{axis} {name}" for axis, name in self.labels)


@dataclass(frozen=True)
class StudyRun:
    """A cell with a seed, and the label of a tuned value where the study tunes one. Told apart by name."""

    name: str
    """Of the DVC experiment."""
    cell: GridCell = field(compare=False)
    tuned: str | None = field(compare=False)
    seed: int = field(compare=False)
    params: dict[str, Any] = field(compare=False, repr=False)
    """All of params.yaml."""


@dataclass(frozen=True)
class Study:
    """A study as it is to be run here: its card, on the committed params.yaml, with what `--set` and `--as` said."""

    name: str
    card: StudySpec
    base: dict[str, Any] = field(repr=False)
    """The params that its cells begin with."""
    over: Overrides = field(default_factory=dict, repr=False)
    """What `--set` says, over all else."""
    alias: str | None = None
    sets: tuple[str, ...] = ()

    @property
    def params(self) -> dict[str, Any]:
        """What all its runs have in common, where the grid does not say otherwise."""
        return apply_overrides(self.base, self.over)

    @property
    def key(self) -> str:
        """By which its experiments and state are told from those of the same card with other `--set`."""
        if self.alias is not None:
            return self.alias
        return f"{self.name}.{self.digest}" if self.sets else self.name

    @property
    def digest(self) -> str:
        text = json.dumps(sorted(self.sets), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:6]


def read_study(name: str, root: Path, sets: tuple[str, ...] = (), alias: str | None = None) -> Study:
    """A study on the params.yaml that is committed: what is changed in the workspace is not part of it.

    Args:
        sets: `key=value` each, over all that the card says.
        alias: instead of the study's name in those of its experiments.

    Raises:
        InputError: one line; the card, a set, or the params of any of its runs.
    """
    folder = root / cards.STUDIES
    card = cards.read_spec(name, folder)
    if alias is not None and (not re.fullmatch(cards.NAME, alias) or alias in cards.list_studies(folder)):
        raise InputError(f"--as {alias}: letters, digits, _ and . alone, and no study's own name")
    base = apply_overrides(read_committed_params(root), flatten_overrides(card.params, "params"))
    study = Study(name, card, base, _changes_of(sets), alias, tuple(sorted(sets)))
    if not expand_cells(study):
        raise InputError(f"studies/{name}.yaml: skip removes every cell of the grid; it must leave one at least")
    seen: dict[str, StudyRun] = {}
    for run in plan_every_run(study):
        if (same := seen.setdefault(json.dumps(run.params, sort_keys=True), run)) is not run:
            told = f"with --set {' --set '.join(sets)} " if sets else ""
            raise InputError(f"studies/{name}.yaml: {told}{_told(same)} and {_told(run)} are the same run")
        check_params(run.params, f"studies/{name}.yaml: {run.cell}", root / "data/catalog")
        if len(run.name) > LONGEST:
            raise InputError(f"studies/{name}.yaml: {run.cell}: name longer than {LONGEST} characters; label it")
    return study


def expand_cells(study: Study) -> list[GridCell]:
    """All combinations of labels, in the card's order, without those it skips."""
    axes = cards.build_axes(study.card)
    skipped = [{axis: format_label(value) for axis, value in cell.items()} for cell in study.card.skip]
    found = []
    for labels in itertools.product(*axes.values()):
        named = dict(zip(axes, labels, strict=True))
        if not any(skip.items() <= named.items() for skip in skipped):
            changes = {path: value for axis, name in named.items() for path, value in axes[axis][name].items()}
            found.append(GridCell(tuple(named.items()), changes))
    return found


def plan_runs(study: Study, chosen: Mapping[GridCell, str] | None = None) -> list[StudyRun]:
    """What has to be run, as far as is known, the first seed of all cells first.

    Where the study tunes: all values of each cell with the first seed, and with the others the `chosen` one.
    """
    first, *others = study.card.seeds
    tuned = cards.find_tuned(study.card)
    if tuned is None:
        return [_run(study, cell, None, seed) for seed in study.card.seeds for cell in expand_cells(study)]
    found = [_run(study, cell, value, first) for cell in expand_cells(study) for value in tuned[1]]
    chosen = chosen or {}
    return found + [
        _run(study, cell, chosen[cell], seed) for seed in others for cell in expand_cells(study) if cell in chosen
    ]


def plan_final_runs(study: Study, chosen: Mapping[GridCell, str] | None = None) -> list[StudyRun]:
    """What is compared: every cell that has its tuned value, with every seed."""
    chosen = chosen or {}
    return [run for run in plan_runs(study, chosen) if run.tuned is None or chosen.get(run.cell) == run.tuned]


def plan_every_run(study: Study) -> list[StudyRun]:
    """All that could be run, whatever tuning will choose."""
    tuned = cards.find_tuned(study.card)
    values: list[str | None] = [None] if tuned is None else list(tuned[1])
    return [
        _run(study, cell, value, seed) for seed in study.card.seeds for cell in expand_cells(study) for value in values
    ]


def count_runs(study: Study) -> int:
    """That a whole study takes."""
    values = len(next(iter(study.card.tune.values()))) if study.card.tune else 1
    return len(expand_cells(study)) * (values + len(study.card.seeds) - 1)


def read_committed_params(root: Path) -> dict[str, Any]:
    """The content of params.yaml at HEAD."""
    try:
        content = parse_yaml(read_file_at(root, find_head(root), "params.yaml"))
    except (InputError, FileNotFoundError):
        raise InputError("params.yaml is not committed here; a study runs on the commit, so commit it first") from None
    if not isinstance(content, dict):
        raise InputError("the committed params.yaml holds no keys")
    return content


def _run(study: Study, cell: GridCell, tuned: str | None, seed: int) -> StudyRun:
    changes = cell.changes | {("seed",): seed}
    if tuned is not None:
        of_tuning = cards.find_tuned(study.card)
        assert of_tuning is not None
        changes |= of_tuning[1][tuned]
    parts = [study.alias or study.name, *(make_slug(name) for _, name in cell.labels)]
    parts += [make_slug(tuned)] if tuned is not None else []
    parts += [f"s{seed}"] + ([study.digest] if study.sets and study.alias is None else [])
    return StudyRun(
        "-".join(parts), cell, tuned, seed, apply_overrides(apply_overrides(study.base, changes), study.over)
    )


def _told(run: StudyRun) -> str:
    return f"{run.cell}{f' ({run.tuned})' if run.tuned is not None else ''}"


def _changes_of(sets: tuple[str, ...]) -> Overrides:
    found: Overrides = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set {text}: must be key=value, such as train.epochs=3")
        try:
            changes = flatten_overrides({key: parse_yaml(value)}, "--set")
        except yaml.YAMLError:
            raise InputError(f"--set {text}: {value!r} is no YAML") from None
        if find_clash(changes, {("seed",): None}):
            raise InputError(f"--set {text}: the study's seeds say it")
        if find_clash(changes, found):
            raise InputError(f"--set {text}: {key} is set twice")
        found |= changes
    return found
