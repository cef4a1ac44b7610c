"""The file of a study, `studies/<name>.yaml`: a question, a grid of runs to answer it, and published numbers."""

import re
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from losslab.errors import InputError, quote, shorten
from losslab.formats import format_plural
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


class StudySpec(Section):
    """The content of a study's file."""

    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Scalar] | dict[str, dict[str, Any]]] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    skip: list[dict[str, Scalar]] = Field(default_factory=list)
    tune: dict[str, list[Scalar]] | None = None
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
    def tuned(self) -> dict[str, Overrides]:
        """Label of each value that is tried → what it changes in params.yaml; empty if the study tunes nothing."""
        return {
            format_label(value): flatten_overrides({key: value}, f"tune.{key}")
            for key, values in (self.tune or {}).items()
            for value in values
        }


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
    if spec.tune is not None and len(spec.tune) != 1:
        raise InputError(f"tune has {format_plural(len(spec.tune), 'key')}; it must have one, such as train.lr")
    for axis, labels in spec.axes.items():
        _check_axis(f"grid.{axis}", labels, spec.grid[axis])
        varied[f"grid.{axis}"] = {path: None for changes in labels.values() for path in changes}
    for key, values in (spec.tune or {}).items():
        _check_axis(f"tune.{key}", spec.tuned, values)
        varied[f"tune.{key}"] = {path: None for changes in spec.tuned.values() for path in changes}
    for one, other in combinations(varied, 2):
        if (clash := find_clash(varied[one], varied[other])) is not None:
            raise InputError(f"{clash} is set by both {one} and {other}; set it in one of them")
    if len(set(spec.seeds)) < len(spec.seeds):
        raise InputError(f"seeds is {quote(spec.seeds)}; list each seed once")
    for number, skipped in enumerate(spec.skip):
        _check_labels(f"skip.{number}", skipped, spec.axes)
    for number, row in enumerate(spec.published.rows if spec.published else []):
        _check_labels(f"published.rows.{number}.cell", row.cell, spec.axes)
        if unknown := sorted(row.sd.keys() - row.values.keys()):
            raise InputError(f"published.rows.{number}.sd.{unknown[0]}: values has {shorten(', '.join(row.values))}")


def _check_axis(where: str, labels: dict[str, Overrides], content: object) -> None:
    if not labels:
        raise InputError(f"{where} is empty; it needs at least one value")
    if isinstance(content, list) and len(content) > len(labels):
        raise InputError(f"{where} is {quote(content)}; list each value once")
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
            raise InputError(f"{where}.{axis} is {quote(value)}; it must be one of {shorten(', '.join(axes[axis]))}")
