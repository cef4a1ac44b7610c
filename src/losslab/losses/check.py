"""Options against the losses that are to take them; imports no torch, so that params.yaml is checked in milliseconds."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from losslab.errors import InputError
from losslab.losses.registry import LOSSES


def check_options(
    names: list[str], options: dict[str, Any], num_classes: int, class_weights: Sequence[float] | None = None
) -> dict[str, dict[str, Any]]:
    """Hand each option to every named loss that takes it, and fill in defaults.

    Args:
        options: {option: value} for all the losses that take it, {loss: {option: value}} for one; the latter wins.
        num_classes: 1 for binary data.
        class_weights: replaces the option of that name.

    Returns {loss name: {option: value}}. Raises InputError naming `loss_options.<key>` for an option that none of
    the losses takes, that means different things to two of them, or a value out of range.
    """
    own = {key: value for key, value in options.items() if key in LOSSES}
    common = {key: value for key, value in options.items() if key not in LOSSES}
    if class_weights is not None:
        common["class_weights"] = list(class_weights)
    for name, section in own.items():
        if name not in names:
            raise InputError(f"loss_options.{name}: {'+'.join(names)} has no {name}")
        if not isinstance(section, dict):
            raise InputError(
                f"loss_options.{name} is {section!r}; it must hold options of {name}, such as {{gamma: 2.0}}"
            )
        for key in section:
            _check_taken(f"{name}.{key}", key, [name])
    for key in common:
        _check_taken(key, key, names)
        if len({_meaning(name, key) for name in _takers(key, names)}) > 1:
            takers = _takers(key, names)
            raise InputError(
                f"loss_options.{key}: {' and '.join(takers)} take it, with other meanings or defaults; "
                f"say which: {' or '.join(f'loss_options.{name}.{key}' for name in takers)}"
            )
    checked = {}
    for name in names:
        section = own.get(name, {})
        given = {key: value for key, value in common.items() if name in _takers(key, names)} | section
        if class_weights is not None and "class_weights" in given:
            given["class_weights"] = list(class_weights)
        checked[name] = _validated(name, given, {key: f"{name}.{key}" for key in section}, num_classes)
    return checked


def _takers(key: str, names: list[str]) -> list[str]:
    return [name for name in names if key in LOSSES[name].options.model_fields]


def _meaning(name: str, key: str) -> str:
    field = LOSSES[name].options.model_fields[key]
    return repr((field.annotation, field.metadata, field.default))


def _check_taken(where: str, key: str, names: list[str]) -> None:
    if not _takers(key, names):
        known = "; ".join(f"{name}: {', '.join(LOSSES[name].options.model_fields) or 'none'}" for name in names)
        raise InputError(f"loss_options.{where}: no loss of {'+'.join(names)} takes it; their options are {known}")


def _validated(name: str, given: dict[str, Any], where: dict[str, str], num_classes: int) -> dict[str, Any]:
    try:
        chosen = LOSSES[name].options.model_validate(given)
    except ValidationError as error:
        option = str(error.errors()[0]["loc"][0])
        faults = [_fault(fault) for fault in error.errors() if fault["loc"][0] == option]
        if LOSSES[name].options.model_fields[option].default is None:
            faults.append("null")
        raise InputError(
            f"loss_options.{where.get(option, option)} is {given[option]!r} ({name}); "
            f"it must be {' or '.join(dict.fromkeys(faults))}"
        ) from None
    for option, complaint in chosen.complaints(num_classes).items():
        raise InputError(f"loss_options.{where.get(option, option)} is {given[option]!r}; {complaint}")
    return chosen.model_dump()


def _fault(fault: Any) -> str:
    """What one of the types that an option may have asks for."""
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    item = next((part for part in fault["loc"][1:] if isinstance(part, int)), None)
    return str(message) if item is None else f"a list whose item {item + 1} is {message}"
