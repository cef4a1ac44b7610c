"""Comparison as plain data for JSON: all of it but pictures and paths, with null for what is not a number."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel

from losslab.comparison.result import ComparedCell, ComparedRun, Comparison
from losslab.comparison.verdicts import JudgedPair, Verdict
from losslab.io.files import JsonObject, parse_number

DERIVED_FIELDS: dict[type, tuple[str, ...]] = {
    ComparedCell: ("train_seconds",),
    JudgedPair: (
        *("p", "is_real", "is_equivalent", "is_decided", "may_be_claimed", "seeds", "units"),
        *("seeds_to_see_a_point", "units_to_see_a_point"),
    ),
    Verdict: ("is_decided",),
}
"""Properties that are written like fields, for readers without Python."""


def convert_to_plain(comparison: Comparison) -> JsonObject:
    """Convert dataclasses to objects, NaN and infinity to null, paths to names, and histories to columns."""
    content: JsonObject = _convert(comparison)
    return content


def _convert(value: Any) -> Any:
    if isinstance(value, ComparedRun):
        return _convert_fields(value) | {"history": _convert_history(value.history)}
    if is_dataclass(value):
        return _convert_fields(value)
    if isinstance(value, BaseModel):
        return _convert(value.model_dump())
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _convert(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_convert(part) for part in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def _convert_fields(value: Any) -> JsonObject:
    names = [*(field.name for field in fields(value)), *DERIVED_FIELDS.get(type(value), ())]
    return {name: _convert(getattr(value, name)) for name in names}


def _convert_history(history: Sequence[Mapping[str, str]]) -> JsonObject:
    """Convert rows of history.csv to a list for each column, a tenth of the size."""
    return {name: [parse_cell(row.get(name)) for row in history] for name in (history[0] if history else ())}


def parse_cell(cell: str | None) -> float | str | None:
    """Return the number in a cell of a CSV file, None where it is none or not finite, or its text."""
    try:
        value = parse_number(cell)
    except ValueError:
        return cell
    return value if math.isfinite(value) else None
