"""Faults of content that was checked against a schema, told in plain words: which key, its value, and what it must be."""

from collections.abc import Iterator
from datetime import date
from itertools import islice
from typing import Any, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from losslab.errors import MAX_QUOTED, quote, shorten, suggest_name
from losslab.formats import format_plural

MAX_FAULTS = 10
"""Faults of one file that are told; more are counted."""
MAX_EXPLAINED = 100
"""Errors of pydantic that are explained at all."""
Place = tuple[int | str, ...]
"""Keys and numbers of entries that lead to a value."""
RULES = {
    "string_type": "be text",
    "int_type": "be a whole number",
    "int_from_float": "be a whole number",
    "float_type": "be a number",
    "bool_type": "be true or false",
    "none_required": "be null",
    "list_type": "be a list",
    "tuple_type": "be a list",
    "dict_type": "have keys with values",
    "model_type": "have keys with values",
    "model_attributes_type": "have keys with values",
}
"""Type of a pydantic error → what the value must do, where pydantic speaks of Python."""


def explain_faults(error: ValidationError, schema: type[BaseModel], content: Any) -> list[str]:
    """Explain the first faults of the content: key, value, rule; where a value may be of several kinds, all rules together."""
    places = dict[Place, list[Any]]()
    for fault in error.errors()[:MAX_EXPLAINED]:
        _, place = _find_place(fault["loc"], content, fault["type"] == "missing")
        places.setdefault(place, []).append(fault)
    texts = [
        text
        for place, faults in places.items()
        if not _is_of_another_kind(place, faults, places)
        for text in _explain_place(".".join(map(str, place)), faults, schema)
    ]
    more = max(len(texts) - MAX_FAULTS, 0) + max(error.error_count() - MAX_EXPLAINED, 0)
    return texts[:MAX_FAULTS] + ([f"{more} more"] if more else [])


def describe_rule(fault: Any) -> str:
    """Say what a pydantic error asks for, to follow "it must"."""
    message = str(fault["msg"])
    for start in ("Value error, ", "Input should ", "String should "):
        message = message.removeprefix(start)
    return RULES.get(fault["type"], message)


def describe_value(value: Any) -> str:
    """Write a value as YAML does, cut to 200 characters.

    >>> describe_value({"low": None, "log": [True, "yes"]})
    "{low: null, log: [true, 'yes']}"
    """
    if isinstance(value, dict):
        return shorten(
            f"{{{', '.join(f'{key}: {describe_value(part)}' for key, part in islice(value.items(), MAX_QUOTED))}}}"
        )
    if isinstance(value, list):
        return shorten(f"[{', '.join(map(describe_value, value[:MAX_QUOTED]))}]")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, date) else quote(value)


def _explain_place(key: str, faults: list[Any], schema: type[BaseModel]) -> Iterator[str]:
    """Explain the faults at one place; several that are rules are those of the kinds that its value may be of."""
    key, rules = shorten(key), dict[str, None]()
    for fault in faults:
        kind, ctx = fault["type"], fault.get("ctx", {})
        if kind == "extra_forbidden":
            allowed = _list_keys(schema, fault["loc"][:-1])
            listed = f"; allowed here: {', '.join(allowed)}" if allowed else ""
            yield f"{key}: unknown key{listed}{suggest_name(str(fault['loc'][-1]), allowed)}"
        elif kind == "missing":
            yield f"{key}: missing"
        elif fault["loc"][-1:] == ("[key]",):
            yield f"{key}: the key must be text; put it in quotes"
        elif kind in ("value_error", "wrong_kind"):
            yield f"{key}: {describe_rule(fault)}" if key else describe_rule(fault)
        elif kind == "string_too_short" and not fault["input"]:
            yield f"{key} is empty; it must not be"
        elif kind in ("too_short", "too_long"):
            length, bound = len(fault["input"]), ctx.get("min_length", ctx.get("max_length"))
            has = f"has {format_plural(length, 'entry', 'entries')}" if length else "is empty"
            most = "least" if kind == "too_short" else "most"
            yield f"{key} {has}; it must have at {most} {bound}"
        else:
            rules[describe_rule(fault)] = None
    if "be a number" in rules:
        rules.pop("be a whole number", None)
    if rules:
        first, *others = rules
        asked = " or ".join((first, *(rule.removeprefix("be ") for rule in others)))
        yield f"{key} is {describe_value(faults[0]['input'])}; it must {asked}"


def _find_place(location: Place, content: Any, is_missing: bool) -> tuple[bool, Place]:
    """Find the place of a fault in the content: its location without pydantic's marks of alternatives, which may be keys too.

    Returns it with whether the end of the location is a part of it; a key that `is_missing` is part of its mapping.
    """
    if not location:
        return False, ()
    part, rest = location[0], location[1:]
    steps = []
    if isinstance(content, dict):
        steps = [value for key, value in content.items() if str(key) == str(part)]
        steps += [None] if is_missing and not rest else []
    elif isinstance(part, int):
        steps = [content[part] if isinstance(content, list) and part < len(content) else None]
    found = []
    for step in steps[:1]:
        is_whole, place = _find_place(rest, step, is_missing)
        found.append((is_whole or not rest, (part, *place)))
    found += [_find_place(rest, content, is_missing)]
    return max(found, key=lambda each: (each[0], len(each[1])))


def _is_of_another_kind(place: Place, faults: list[Any], places: dict[Place, list[Any]]) -> bool:
    """Whether these faults are of alternatives that the value is not meant to be: another one led further into it."""
    is_led_further = any(len(other) > len(place) and other[: len(place)] == place for other in places)
    return is_led_further and all(len(fault["loc"]) > len(place) for fault in faults)


def _list_keys(annotation: Any, location: Place) -> list[str]:
    """List the keys of the section at a location, through fields, lists, mappings, and alternatives marked with a Tag."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return list(annotation.model_fields)
        field = annotation.model_fields.get(str(location[0]))
        return _list_keys(field.annotation, location[1:]) if field else []
    tags = [mark.tag for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, Tag)]
    if tags:
        return _list_keys(annotation.__origin__, location[1:]) if location[:1] == (tags[0],) else []
    rest = location[1:] if location and (isinstance(location[0], int) or get_origin(annotation) is dict) else location
    return next((keys for option in get_args(annotation) if (keys := _list_keys(option, rest))), [])
