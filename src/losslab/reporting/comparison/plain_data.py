"""A comparison as JSON has it: all that it says, but no picture, no path, and nothing that is no number."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from losslab.comparison.result import ComparedCell, ComparedRun, Comparison
from losslab.comparison.verdicts import JudgedPair, Verdict
from losslab.io.files import JsonObject, parse_number

ALSO: dict[type, tuple[str, ...]] = {
    ComparedCell: ("train_seconds",),
    JudgedPair: ("is_real", "seeds_to_see_a_point"),
    Verdict: ("is_decided",),
}
"""What follows from the fields, for readers who are no Python."""


def convert_to_plain(comparison: Comparison) -> JsonObject:
    """Dataclasses as objects; NaN and infinity as null; of a path its name; histories by column."""
    content: JsonObject = _plain(comparison)
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, ComparedRun):
        return _fields(value) | {"history": _columns(value.history)}
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def _fields(value: Any) -> JsonObject:
    names = [*(field.name for field in fields(value)), *ALSO.get(type(value), ())]
    return {name: _plain(getattr(value, name)) for name in names}


def _columns(history: Sequence[Mapping[str, str]]) -> JsonObject:
    """A list for each column of history.csv, a tenth of the size of a list of rows."""
    return {name: [_number(row.get(name)) for row in history] for name in (history[0] if history else ())}


def _number(cell: str | None) -> float | str | None:
    try:
        value = parse_number(cell)
    except ValueError:
        return cell
    return value if math.isfinite(value) else None
