"""Keys of params.yaml as a study writes them: nested or dotted, checked against the schema."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from losslab.errors import InputError, quote
from losslab.params import Params

KeyPath = tuple[str, ...]
Overrides = dict[KeyPath, Any]


def flatten_overrides(mapping: Mapping[str, Any], where: str) -> Overrides:
    """Return the leaves of a mapping, by path. Raises InputError at `where` if a key is unknown or set twice.

    `{train: {lr: 1}, "prepare.size": 64}` gives `{("train", "lr"): 1, ("prepare", "size"): 64}`. A value whose keys
    params.yaml leaves open, such as loss_options, is one leaf, and replaces the one before.
    """
    leaves: Overrides = {}
    for path, value in _list_leaves(mapping, (), where):
        if clash := next((other for other in leaves if _overlap(path, other)), None):
            raise InputError(f"{where}: {'.'.join(clash)} and {'.'.join(path)} set the same key")
        leaves[path] = value
    return leaves


def find_clash(changes: Overrides, others: Overrides) -> str | None:
    """Return a key that both change; None if there is none."""
    return next((".".join(path) for path in changes if any(_overlap(path, other) for other in others)), None)


def apply_overrides(params: Mapping[str, Any], changes: Overrides) -> dict[str, Any]:
    """Return a copy of the content of a params.yaml with these changes."""
    result: dict[str, Any] = deepcopy(dict(params))
    for path, value in changes.items():
        section = result
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = deepcopy(value)
    return result


def _list_leaves(mapping: Mapping[str, Any], above: KeyPath, where: str) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in mapping.items():
        path = (*above, *str(key).split("."))
        if _find_section(path, where) is None:
            yield path, value
        elif not isinstance(value, Mapping) or not value:
            raise InputError(f"{where}: {'.'.join(path)} is {quote(value)}; it must have keys with values")
        else:
            yield from _list_leaves(value, path, where)


def _find_section(path: KeyPath, where: str) -> type[BaseModel] | None:
    """Return the section of params.yaml at a path; None at a value, or within one whose keys are open."""
    section: type[BaseModel] = Params
    for position, key in enumerate(path):
        if key not in section.model_fields:
            above = ".".join(path[:position]) or "params.yaml"
            raise InputError(f"{where}: no such key: {'.'.join(path)}; {above} has {', '.join(section.model_fields)}")
        annotation = section.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            if len(path) > position + 1 and getattr(annotation, "__origin__", None) is not dict:
                raise InputError(f"{where}: {'.'.join(path)}: {'.'.join(path[: position + 1])} has no keys of its own")
            return None
        section = annotation
    return section


def _overlap(one: KeyPath, other: KeyPath) -> bool:
    return all(key == another for key, another in zip(one, other, strict=False))
