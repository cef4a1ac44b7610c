"""Keys of params.yaml as a study names them: nested or dotted, checked against its schema."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel

from losslab.errors import InputError
from losslab.params import Params

KeyPath = tuple[str, ...]
Overrides = dict[KeyPath, Any]


def flatten_overrides(mapping: Mapping[str, Any], where: str) -> Overrides:
    """The leaves of a mapping: `{train: {lr: 1}, "prepare.size": 64}` → `{("train", "lr"): 1, ("prepare", "size"): 64}`.

    A value that params.yaml leaves open, such as loss_options, is one leaf: given whole, it replaces what was there.

    Raises:
        InputError: a key that params.yaml does not have, named after `where` it stands.
    """
    found: Overrides = {}
    for path, value in _leaves(mapping, (), where):
        if clash := next((other for other in found if _overlap(path, other)), None):
            raise InputError(f"{where}: {'.'.join(clash)} and {'.'.join(path)} say the same key twice")
        found[path] = value
    return found


def find_clash(changes: Overrides, others: Overrides) -> str | None:
    """A key that both change."""
    return next((".".join(path) for path in changes if any(_overlap(path, other) for other in others)), None)


def apply_overrides(params: Mapping[str, Any], changes: Overrides) -> dict[str, Any]:
    """A copy of a params.yaml's content with these changes."""
    result: dict[str, Any] = deepcopy(dict(params))
    for path, value in changes.items():
        section = result
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = deepcopy(value)
    return result


def _leaves(mapping: Mapping[str, Any], above: KeyPath, where: str) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in mapping.items():
        path = (*above, *str(key).split("."))
        if _section(path, where) is None:
            yield path, value
        elif not isinstance(value, Mapping) or not value:
            raise InputError(f"{where}: {'.'.join(path)} is {value!r}; it must be keys with values")
        else:
            yield from _leaves(value, path, where)


def _section(path: KeyPath, where: str) -> type[BaseModel] | None:
    """The section of params.yaml at a path; None: a value, or something within one that is left open."""
    section: type[BaseModel] = Params
    for position, key in enumerate(path):
        if key not in section.model_fields:
            above = ".".join(path[:position]) or "params.yaml"
            raise InputError(
                f"{where}: {'.'.join(path)} is no key of params.yaml; {above} has {', '.join(section.model_fields)}"
            )
        annotation = section.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            if len(path) > position + 1 and getattr(annotation, "__origin__", None) is not dict:
                raise InputError(f"{where}: {'.'.join(path)}: {'.'.join(path[: position + 1])} has no keys of its own")
            return None
        section = annotation
    return section


def _overlap(one: KeyPath, other: KeyPath) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
