"""A loss as plain data, parsed and checked once; imports no torch, so that params.yaml is checked in milliseconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from losslab.errors import InputError, quote, suggest_name
from losslab.io.faults import describe_rule, describe_value
from losslab.losses.expression import LossTerm, parse_expression
from losslab.losses.options import Options
from losslab.losses.registry import LOSSES, find_loss


@dataclass(frozen=True)
class ParsedLoss:
    """A loss expression and its checked options, ready to be built.

    >>> plan = parse_loss("dice+focal", {"gamma": 3.0})
    >>> plan.options["focal"]
    FocalOptions(gamma=3.0, alpha=None)
    """

    expression: str
    terms: list[LossTerm]
    options: dict[str, Options]
    """The options of each loss by its name, defaults included."""
    keys: dict[str, dict[str, str]]
    """{loss: {option: its key below loss_options}}, for options that stand in the loss's own section."""

    @property
    def advice(self) -> str | None:
        """What to tell the user of a sum in which no loss is meant to stand alone; None where one is."""
        specs = [find_loss(term.name) for term in self.terms]
        if any(spec.stands_alone for spec in specs):
            return None
        needy = specs[0]
        remedy = f"combine {needy.name} with another loss, such as {needy.expression}"
        return f"loss: {self.expression} may not learn anything by itself: {remedy}"

    def check_classes(self, num_classes: int, overlapping: bool = False) -> None:
        """Check losses and options against the number of classes, 1 for binary data; InputError: one does not fit.

        Overlapping classes are binary data each: a loss that weighs them against each other is refused.
        """
        for name in self.options if overlapping else ():
            if (instead := find_loss(name).instead) is not None:
                raise InputError(
                    f"loss: {name} weighs classes against each other, but these classes overlap; use {instead}, or another "
                    "loss of single classes"
                )
        num_classes = 1 if overlapping else num_classes
        for name, options in self.options.items():
            for option, complaint in options.find_misfits(num_classes).items():
                key = self.keys[name].get(option, option)
                raise InputError(f"loss_options.{key} is {quote(getattr(options, option))}; {complaint}")


def parse_loss(expression: str, options: dict[str, Any], class_weights: Sequence[float] | None = None) -> ParsedLoss:
    """Parse a loss expression, hand each option to every loss in it that takes it, and fill in defaults.

    Args:
        expression: such as `dice+0.5*focal`; see `losslab.losses.build_loss`.
        options: {option: value} for all the losses that take it, {loss: {option: value}} for one; the latter wins.
        class_weights: replace the option of that name, wherever it stands.

    Raises:
        InputError: an ill expression; an option that none of the losses takes, that means different things to two of
            them, or a value out of range. The message names `loss_options.<key>`.

    >>> parse_loss("dice", {"smooth": 1.0}).options
    {'dice': RegionOptions(smooth=1.0, reduction_over='image')}
    """
    terms = parse_expression(expression)
    names = [term.name for term in terms]
    sections = {key: value for key, value in options.items() if key in LOSSES or key in names}
    common = {key: value for key, value in options.items() if key not in sections}
    if class_weights is not None:
        common["class_weights"] = list(class_weights)
    for name, section in sections.items():
        if name not in names:
            raise InputError(f"loss_options.{name}: {'+'.join(names)} has no {name}")
        if not isinstance(section, dict):
            raise InputError(f"loss_options.{name} is {quote(section)}; it must hold options, such as {{gamma: 2.0}}")
        for key in section:
            _find_takers(f"{name}.{key}", key, [name])
    takers = {key: _find_takers(key, key, names) for key in common}
    for key, takers_of_key in takers.items():
        if len({_describe_option(name, key) for name in takers_of_key}) > 1:
            raise InputError(
                f"loss_options.{key}: {' and '.join(takers_of_key)} give it other meanings or defaults; "
                f"set {' or '.join(f'loss_options.{name}.{key}' for name in takers_of_key)}"
            )
    keys = {name: {key: f"{name}.{key}" for key in sections.get(name, {})} for name in names}
    checked = {}
    for name in names:
        given = {key: value for key, value in common.items() if name in takers[key]} | sections.get(name, {})
        if class_weights is not None and "class_weights" in given:
            given["class_weights"] = common["class_weights"]
        checked[name] = _validate(name, given, keys[name])
    return ParsedLoss(expression, terms, checked, keys)


def _find_takers(where: str, key: str, names: list[str]) -> list[str]:
    takers = [name for name in names if key in find_loss(name).options.model_fields]
    if not takers:
        close = suggest_name(key, {field for name in names for field in find_loss(name).options.model_fields})
        known = "; ".join(f"{name}: {', '.join(find_loss(name).options.model_fields) or 'none'}" for name in names)
        raise InputError(f"loss_options.{where}: {'+'.join(names)} has no such option; available: {known}{close}")
    return takers


def _describe_option(name: str, key: str) -> str:
    field = find_loss(name).options.model_fields[key]
    return repr((field.annotation, field.metadata, field.default))


def _validate(name: str, given: dict[str, Any], keys: dict[str, str]) -> Options:
    schema = find_loss(name).options
    try:
        return schema.model_validate(given)
    except ValidationError as error:
        option = str(error.errors()[0]["loc"][0])
        faults = [_explain_fault(fault) for fault in error.errors() if fault["loc"][0] == option]
        if schema.model_fields[option].default is None:
            faults.append("null")
        raise InputError(
            f"loss_options.{keys.get(option, option)} is {describe_value(given[option])} ({name}); "
            f"it must be {' or '.join(dict.fromkeys(faults))}"
        ) from None


def _explain_fault(fault: Any) -> str:
    """Say what one of the types that an option may have asks for."""
    message = describe_rule(fault).removeprefix("be ")
    item = next((part for part in fault["loc"][1:] if isinstance(part, int)), None)
    return message if item is None else f"a list whose item {item + 1} is {message}"
