"""The runs of a study: its cells, their names, and the params of each, all checked before any of them is run."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.io.git import find_head, find_prefix, read_file_at
from losslab.io.yaml import parse_assignment, parse_yaml
from losslab.params import check_params
from losslab.study.overrides import Overrides, apply_overrides, find_clash, flatten_overrides
from losslab.study.spec import NAME, STUDIES, Scalar, StudySpec, format_label, list_studies, make_slug, read_spec
from losslab.study.tuning import (
    Trial,
    choose_shared_setting,
    list_extreme_settings,
    list_listed_trials,
    propose_setting,
)

STATES = Path(".losslab/study")
"""Folder with a folder for what losslab remembers of each study that was run."""
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
    """A cell with a seed, and the trial whose values it has where the study tunes any. Runs are equal by name."""

    name: str
    """Name of the DVC experiment."""
    cell: GridCell = field(compare=False)
    tuned: Trial | None = field(compare=False)
    seed: int = field(compare=False)
    params: dict[str, Any] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return str(self.cell) if self.tuned is None else f"{self.cell} ({self.tuned})"


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search of a cell for its best values, as far as it has come."""

    cell: GridCell
    seeds: tuple[int, ...]
    """Seeds that use the values it chooses; its own trials have the first."""
    batches: tuple[tuple[StudyRun, ...], ...]
    """Runs of its trials that are known to be needed; those of a batch may run beside each other."""
    chosen: Trial | None
    """The trial with the best val mIoU; None before the search has ended, or if all its runs failed."""


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
    root: Path | None = field(default=None, repr=False)
    """The project; None: what its searches propose is not recorded."""
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
    def shared_trial(self) -> Trial | None:
        """The trial that all cells have in common; None if the study tunes nothing."""
        return self.build_trial(0, 0, choose_shared_setting(self.card, self.params)) if self.card.tuned else None

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
        """Runs of the complete study: all trials of each search, and the chosen one with the seeds that are left."""
        seeds, extra = len(self.card.seeds), sum(self.extra_seeds.values())
        if (search := self.card.search) is None:
            return len(self.cells) * ((len(list_listed_trials(self.card)) or 1) + seeds - 1) + extra
        trials = search.budget + (search.prune.keep if search.prune is not None else 0)
        return len(self.cells) * (search.repeats * (trials - 1) + seeds) + extra

    @cached_property
    def _built(self) -> dict[tuple[GridCell, str, int], StudyRun]:
        return {}

    def build_run(self, cell: GridCell, tuned: Trial | None, seed: int) -> StudyRun:
        """Build the run of a cell with the values of a trial and a seed, once."""
        key = (cell, "" if tuned is None else f"{tuned.name} {tuned.changes}", seed)
        if key not in self._built:
            self._built[key] = self._build_run(cell, tuned, seed)
        return self._built[key]

    def _build_run(self, cell: GridCell, tuned: Trial | None, seed: int) -> StudyRun:
        changes = cell.changes | {("seed",): seed} | (tuned.changes if tuned is not None else {})
        parts = [make_slug(name) for _, name in cell.labels]
        parts += [make_slug(tuned.name)] if tuned is not None else []
        parts += [f"s{seed}"] + ([self.digest] if self.sets and self.alias is None else [])
        params = apply_overrides(apply_overrides(self.base, changes), self.overrides)
        if tuned is not None and tuned.epochs is not None:
            params = apply_overrides(params, {("train", "epochs"): tuned.epochs})
        return StudyRun(self.prefix + "-".join(parts), cell, tuned, seed, params)

    def follow_searches(self, find_score: Callable[[StudyRun], float | None]) -> list[Search]:
        """Follow the searches of all cells to where they have come.

        Args:
            find_score: returns the val mIoU of a run that has ended, -inf if it failed; None for any other.
        """
        repeats = self.card.search.repeats if self.card.search is not None else 1
        return [
            self._follow_search(cell, repeat, repeats, find_score)
            for repeat in range(repeats if self.card.tuned else 0)
            for cell in self.cells
        ]

    def _follow_search(
        self, cell: GridCell, repeat: int, repeats: int, find_score: Callable[[StudyRun], float | None]
    ) -> Search:
        seeds = tuple(self.list_seeds(cell)[repeat::repeats])

        def build_batch(trials: Sequence[Trial]) -> tuple[StudyRun, ...]:
            return tuple(self.build_run(cell, trial, seeds[0]) for trial in trials)

        if self.card.search is None:
            batches = [build_batch(list_listed_trials(self.card))]
            return Search(cell=cell, seeds=seeds, batches=tuple(batches), chosen=_choose(batches[0], find_score))
        batches, earlier = [], list[tuple[Mapping[str, Scalar], float]]()
        shared = choose_shared_setting(self.card, self.params)
        record = self.root / STATES / self.key / "settings.json" if self.root is not None else None
        for number in range(self.card.search.budget):
            seed = f"{self.name}/{cell}/{repeat}"
            setting = propose_setting(self.card.search, seed, earlier, record) if number else shared
            batches.append(build_batch([self.build_trial(repeat, number, setting)]))
            if (score := find_score(batches[-1][0])) is None:
                return Search(cell=cell, seeds=seeds, batches=tuple(batches), chosen=None)
            earlier.append((setting, score))
        runs = [run for (run,) in batches]
        if (prune := self.card.search.prune) is not None:
            ranked = sorted(range(len(earlier)), key=lambda number: -earlier[number][1])
            kept = sorted(number for number in ranked[: prune.keep] if math.isfinite(earlier[number][1]))
            settings = [(number, earlier[number][0]) for number in kept]
            runs = list(build_batch([self.build_trial(repeat, *each, in_full=True) for each in settings]))
            batches.append(tuple(runs))
        return Search(cell=cell, seeds=seeds, batches=tuple(batches), chosen=_choose(runs, find_score))

    def build_trial(self, repeat: int, number: int, setting: Mapping[str, Scalar], in_full: bool = False) -> Trial:
        """Build the trial of a setting; where the study prunes, it is cut short if it is not `in_full`."""
        changes = flatten_overrides(setting, "tune")
        if (search := self.card.search) is None:
            return Trial(format_label(*setting.values()), changes)
        epochs = None if in_full or search.prune is None else search.prune.epochs
        return Trial((f"r{repeat}" if search.repeats > 1 else "") + f"t{number:02d}", changes, epochs)


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
        name=name,
        card=card,
        base=base,
        overrides=overrides,
        alias=alias,
        sets=tuple(sorted(sets)),
        folders=folders,
        root=root,
    )
    if not study.cells:
        raise InputError(f"studies/{name}.yaml: skip removes every cell of the grid; leave at least one")
    try:
        _check_search(study)
    except InputError as error:
        raise InputError(f"studies/{name}.yaml: {error}") from None
    runs: dict[str, StudyRun] = {}
    for run in _list_first_runs(study):
        if (same := runs.setdefault(json.dumps(run.params, sort_keys=True), run)) is not run:
            cause = f"with --set {' --set '.join(sets)} " if sets else ""
            raise InputError(f"studies/{name}.yaml: {cause}{same} and {run} are the same run")
        if len(run.name) > MAX_NAME_CHARS:
            raise InputError(
                f"studies/{name}.yaml: {run.cell}: the name of the run is longer than {MAX_NAME_CHARS} characters; "
                "give the values short labels"
            )
    checked = set[str]()
    for run in list_kinds_of_runs(study):
        kind = {json.dumps(run.params | {"seed": 0}, sort_keys=True), str(run.seed)}
        if not kind <= checked:
            check_params(run.params, f"studies/{name}.yaml: {run.cell}", root / "data/catalog")
        checked |= kind
    _check_comparable(study)
    return study


