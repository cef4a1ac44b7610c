"""The file of a study, `studies/<name>.yaml`: a question, a grid of runs to answer it, and published numbers."""

import math
import re
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, ValidatorFunctionWrapHandler, WrapValidator, field_validator

from losslab.errors import InputError, quote, shorten
from losslab.formats import format_plural
from losslab.io.faults import describe_value
from losslab.io.yaml import Section, read_yaml, validate
from losslab.study.overrides import Overrides, find_clash, flatten_overrides

STUDIES = Path("studies")
NAME = "[A-Za-z0-9][A-Za-z0-9_.]*"
"""Pattern of the name of a study, an alias or a comparison. A hyphen ends it in the name of an experiment."""
Scalar = str | int | float | bool | None


class PublishedRow(Section):
    """Published numbers of one cell: its labels, as in the grid, and what was measured."""

    cell: dict[str, Scalar] = Field(min_length=1)
    values: dict[str, float] = Field(min_length=1)
    sd: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Standard deviation over test images of each value of which the source states it."""


class PublishedNumbers(Section):
    """Numbers of a publication, to compare the study with."""

    source: str
    how: str
    """A sentence about how the numbers were measured."""
    metric: str
    """Name of the metric in the source."""
    ours: str | None = None
    """Name of the score of evaluate that is closest to the metric, such as seed_score."""
    images: int | None = Field(default=None, ge=1)
    """Number of test images, where the source states it: then the page shows how doubtful the order is."""
    seeds: int | None = Field(default=None, ge=1)
    """Number of seeds that each value is a mean over; None: one is assumed."""
    rows: list[PublishedRow] = Field(min_length=1)


def _keep_whole(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """Check that a value is a number, and keep it whole if it is written so."""
    check(value)
    return value


Number = Annotated[float, WrapValidator(_keep_whole)]


class ValueRange(Section):
    """Numbers between two ends, both included: whole ones if both ends are written so."""

    low: Number
    high: Number
    log: bool = False
    """Whether a factor counts, as for learning rates, and not a difference."""

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Domain = Annotated[
    Annotated[list[Scalar], Tag("(list)")] | Annotated[ValueRange, Tag("(range)")],
    Discriminator(
        lambda content: (
            "(list)" if isinstance(content, list) else "(range)" if isinstance(content, dict | ValueRange) else None
        ),
        custom_error_type="wrong_kind",
        custom_error_message="must be a list of values, or a range, such as {low: 1, high: 4}",
    ),
]
"""Values of a tuned key: a list of them, or a range."""


class PruneRule(Section):
    """Successive halving with one rung: all trials are run for few epochs, and the best of each cell in full."""

    epochs: int = Field(ge=1)
    keep: int = Field(ge=1)
    """Trials of each search that are run in full."""


class SearchSpec(Section):
    """A search that each cell gets, of equally many trials."""

    budget: int = Field(ge=1)
    """Trials of each search."""
    params: dict[str, Domain] = Field(min_length=1)
    """Key of params.yaml → values, or a range of them."""
    repeats: int = Field(default=1, ge=1)
    """Searches of each cell, over which its seeds are shared out."""
    prune: PruneRule | None = None


Tuning = Annotated[
    Annotated[dict[str, list[Scalar]], Tag("(values)")] | Annotated[SearchSpec, Tag("(search)")],
    Discriminator(
        lambda content: (
            "(search)"
            if isinstance(content, SearchSpec)
            or (isinstance(content, dict) and {*content} & {*SearchSpec.model_fields})
            else "(values)"
        )
    ),
]
"""One key with its values, all of which are tried, or a search."""


class StudySpec(Section):
    """The content of a study's file."""

    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Scalar] | dict[str, dict[str, Any]]] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    skip: list[dict[str, Scalar]] = Field(default_factory=list)
    tune: Tuning | None = None
    published: PublishedNumbers | None = None

    @field_validator("grid", mode="before")
    @classmethod
    def _refuse_mappings(cls, grid: Any) -> Any:
        for axis, labels in grid.items() if isinstance(grid, dict) else ():
            if isinstance(labels, list) and any(isinstance(value, dict) for value in labels):
                raise ValueError(
                    f"{axis} lists a mapping; list the values of one key, such as {axis}.KEY: [1, 2], or name each: "
                    f"{axis}: {{NAME: {{{axis}: {{KEY: 1}}}}}}"
                )
        return grid

    @field_validator("tune", mode="before")
    @classmethod
    def _refuse_ranges(cls, tune: Any) -> Any:
        is_short = isinstance(tune, dict) and not {*tune} & {*SearchSpec.model_fields}
        for key, values in tune.items() if is_short else ():
            if isinstance(values, dict):
                raise ValueError(
                    f"{key} has a range, which needs a number of trials: tune: {{budget: 12, params: "
                    f"{{{key}: {describe_value(values)}}}}}"
                )
        return tune

    @cached_property
    def axes(self) -> dict[str, dict[str, Overrides]]:
        """Axis of the grid → label → what it changes in params.yaml."""
        return {
            axis: {format_label(value): flatten_overrides({axis: value}, f"grid.{axis}") for value in labels}
            if isinstance(labels, list)
            else {name: flatten_overrides(changes, f"grid.{axis}.{name}") for name, changes in labels.items()}
            for axis, labels in self.grid.items()
        }

    @cached_property
    def tuned(self) -> dict[str, Domain]:
        """Key that is tuned → its values or range; empty if the study tunes nothing."""
        return dict(self.tune.params if isinstance(self.tune, SearchSpec) else self.tune or {})

    @property
    def search(self) -> SearchSpec | None:
        """The search of each cell; None if the study tunes nothing, or tries all values of one key."""
        return self.tune if isinstance(self.tune, SearchSpec) else None


