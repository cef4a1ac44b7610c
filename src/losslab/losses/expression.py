"""Loss expressions: weighted sums of registry names, such as `dice`, `bce+dice`, `dice+0.01:0.1*boundary`."""

import math
import re
from dataclasses import dataclass

from losslab.errors import InputError
from losslab.losses.registry import LOSSES, available

_TERM = re.compile(r"\s*(?:(?P<weight>[^*]+)\*)?\s*(?P<name>[A-Za-z_]\w*)\s*")


_NUMBER = re.compile(r"\s*(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")


@dataclass(frozen=True)
class LossTerm:
    weight: float
    name: str
    last: float | None = None
    """The weight in the last epoch, where it is ramped: linearly, from `weight` in the first."""

    def weight_at(self, epoch: int, epochs: int) -> float:
        """The weight in an epoch, counted from 0, of so many."""
        if self.last is None or epochs < 2:
            return self.weight
        share = min(epoch / (epochs - 1), 1.0)
        return (1 - share) * self.weight + share * self.last


def parse_expression(expression: str) -> list[LossTerm]:
    """The terms of an expression, in order.

    Raises InputError for an unknown name, a weight that is not a positive number, or a name used twice.
    """
    terms = [_term(part, expression) for part in _split(expression)]
    names = [term.name for term in terms]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"loss: {expression!r} names {name} twice; give it one weight")
    return terms


def find_advice(expression: str) -> str | None:
    """What to tell the user of a sum in which no loss is meant to stand alone; None where one is."""
    specs = [LOSSES[term.name] for term in parse_expression(expression)]
    if any(spec.stands_alone for spec in specs):
        return None
    return f"loss: {expression} may learn nothing: {specs[0].name} needs a partner, such as {specs[0].expression}"


def _split(expression: str) -> list[str]:
    # A plus after an exponent (1e+2) belongs to the number.
    return re.split(r"(?<![0-9.][eE])\+", expression)


def _term(part: str, expression: str) -> LossTerm:
    match = _TERM.fullmatch(part)
    if match is None:
        raise InputError(
            f"loss: {expression!r} is no sum of losses; write a name or weight*name, joined by +, such as 0.5*bce+0.5*dice"
        )
    name, weight = match["name"], match["weight"]
    if name not in LOSSES:
        raise InputError(f"loss: {expression!r} names {name!r}, which is not one of {', '.join(available())}")
    if weight is None:
        return LossTerm(1.0, name)
    first, ramped, last = weight.partition(":")
    numbers = [_number(first), _number(last)] if ramped else [_number(first)]
    # A ramp may start or end at 0; a term that is 0 throughout is a mistake.
    if not all(0 <= number < math.inf for number in numbers) or not any(numbers):
        raise InputError(
            f"loss: {expression!r} gives {name} the weight {weight.strip()!r}; a weight is a positive number, "
            "or first:last for a ramp over the epochs, such as 0.01:0.1"
        )
    return LossTerm(numbers[0], name, numbers[1] if ramped else None)


def _number(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else math.nan