def list_kinds_of_runs(study: Study) -> Iterator[StudyRun]:
    """Yield runs that show all params a study can have: each cell, seed and listed value, and both ends of each range."""
    yield from _list_first_runs(study)
    if study.card.search is None:
        return
    shared = choose_shared_setting(study.card, study.params)
    for cell, extreme in product(study.cells, [{}, *list_extreme_settings(study.card)]):
        for in_full in (True, False) if study.card.search.prune is not None else (True,):
            trial = study.build_trial(0, 0, shared | extreme, in_full=in_full)
            yield study.build_run(cell, trial, study.card.seeds[0])


def _list_first_runs(study: Study) -> list[StudyRun]:
    """List the runs with all values that are known before any run has ended, for every seed."""
    trials: list[Trial | None] = [study.shared_trial]
    if study.card.search is None and study.card.tuned:
        trials = [*list_listed_trials(study.card)]
    return [study.build_run(cell, trial, seed) for seed in study.card.seeds for cell in study.cells for trial in trials]


def _check_search(study: Study) -> None:
    """Raise InputError for keys of the search that `--set` sets too, and for cells that prune would not cut short."""
    for key in study.card.tuned if study.card.search is not None else ():
        if clash := find_clash(flatten_overrides({key: None}, "tune"), study.overrides):
            raise InputError(f"{clash} is set by both tune and --set; set it in one of them")
    prune = study.card.search.prune if study.card.search is not None else None
    for cell in study.cells if prune is not None else ():
        epochs = study.build_run(cell, None, study.card.seeds[0]).params["train"]["epochs"]
        if prune is not None and prune.epochs >= epochs:
            raise InputError(f"{cell}: tune.prune.epochs is {prune.epochs}; it must be below train.epochs, {epochs}")


