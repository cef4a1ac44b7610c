"""The options of each loss, with the papers' names and defaults; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field

from losslab.errors import InputError
from losslab.schema import Section

Weighting = Literal["inverse_frequency", "median_frequency"]


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
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Window = Annotated[int, Field(ge=3, le=101)]


class NoOptions(Options):
    pass


class CrossEntropyOptions(Options):
    class_weights: list[Weight] | Weighting | None = None
    label_smoothing: float = Field(0.0, ge=0, lt=1)

    def check(self, num_classes: int) -> None:
        if isinstance(self.class_weights, list):
            _check_weights("class_weights", self.class_weights, num_classes)


class BceOptions(Options):
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class FocalOptions(Options):
    gamma: Weight = 2.0
    alpha: Share | list[Weight] | None = None

    def check(self, num_classes: int) -> None:
        if isinstance(self.alpha, list):
            _check_weights("alpha", self.alpha, num_classes)
        elif self.alpha is not None and num_classes > 1:
            raise InputError(
                f"loss_options.alpha is {self.alpha}; over {num_classes} classes it is a list of as many weights"
            )


class FocalOvrOptions(Options):
    gamma: Weight = 2.0
    alpha: Share | None = None


class TopKOptions(Options):
    k: float = Field(10.0, gt=0, le=100)


class RegionOptions(Options):
    smooth: Weight = 1e-6
    reduction_over: Literal["image", "batch"] = "image"


class TverskyOptions(RegionOptions):
    alpha: Positive = 0.3
    beta: Positive = 0.7


class FocalTverskyOptions(RegionOptions):
    alpha: Positive = 0.7
    beta: Positive = 0.3
    gamma: float = Field(4 / 3, ge=1)


class LovaszOptions(Options):
    classes: Literal["present", "all"] = "present"
    reduction_over: Literal["image", "batch"] = "image"


class MccOptions(Options):
    reduction_over: Literal["image", "batch"] = "image"


class UnifiedFocalOptions(RegionOptions):
    weight: Share = 0.5
    delta: float = Field(0.6, gt=0, lt=1)
    gamma: float = Field(0.5, ge=0, lt=1)
    asymmetric: bool = True


class HausdorffOptions(Options):
    alpha: Positive = 2.0


class _WindowOptions(Options):
    window: int
    sigma: Positive

    def check(self, num_classes: int) -> None:
        if self.window % 2 == 0:
            raise InputError(f"loss_options.window is {self.window}; it must be odd, to have a pixel in its middle")


class CorrelationOptions(_WindowOptions):
    window: Window = 3
    sigma: Positive = 1.5
    beta: float = Field(0.1, ge=0, lt=1)
    c: Positive = 0.01


class SsimOptions(_WindowOptions):
    window: Window = 11
    sigma: Positive = 1.5


class ClDiceOptions(Options):
    iterations: int = Field(3, ge=0, le=100)
    smooth: Positive = 1.0


class TopologyOptions(Options):
    patch: int = Field(64, ge=8)
