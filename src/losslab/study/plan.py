"""The runs of a study: its cells, their names, and the params of each, all checked before any of them is run."""

import hashlib
import itertools
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from losslab.errors import InputError
from losslab.params import check
from losslab.schema import parse_yaml
from losslab.study import card as cards
from losslab.study.card import Card, label, slug
from losslab.study.keys import Changes, applied, changes_of, clash_of

LONGEST = 200
"""Characters of an experiment's name; it becomes a file's."""


@dataclass(frozen=True)
class Cell:
    """One label for each axis of the grid."""

    labels: tuple[tuple[str, str], ...]
    changes: Changes = field(compare=False, repr=False)

    def __str__(self) -> str:
        return ", ".join(f"{axis} {name}" for axis, name in self.labels)


@dataclass(frozen=True)
class Run:
    """A cell with a seed, and the label of a tuned value where the study tunes one. Told apart by name."""

    name: str
    """Of the DVC experiment."""
    cell: Cell = field(compare=False)
    tuned: str | None = field(compare=False)
    seed: int = field(compare=False)
    params: dict[str, Any] = field(compare=False, repr=False)
    """All of params.yaml."""


@dataclass(frozen=True)
class Study:
    """A study as it is to be run here: its card, on the committed params.yaml, with what `--set` and `--as` said."""

    name: str
    card: Card
    base: dict[str, Any] = field(repr=False)
    """The params that its cells begin with."""
    over: Changes = field(default_factory=dict, repr=False)
    """What `--set` says, over all else."""
    alias: str | None = None
    sets: tuple[str, ...] = ()

    @property
    def params(self) -> dict[str, Any]:
        """What all its runs have in common, where the grid does not say otherwise."""
        return applied(self.base, self.over)

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
    card = cards.read_card(name, folder)
    if alias is not None and (not re.fullmatch(cards.NAME, alias) or alias in cards.names(folder)):
        raise InputError(f"--as {alias}: letters, digits, _ and . alone, and no study's own name")
    base = applied(committed_params(root), changes_of(card.params, "params"))
    study = Study(name, card, base, _changes_of(sets), alias, tuple(sorted(sets)))
    if not cells(study):
        raise InputError(f"studies/{name}.yaml: skip removes every cell of the grid; it must leave one at least")
    seen: dict[str, Run] = {}
    for run in every_run(study):
        if (same := seen.setdefault(json.dumps(run.params, sort_keys=True), run)) is not run:
            told = f"with --set {' --set '.join(sets)} " if sets else ""
            raise InputError(f"studies/{name}.yaml: {told}{_told(same)} and {_told(run)} are the same run")
        check(run.params, f"studies/{name}.yaml: {run.cell}", root / "data/catalog")
        if len(run.name) > LONGEST:
            raise InputError(f"studies/{name}.yaml: {run.cell}: name longer than {LONGEST} characters; label it")
    return study


def cells(study: Study) -> list[Cell]:
    """All combinations of labels, in the card's order, without those it skips."""
    axes = cards.axes_of(study.card)
    skipped = [{axis: label(value) for axis, value in cell.items()} for cell in study.card.skip]
    found = []
    for labels in itertools.product(*axes.values()):
        named = dict(zip(axes, labels, strict=True))
        if not any(skip.items() <= named.items() for skip in skipped):
            changes = {path: value for axis, name in named.items() for path, value in axes[axis][name].items()}
            found.append(Cell(tuple(named.items()), changes))
    return found


def runs(study: Study, chosen: Mapping[Cell, str] | None = None) -> list[Run]:
    """What has to be run, as far as is known, the first seed of all cells first.

    Where the study tunes: all values of each cell with the first seed, and with the others the `chosen` one.
    """
    first, *others = study.card.seeds
    tuned = cards.tuned_of(study.card)
    if tuned is None:
        return [_run(study, cell, None, seed) for seed in study.card.seeds for cell in cells(study)]
    found = [_run(study, cell, value, first) for cell in cells(study) for value in tuned[1]]
    chosen = chosen or {}
    return found + [_run(study, cell, chosen[cell], seed) for seed in others for cell in cells(study) if cell in chosen]


def final_runs(study: Study, chosen: Mapping[Cell, str] | None = None) -> list[Run]:
    """What is compared: every cell that has its tuned value, with every seed."""
    chosen = chosen or {}
    return [run for run in runs(study, chosen) if run.tuned is None or chosen.get(run.cell) == run.tuned]


def every_run(study: Study) -> list[Run]:
    """All that could be run, whatever tuning will choose."""
    tuned = cards.tuned_of(study.card)
    values: list[str | None] = [None] if tuned is None else list(tuned[1])
    return [_run(study, cell, value, seed) for seed in study.card.seeds for cell in cells(study) for value in values]


def number_of_runs(study: Study) -> int:
    """That a whole study takes."""
    values = len(next(iter(study.card.tune.values()))) if study.card.tune else 1
    return len(cells(study)) * (values + len(study.card.seeds) - 1)


def committed_params(root: Path) -> dict[str, Any]:
    """The content of params.yaml at HEAD."""
    done = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=root, capture_output=True, check=False)
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise InputError(
            f"no params.yaml is committed here ({told[0] if told else 'git show failed'}); a study runs on what is"
        )
    content = parse_yaml(done.stdout.decode("utf-8"))
    if not isinstance(content, dict):
        raise InputError("the committed params.yaml holds no keys")
    return content


def _run(study: Study, cell: Cell, tuned: str | None, seed: int) -> Run:
    changes = cell.changes | {("seed",): seed}
    if tuned is not None:
        of_tuning = cards.tuned_of(study.card)
        assert of_tuning is not None
        changes |= of_tuning[1][tuned]
    parts = [study.alias or study.name, *(slug(name) for _, name in cell.labels)]
    parts += [slug(tuned)] if tuned is not None else []
    parts += [f"s{seed}"] + ([study.digest] if study.sets and study.alias is None else [])
    return Run("-".join(parts), cell, tuned, seed, applied(applied(study.base, changes), study.over))


def _told(run: Run) -> str:
    return f"{run.cell}{f' ({run.tuned})' if run.tuned is not None else ''}"


def _changes_of(sets: tuple[str, ...]) -> Changes:
    found: Changes = {}
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set {text}: must be key=value, such as train.epochs=3")
        try:
            changes = changes_of({key: parse_yaml(value)}, "--set")
        except yaml.YAMLError:
            raise InputError(f"--set {text}: {value!r} is no YAML") from None
        if clash_of(changes, {("seed",): None}):
            raise InputError(f"--set {text}: the study's seeds say it")
        if clash_of(changes, found):
            raise InputError(f"--set {text}: {key} is set twice")
        found |= changes
    return found
