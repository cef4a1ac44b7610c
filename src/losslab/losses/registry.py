"""The names, options and sources of all losses; imports no torch, so that params.yaml is checked in milliseconds."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from losslab.errors import InputError
from losslab.schema import Section


class Options(Section):
    """Options of one loss, with the papers' names and defaults."""

    def check(self, num_classes: int) -> None:
        """Raise InputError for what only the number of classes (1: binary) can tell."""


def _check_weights(option: str, weights: list[float], num_classes: int) -> None:
    labels = max(num_classes, 2)
    if len(weights) != labels or sum(weights) == 0:
        raise InputError(
            f"loss_options.{option} is {weights}; it must have a weight for each of {labels} classes, not all 0"
        )


Weight = Annotated[float, Field(ge=0)]


class CrossEntropyOptions(Options):
    class_weights: list[Weight] | None = None
    label_smoothing: float = Field(0.0, ge=0, lt=1)

    def check(self, num_classes: int) -> None:
        if self.class_weights is not None:
            _check_weights("class_weights", self.class_weights, num_classes)


class BceOptions(Options):
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class FocalOptions(Options):
    gamma: float = Field(2.0, ge=0)
    alpha: Annotated[float, Field(ge=0, le=1)] | list[Weight] | None = None

    def check(self, num_classes: int) -> None:
        if isinstance(self.alpha, list):
            _check_weights("alpha", self.alpha, num_classes)
        elif self.alpha is not None and num_classes > 1:
            raise InputError(
                f"loss_options.alpha is {self.alpha}; over {num_classes} classes it is a list of as many weights"
            )


class DiceOptions(Options):
    smooth: float = Field(1e-6, ge=0)
    reduction_over: Literal["image", "batch"] = "image"


@dataclass(frozen=True)
class LossSpec:
    """`target` is `module:class` below losslab.losses; the class takes (num_classes, ignore_index, **options)."""

    name: str
    target: str
    options: type[Options]
    summary: str
    paper: str


_SPECS = [
    LossSpec(
        name="cross_entropy",
        target="pixelwise:CrossEntropy",
        options=CrossEntropyOptions,
        summary="softmax cross entropy over classes; with one logit, binary cross entropy",
        paper="Szegedy et al. 2016, arXiv 1512.00567 (label smoothing)",
    ),
    LossSpec(
        name="bce",
        target="pixelwise:BinaryCrossEntropy",
        options=BceOptions,
        summary="binary cross entropy with logits; over several classes, one against the rest",
        paper="Szegedy et al. 2016, arXiv 1512.00567 (label smoothing)",
    ),
    LossSpec(
        name="focal",
        target="focal:Focal",
        options=FocalOptions,
        summary="cross entropy with easy pixels turned down by (1 - p_t)^gamma, softmax over classes",
        paper="Lin et al. 2017, arXiv 1708.02002",
    ),
    LossSpec(
        name="dice",
        target="region:Dice",
        options=DiceOptions,
        summary="1 - soft Dice, per image, over the classes that are present in it",
        paper="Milletari et al. 2016, arXiv 1606.04797 (there with squares in the denominator)",
    ),
]
LOSSES: dict[str, LossSpec] = {spec.name: spec for spec in _SPECS}


def available() -> list[str]:
    """The names that a loss expression may use."""
    return list(LOSSES)


def check_options(names: list[str], options: dict[str, Any], num_classes: int) -> dict[str, dict[str, Any]]:
    """Hand each option to every named loss that takes it, and fill in defaults.

    `num_classes` is 1 for binary data.

    Returns {loss name: {option: value}}. Raises InputError naming `loss_options.<key>` for an option that none of
    the losses takes, or a value out of range.
    """
    known = {name: LOSSES[name].options.model_fields for name in names}
    for key in options:
        if not any(key in fields for fields in known.values()):
            takers = "; ".join(f"{name}: {', '.join(fields) or 'none'}" for name, fields in known.items())
            raise InputError(f"loss_options.{key}: no loss of {'+'.join(names)} takes it; their options are {takers}")
    checked = {}
    for name, fields in known.items():
        try:
            given = {key: value for key, value in options.items() if key in fields}
            chosen = LOSSES[name].options.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            option = str(first["loc"][0])
            raise InputError(f"loss_options.{option} is {options[option]!r} ({name}): {first['msg']}") from None
        chosen.check(num_classes)
        checked[name] = chosen.model_dump()
    return checked