def read_spec(name: str, folder: Path = STUDIES) -> StudySpec:
    """Read and check the file of a study. Raises InputError if it is missing or wrong, in a line that names the key."""
    path = folder / f"{name}.yaml"
    available = list_studies(folder)
    if name not in available:
        raise InputError(f"no such study: {name} ({folder}/ has {', '.join(available) or 'none'})")
    if not re.fullmatch(NAME, name):
        raise InputError(f"{path}: the name of a study may only have letters, digits, _ and .")
    spec = validate(StudySpec, read_yaml(path), path)
    try:
        _check(spec)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return spec


def list_studies(folder: Path = STUDIES) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def format_label(value: Scalar) -> str:
    """Write a value of an axis as YAML does."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def make_slug(text: str) -> str:
    """Make a label a part of an experiment's name, so of a Git ref: 0.5*bce+dice → 0.5bce_dice."""
    return re.sub(r"\.\.+", ".", re.sub("[^A-Za-z0-9.]+", "_", text.replace("*", ""))).strip("_.")


def _check(spec: StudySpec) -> None:
    varied: dict[str, Overrides] = {"params": flatten_overrides(spec.params, "params"), "seeds": {("seed",): None}}
    for axis, labels in spec.axes.items():
        _check_axis(f"grid.{axis}", labels, spec.grid[axis])
        varied[f"grid.{axis}"] = {path: None for changes in labels.values() for path in changes}
    if spec.tune is not None:
        varied |= _check_tuning(spec.tune, spec)
    for one, other in combinations(varied, 2):
        if (clash := find_clash(varied[one], varied[other])) is not None:
            raise InputError(f"{clash} is set by both {one} and {other}; set it in one of them")
    if len(set(spec.seeds)) < len(spec.seeds):
        raise InputError(f"seeds is {describe_value(spec.seeds)}; list each seed once")
    for number, skipped in enumerate(spec.skip):
        _check_labels(f"skip.{number}", skipped, spec.axes)
    for number, row in enumerate(spec.published.rows if spec.published else []):
        _check_labels(f"published.rows.{number}.cell", row.cell, spec.axes)
        if unknown := sorted(row.sd.keys() - row.values.keys()):
            raise InputError(f"published.rows.{number}.sd.{unknown[0]}: values has {shorten(', '.join(row.values))}")


