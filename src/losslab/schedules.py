"""Learning rate schedules, as factors of the base rate; imports no torch, so that params.yaml is checked in milliseconds.

A factor depends on the step and on the val scores of past epochs alone: a resumed run needs no state to find it again.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field, ValidationError

from losslab.errors import InputError
from losslab.io.yaml import Section


class Constant(Section):
    """1 throughout."""

    def factor(self, progress: float) -> float:
        """The factor when this share (0 to 1) of the steps after the warm-up is done."""
        return 1.0


class Cosine(Constant):
    """Falls from 1 to `final` along half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts)."""

    final: float = Field(default=0.0, ge=0, le=1)

    def factor(self, progress: float) -> float:
        return _cosine(1.0, self.final, progress)


class OneCycle(Constant):
    """Rises from `first` to 1 in the share `rise` of the steps, then falls to `final` (Smith & Topin 2018, arXiv 1708.07120)."""

    rise: float = Field(default=0.3, gt=0, lt=1)
    first: float = Field(default=0.04, ge=0, le=1)
    final: float = Field(default=4e-6, ge=0, le=1)

    def factor(self, progress: float) -> float:
        if progress < self.rise:
            return _cosine(self.first, 1.0, progress / self.rise)
        return _cosine(1.0, self.final, (progress - self.rise) / (1 - self.rise))


class Poly(Constant):
    """(1 - progress)^power (Chen et al. 2017, arXiv 1606.00915)."""

    power: float = Field(default=0.9, gt=0, le=10)

    def factor(self, progress: float) -> float:
        return float((1 - progress) ** self.power)


class Plateau(Constant):
    """Multiplied by `decay` whenever val mIoU has not risen for `patience` epochs."""

    decay: float = Field(default=0.5, gt=0, lt=1)
    patience: int = Field(default=3, gt=0)

    def scale(self, scores: Sequence[float]) -> float:
        """The factor after epochs with these scores."""
        scale, best, waited = 1.0, -math.inf, 0
        for score in scores:
            best, waited = (score, 0) if score > best else (best, waited + 1)
            if waited == self.patience:
                scale, waited = scale * self.decay, 0
        return scale


SCHEDULES: dict[str, type[Constant]] = {
    "constant": Constant,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "poly": Poly,
    "plateau": Plateau,
}


def check_schedule(name: str, options: dict[str, Any]) -> Constant:
    """The schedule of this name with these options. Raises InputError for an option it does not take, or a wrong value."""
    schedule = SCHEDULES[name]
    try:
        return schedule.model_validate(options)
    except ValidationError as error:
        fault = error.errors()[0]
        key = f"train.schedule_options.{'.'.join(map(str, fault['loc']))}"
        if fault["type"] == "extra_forbidden":
            allowed = ", ".join(schedule.model_fields) or "none"
            raise InputError(f"{key}: schedule {name} does not take it; it takes {allowed}") from None
        must = fault["msg"].removeprefix("Input should be ")
        raise InputError(f"{key} is {fault['input']!r}; it must be {must}") from None


def build_lr_factor(schedule: Constant, warmup: int, steps: int) -> Callable[[int, Sequence[float]], float]:
    """A function of (optimizer steps done, val mIoU of the epochs done) → factor of the base learning rate.

    Args:
        warmup: steps of linear rise before the schedule begins.
        steps: all steps of the run.
    """

    def factor(step: int, scores: Sequence[float]) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if isinstance(schedule, Plateau):
            return schedule.scale(scores)
        return schedule.factor(min(1.0, (step - warmup) / max(1, steps - warmup)))

    return factor


def has_stalled(scores: Sequence[float], patience: int | None) -> bool:
    """Whether the best score is `patience` epochs old, so that early stopping ends the run."""
    return patience is not None and len(scores) - 1 - find_best_epoch(scores) >= patience if scores else False


def find_best_epoch(scores: Sequence[float]) -> int:
    """The index of the highest score, the first of equals; a NaN never wins, but a first one stands until beaten."""
    best = 0
    for index, score in enumerate(scores):
        if score > scores[best] or (math.isnan(scores[best]) and not math.isnan(score)):
            best = index
    return best


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
