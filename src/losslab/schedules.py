"""Learning rate schedules as factors of the base rate; imports no torch, so that params.yaml is checked quickly.

A factor depends on the step and on the val scores of past epochs alone, so a resumed run needs no saved state.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field, ValidationError

from losslab.errors import InputError
from losslab.io.faults import describe_rule, describe_value
from losslab.io.yaml import Section


class ConstantSchedule(Section):
    """The factor is always 1."""

    def compute_factor(self, progress: float) -> float:
        """Compute the factor when this share (0 to 1) of the steps after the warm-up is done."""
        return 1.0


class CosineSchedule(ConstantSchedule):
    """The factor falls from 1 to `final` along half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983)."""

    final: float = Field(default=0.0, ge=0, le=1)

    def compute_factor(self, progress: float) -> float:
        return _interpolate(1.0, self.final, progress)


class OneCycleSchedule(ConstantSchedule):
    """The factor rises from `first` to 1 in the share `rise` of the steps, then falls to `final`.

    Source: Smith & Topin 2018, arXiv 1708.07120.
    """

    rise: float = Field(default=0.3, gt=0, lt=1)
    first: float = Field(default=0.04, ge=0, le=1)
    final: float = Field(default=4e-6, ge=0, le=1)

    def compute_factor(self, progress: float) -> float:
        if progress < self.rise:
            return _interpolate(self.first, 1.0, progress / self.rise)
        return _interpolate(1.0, self.final, (progress - self.rise) / (1 - self.rise))


class PolySchedule(ConstantSchedule):
    """The factor is (1 - progress)^power (Chen et al. 2017, arXiv 1606.00915)."""

    power: float = Field(default=0.9, gt=0, le=10)

    def compute_factor(self, progress: float) -> float:
        return float((1 - progress) ** self.power)


class PlateauSchedule(ConstantSchedule):
    """The factor is multiplied by `decay` whenever val mIoU has not risen for `patience` epochs."""

    decay: float = Field(default=0.5, gt=0, lt=1)
    patience: int = Field(default=3, gt=0)

    def compute_decay(self, scores: Sequence[float]) -> float:
        """Compute the factor after epochs with these scores."""
        scale, best, waited = 1.0, -math.inf, 0
        for score in scores:
            best, waited = (score, 0) if score > best else (best, waited + 1)
            if waited == self.patience:
                scale, waited = scale * self.decay, 0
        return scale


SCHEDULES: dict[str, type[ConstantSchedule]] = {
    "constant": ConstantSchedule,
    "cosine": CosineSchedule,
    "one_cycle": OneCycleSchedule,
    "poly": PolySchedule,
    "plateau": PlateauSchedule,
}


def check_schedule(name: str, options: dict[str, Any]) -> ConstantSchedule:
    """Build a schedule from its name and options. Raises InputError for an unknown option or a wrong value.

    >>> check_schedule("poly", {"power": 2}).compute_factor(0.5)
    0.25
    """
    schedule = SCHEDULES[name]
    try:
        return schedule.model_validate(options)
    except ValidationError as error:
        fault = error.errors()[0]
        key = f"train.schedule_options.{'.'.join(map(str, fault['loc']))}"
        if fault["type"] == "extra_forbidden":
            allowed = ", ".join(schedule.model_fields) or "none"
            raise InputError(f"{key}: schedule {name} has no such option; it takes {allowed}") from None
        raise InputError(f"{key} is {describe_value(fault['input'])}; it must {describe_rule(fault)}") from None


def build_lr_factor(schedule: ConstantSchedule, warmup: int, steps: int) -> Callable[[int, Sequence[float]], float]:
    """Build a function of (optimizer steps done, val mIoU of the epochs done) → factor of the base learning rate.

    Args:
        warmup: steps of linear rise before the schedule begins.
        steps: total steps of the run.
    """

    def factor(step: int, scores: Sequence[float]) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if isinstance(schedule, PlateauSchedule):
            return schedule.compute_decay(scores)
        return schedule.compute_factor(min(1.0, (step - warmup) / max(1, steps - warmup)))

    return factor


def has_stalled(scores: Sequence[float], patience: int | None) -> bool:
    """Return whether the best score is `patience` epochs old, so that early stopping ends the run."""
    return patience is not None and len(scores) - 1 - find_best_epoch(scores) >= patience if scores else False


def find_best_epoch(scores: Sequence[float]) -> int:
    """Return the index of the highest score, the first of equals; a NaN counts as the lowest.

    >>> find_best_epoch([0.2, 0.5, 0.5])
    1
    """
    best = 0
    for index, score in enumerate(scores):
        if score > scores[best] or (math.isnan(scores[best]) and not math.isnan(score)):
            best = index
    return best


def _interpolate(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
