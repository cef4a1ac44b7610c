"""A pydantic schema from a JSON schema: a plug-in's options are checked without importing the plug-in."""

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, create_model

Base = TypeVar("Base", bound=BaseModel)
TYPES = {"number": float, "integer": int, "string": str, "boolean": bool, "null": None, "object": dict[str, Any]}
LIMITS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "pattern": "pattern",
    "description": "description",
}
"""Keyword of JSON Schema → argument of pydantic's Field. What has no equal here is checked when the plug-in is built."""


def build_schema(name: str, schema: dict[str, Any], base: type[Base]) -> type[Base]:
    """Build a schema with the same keys, types, limits and defaults.

    >>> from losslab.io.yaml import Section
    >>> properties = {"power": {"type": "number", "exclusiveMinimum": 0, "default": 2.0}}
    >>> build_schema("Options", {"properties": properties}, Section)(power=1.5)
    Options(power=1.5)
    """
    definitions = schema.get("$defs", {})
    fields: dict[str, Any] = {
        key: (_find_type(entry, definitions), entry.get("default"))
        for key, entry in schema.get("properties", {}).items()
    }
    return create_model(name, __base__=base, **fields)


def _find_type(entry: dict[str, Any], definitions: dict[str, Any]) -> Any:
    if "$ref" in entry:
        return _find_type(definitions[entry["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in entry:
        return reduce(or_, [_find_type(each, definitions) for each in entry["anyOf"]])
    if "enum" in entry or "const" in entry:
        return Literal[tuple(entry.get("enum", [entry.get("const")]))]
    if entry.get("type") == "array":
        kind: Any = list[_find_type(entry.get("items", {}), definitions)]  # type: ignore[misc]
    else:
        kind = TYPES.get(entry.get("type", ""), Any)
    limits = {LIMITS[key]: value for key, value in entry.items() if key in LIMITS}
    return Annotated[kind, Field(**limits)] if limits else kind