def _check_comparable(study: Study) -> None:
    """Raise InputError for cells whose images are scored at different sizes, which no comparison takes."""
    scored: dict[str, tuple[str, StudyRun]] = {}
    for run in list_kinds_of_runs(study):
        prepare, is_original = run.params["prepare"], run.params["evaluate"]["resolution"] == "original"
        made = f"prepare.fit {prepare['fit']}, size {prepare['size']}"
        size = "the files' own size" if is_original or prepare["fit"] == "tile" else made
        first, other = scored.setdefault(run.params["dataset"], (size, run))
        if first != size:
            raise InputError(
                f"studies/{study.name}.yaml: {other.cell} is scored at {first}, {run.cell} at {size}, which cannot be compared; "
                "add evaluate.resolution: original"
            )


def plan_runs(study: Study, searches: Sequence[Search] | None = None) -> list[StudyRun]:
    """Return the runs that are needed, as far as is known, all cells with the first seed first.

    Where the study tunes: the trials of its searches, each with the first of the search's seeds, then the chosen ones
    with the other seeds.

    Args:
        searches: the searches of all cells as far as they have come; None: before any run has ended.
    """
    if searches is None:
        searches = study.follow_searches(lambda run: None)
    # Side by side: each search has one run to wait for, so all of them must get on for the slots to be full.
    batches = zip_longest(*(search.batches for search in searches), fillvalue=())
    runs = [run for beside in batches for batch in beside for run in batch]
    return list(dict.fromkeys([*runs, *plan_final_runs(study, searches)]))


def plan_final_runs(study: Study, searches: Sequence[Search]) -> list[StudyRun]:
    """Return the runs to compare: every cell whose values are chosen, with every seed."""
    if not study.card.tuned:
        return [
            study.build_run(cell, None, seed)
            for seed in study.seeds
            for cell in study.cells
            if seed in study.list_seeds(cell)
        ]
    return [
        study.build_run(search.cell, search.chosen, seed)
        for seed in study.seeds
        for search in searches
        if search.chosen is not None and seed in search.seeds
    ]


def _choose(runs: Sequence[StudyRun], find_score: Callable[[StudyRun], float | None]) -> Trial | None:
    """Choose the trial with the best score, the first of equal ones, once all have ended; None if all failed."""
    scores = [find_score(run) for run in runs]
    known = [score for score in scores if score is not None]
    if len(known) < len(runs) or max(known, default=-math.inf) == -math.inf:
        return None
    return runs[known.index(max(known))].tuned


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
