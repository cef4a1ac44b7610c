"""Loss expressions: weighted sums of registry names, such as `dice`, `bce+dice`, `dice+0.01:0.1*boundary`."""

import math
import re
from collections import Counter
from dataclasses import dataclass

from losslab.errors import InputError, quote
from losslab.losses.registry import find_loss

_TERM = re.compile(r"\s*(?:(?P<weight>[^*]+)\*)?\s*(?P<name>[A-Za-z_]\w*)\s*")
_NUMBER = re.compile(r"\s*(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*")


@dataclass(frozen=True)
class LossTerm:
    """One term of an expression.

    >>> LossTerm(0.0, "boundary", last=0.1).compute_weight(epoch=5, epochs=11)
    0.05
    """

    weight: float
    name: str
    last: float | None = None
    """Weight in the last epoch of a ramp, which rises or falls linearly from `weight` in the first; None: no ramp."""

    def compute_weight(self, epoch: int, epochs: int) -> float:
        """Compute the weight in an epoch, counted from 0, of a run of `epochs`."""
        if self.last is None or epochs < 2:
            return self.weight
        share = min(epoch / (epochs - 1), 1.0)
        return (1 - share) * self.weight + share * self.last


def parse_expression(expression: str) -> list[LossTerm]:
    """Parse an expression in order; InputError: an unknown name, one used twice, or a weight that is no positive number.

    >>> parse_expression("dice+0.01:0.1*boundary")[1]
    LossTerm(weight=0.01, name='boundary', last=0.1)
    """
    # A plus after an exponent (1e+2) belongs to the number.
    terms = [_parse_term(part, expression) for part in re.split(r"(?<![0-9.][eE])\+", expression)]
    for name, count in Counter(term.name for term in terms).items():
        if count > 1:
            raise InputError(f"loss: {quote(expression)} names {name} twice; give it one weight")
    return terms


def _parse_term(part: str, expression: str) -> LossTerm:
    match = _TERM.fullmatch(part)
    if match is None:
        raise InputError(
            f"loss: {quote(expression)} is not a sum of losses; join names or weight*name with +, such as 0.5*bce+0.5*dice"
        )
    name, weight = match["name"], match["weight"]
    find_loss(name, expression)
    if weight is None:
        return LossTerm(1.0, name)
    first, ramped, last = weight.partition(":")
    texts = (first, last) if ramped else (first,)
    numbers = [float(text) if _NUMBER.fullmatch(text) else math.nan for text in texts]
    # A ramp may start or end at 0; a term that is 0 throughout is a mistake.
    if not all(0 <= number < math.inf for number in numbers) or not any(numbers):
        raise InputError(
            f"loss: {quote(expression)} gives {name} the weight {quote(weight.strip())}; a weight is a positive number, "
            "or first:last for a ramp over the epochs, such as 0.01:0.1"
        )
    return LossTerm(numbers[0], name, numbers[1] if ramped else None)