def _check_tuning(tune: SearchSpec | dict[str, list[Scalar]], spec: StudySpec) -> dict[str, Overrides]:
    """Return what each tuned key changes in params.yaml. Raises InputError for what cannot be tuned so."""
    if not isinstance(tune, SearchSpec) and len(tune) != 1:
        raise InputError(
            f"tune has {format_plural(len(tune), 'key')}; it must have one, such as train.lr; several are searched together by "
            "tune: {budget: 12, params: {KEY: [1, 2], KEY: {low: 1, high: 4}}}"
        )
    prefix, varied = "tune.params" if isinstance(tune, SearchSpec) else "tune", dict[str, Overrides]()
    for key, values in spec.tuned.items():
        where = f"{prefix}.{key}"
        varied[where] = flatten_overrides({key: None}, where)
        if isinstance(values, ValueRange):
            _check_range(where, values)
        else:
            _check_axis(where, {format_label(value): {} for value in values}, values)
    if not isinstance(tune, SearchSpec):
        return varied
    number = count_settings(tune)
    if tune.budget > number:
        raise InputError(
            f"tune.budget is {tune.budget}; it must be at most {number}, as there are no more settings to try"
        )
    if tune.repeats > len(spec.seeds):
        raise InputError(
            f"tune.repeats is {tune.repeats}; it must be at most the number of seeds, {len(spec.seeds)}, which share them out"
        )
    if tune.prune is not None:
        if tune.prune.keep >= tune.budget:
            raise InputError(f"tune.prune.keep is {tune.prune.keep}; it must be below tune.budget, {tune.budget}")
        if "train.epochs" in tune.params:
            raise InputError("train.epochs is set by both tune.prune and tune.params; set it in one of them")
    return varied


def count_settings(search: SearchSpec) -> float:
    """Count the settings that a search can try; infinite where a range has fractions.

    >>> count_settings(SearchSpec(budget=2, params={"loss": ["dice", "focal"], "train.batch_size": ValueRange(low=4, high=6)}))
    6
    """
    return math.prod(
        len(values) if isinstance(values, list) else values.high - values.low + 1 if values.is_whole else math.inf
        for values in search.params.values()
    )


def _check_range(where: str, values: ValueRange) -> None:
    if values.low >= values.high:
        raise InputError(f"{where}: low is {values.low:g} and high {values.high:g}; low must be below high")
    if values.log and values.low <= 0:
        raise InputError(f"{where}: low is {values.low:g}; with log: true it must be above 0")


def _check_axis(where: str, labels: dict[str, Overrides], content: object) -> None:
    if not labels:
        raise InputError(f"{where} is empty; it needs at least one value")
    if isinstance(content, list) and len(content) > len(labels):
        raise InputError(f"{where} is {describe_value(content)}; list each value once")
    for name in labels:
        if not make_slug(name):
            raise InputError(f"{where}: the label {quote(name)} has no letter or digit")
    if len({make_slug(name) for name in labels}) < len(labels):
        raise InputError(
            f"{where}: {shorten(', '.join(labels))} would give experiments the same name; write {{label: {{key: value}}}} instead"
        )


def _check_labels(where: str, cell: dict[str, Scalar], axes: dict[str, dict[str, Overrides]]) -> None:
    for axis, value in cell.items():
        if axis not in axes:
            raise InputError(f"{where}.{axis}: no such axis; the grid has {shorten(', '.join(axes))}")
        if format_label(value) not in axes[axis]:
            raise InputError(
                f"{where}.{axis} is {describe_value(value)}; it must be one of {shorten(', '.join(axes[axis]))}"
            )
