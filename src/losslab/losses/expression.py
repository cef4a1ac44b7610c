"""Loss expressions: weighted sums of registry names, such as `dice`, `bce+dice`, `0.7*cross_entropy+0.3*focal`."""

import math
import re
from dataclasses import dataclass

from losslab.errors import InputError
from losslab.losses.registry import LOSSES, available

_TERM = re.compile(r"\s*(?:(?P<weight>[^*\s]+)\s*\*)?\s*(?P<name>[A-Za-z_]\w*)\s*")


@dataclass(frozen=True)
class Term:
    weight: float
    name: str


def parse(expression: str) -> list[Term]:
    """The terms of an expression, in order.

    Raises InputError for an unknown name, a weight that is not a positive number, or a name used twice.
    """
    terms = [_term(part, expression) for part in _split(expression)]
    names = [term.name for term in terms]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"loss: {expression!r} names {name} twice; give it one weight")
    return terms


def _split(expression: str) -> list[str]:
    # A plus after an exponent (1e+2) belongs to the number.
    return re.split(r"(?<![0-9.][eE])\+", expression)


def _term(part: str, expression: str) -> Term:
    match = _TERM.fullmatch(part)
    if match is None:
        raise InputError(
            f"loss: {expression!r} is no sum of losses; write a name or weight*name, joined by +, such as 0.5*bce+0.5*dice"
        )
    name, weight = match["name"], match["weight"]
    if name not in LOSSES:
        raise InputError(f"loss: {expression!r} names {name!r}, which is not one of {', '.join(available())}")
    try:
        number = 1.0 if weight is None else float(weight)
    except ValueError:
        number = math.nan
    if not (0 < number < math.inf):
        raise InputError(f"loss: {expression!r} gives {name} the weight {weight!r}; a weight is a positive number")
    return Term(number, name)
