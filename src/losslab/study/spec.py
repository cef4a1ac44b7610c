"""The file of a study, `studies/<name>.yaml`: a question, a grid of runs that answers it, and published numbers beside."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from losslab.errors import InputError
from losslab.io.yaml import Section, read_yaml, validate
from losslab.study.overrides import Overrides, find_clash, flatten_overrides

STUDIES = Path("studies")
NAME = "[A-Za-z0-9][A-Za-z0-9_.]*"
"""Of a study, or an alias. No hyphen: in an experiment's name it ends the study's."""
Scalar = str | int | float | bool | None


class PublishedRow(Section):
    """One published cell: its labels, as in the grid, and what was measured there."""

    cell: dict[str, Scalar] = Field(min_length=1)
    values: dict[str, float] = Field(min_length=1)


class PublishedNumbers(Section):
    """Numbers that the study is to be held against."""

    source: str
    how: str
    """How they were measured, in a sentence."""
    metric: str
    """In the source's own word."""
    ours: str | None = None
    """The score of evaluate that is nearest to it, such as seed_score."""
    rows: list[PublishedRow] = Field(min_length=1)


class StudySpec(Section):
    title: str = Field(min_length=1)
    question: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Scalar] | dict[str, dict[str, Any]]] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    skip: list[dict[str, Scalar]] = Field(default_factory=list)
    tune: dict[str, list[Scalar]] | None = None
    published: PublishedNumbers | None = None


def read_spec(name: str, folder: Path = STUDIES) -> StudySpec:
    """The card of a study, checked against itself and the keys of params.yaml.

    Raises:
        InputError: one line that names the file and the key.
    """
    path = folder / f"{name}.yaml"
    known = list_studies(folder)
    if name not in known:
        raise InputError(f"{name!r} is no study; {folder} has {', '.join(known) or 'none'}")
    if not re.fullmatch(NAME, name):
        raise InputError(f"{path}: a study's name has letters, digits, _ and . alone")
    card = validate(StudySpec, read_yaml(path), path)
    try:
        _check(card)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return card


def list_studies(folder: Path = STUDIES) -> list[str]:
    """The studies there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def format_label(value: Scalar) -> str:
    """A value of an axis, as YAML writes it."""
    if isinstance(value, float):
        return f"{value:g}"
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


def build_axes(card: StudySpec) -> dict[str, dict[str, Overrides]]:
    """Axis → label → what it changes in params.yaml."""
    found = {}
    for axis, labels in card.grid.items():
        where = f"grid.{axis}"
        if isinstance(labels, list):
            found[axis] = {format_label(value): flatten_overrides({axis: value}, where) for value in labels}
        else:
            found[axis] = {name: flatten_overrides(changes, f"{where}.{name}") for name, changes in labels.items()}
    return found


def find_tuned(card: StudySpec) -> tuple[str, dict[str, Overrides]] | None:
    """The key that is tuned, and label → what it changes; None where none is."""
    if card.tune is None:
        return None
    ((key, values),) = card.tune.items()
    return key, {format_label(value): flatten_overrides({key: value}, f"tune.{key}") for value in values}


def _check(card: StudySpec) -> None:
    fixed = flatten_overrides(card.params, "params")
    axes = build_axes(card)
    varied: dict[str, Overrides] = {"params": fixed, "seeds": {("seed",): None}}
    for axis, labels in axes.items():
        _check_axis(f"grid.{axis}", labels, card.grid[axis])
        varied[f"grid.{axis}"] = {path: None for changes in labels.values() for path in changes}
    if card.tune is not None and len(card.tune) != 1:
        raise InputError(f"tune: has {len(card.tune)} keys; it must have one, such as train.lr")
    if (tuned := find_tuned(card)) is not None:
        where, values = f"tune.{tuned[0]}", tuned[1]
        _check_axis(where, values, (card.tune or {})[tuned[0]])
        varied[where] = {path: None for changes in values.values() for path in changes}
    for one, other in _pairs(list(varied)):
        if (key := find_clash(varied[one], varied[other])) is not None:
            raise InputError(f"{key} stands in {one} and in {other}; it must stand in one of them")
    if len(set(card.seeds)) < len(card.seeds):
        raise InputError(f"seeds is {card.seeds}; each must stand once")
    for number, skipped in enumerate(card.skip):
        _check_labels(f"skip.{number}", skipped, axes)
    for number, row in enumerate(card.published.rows if card.published else []):
        _check_labels(f"published.rows.{number}.cell", row.cell, axes)


def _check_axis(where: str, labels: dict[str, Overrides], given: object) -> None:
    if not labels:
        raise InputError(f"{where}: is empty; it must have a value at least")
    if isinstance(given, list) and len(given) > len(labels):
        raise InputError(f"{where} is {given}; each must stand once")
    for name in labels:
        if not make_slug(name):
            raise InputError(f"{where}: the label {name!r} has no letter or digit")
    if len({make_slug(name) for name in labels}) < len(labels):
        raise InputError(
            f"{where}: {', '.join(labels)} are too alike for names of experiments; label them: {{a: {{…}}}}"
        )


def _check_labels(where: str, cell: dict[str, Scalar], axes: dict[str, dict[str, Overrides]]) -> None:
    for axis, value in cell.items():
        if axis not in axes:
            raise InputError(f"{where}.{axis}: no axis of the grid, which has {', '.join(axes)}")
        if format_label(value) not in axes[axis]:
            raise InputError(f"{where}.{axis} is {value!r}; it must be one of {', '.join(axes[axis])}")


def _pairs(keys: list[str]) -> Iterator[tuple[str, str]]:
    yield from ((one, other) for position, one in enumerate(keys) for other in keys[position + 1 :])


def make_slug(text: str) -> str:
    """A label as a part of an experiment's name, which is a part of a Git ref: 0.5*bce+dice → 0.5bce_dice."""
    return re.sub(r"\.\.+", ".", re.sub("[^A-Za-z0-9.]+", "_", text.replace("*", ""))).strip("_.")
