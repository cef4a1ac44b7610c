"""The options of each loss, with the papers' names and defaults; imports no torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from losslab.io.yaml import Section

Weighting = Literal["inverse_frequency", "median_frequency"]


class Options(Section):
    """Options of one loss, with the papers' names and defaults."""

    def find_misfits(self, num_classes: int) -> dict[str, str]:
        """Find options that do not fit the number of classes (1: binary): {option: what would be right}."""
        return {}


def _find_wrong_length(option: str, weights: list[float], num_classes: int) -> dict[str, str]:
    labels = max(num_classes, 2)
    if len(weights) != labels or sum(weights) == 0:
        return {option: f"it must have a weight for each of {labels} classes, not all 0"}
    return {}


def _refuse_tiny(value: float) -> float:
    if 0 < value < 1e-6:
        raise ValueError("0, or at least 1e-6")
    return value


def _refuse_even(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("odd, to have a pixel in its middle")
    return value


Weight = Annotated[float, Field(ge=0, le=1e6), AfterValidator(_refuse_tiny)]
Exponent = Annotated[float, Field(ge=0, le=100)]
Positive = Annotated[float, Field(ge=1e-6, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]
Smooth = Annotated[float, Field(ge=0, le=1e6)]
Window = Annotated[int, Field(ge=3, le=101), AfterValidator(_refuse_even)]


class NoOptions(Options):
    pass


class CrossEntropyOptions(Options):
    class_weights: list[Weight] | Weighting | None = None
    label_smoothing: float = Field(0.0, ge=0, lt=1)

    def find_misfits(self, num_classes: int) -> dict[str, str]:
        weights = self.class_weights
        return _find_wrong_length("class_weights", weights, num_classes) if isinstance(weights, list) else {}


class BceOptions(Options):
    label_smoothing: float = Field(0.0, ge=0, lt=1)


class FocalOptions(Options):
    gamma: Exponent = 2.0
    alpha: Share | list[Weight] | None = None

    def find_misfits(self, num_classes: int) -> dict[str, str]:
        if isinstance(self.alpha, list):
            return _find_wrong_length("alpha", self.alpha, num_classes)
        if self.alpha is not None and num_classes > 1:
            return {"alpha": f"for {num_classes} classes it must be a list of as many weights"}
        return {}


class FocalOvrOptions(Options):
    gamma: Exponent = 2.0
    alpha: Share | None = None


class TopKOptions(Options):
    k: float = Field(10.0, gt=0, le=100)


class RegionOptions(Options):
    smooth: Smooth = 1e-6
    reduction_over: Literal["image", "batch"] = "image"


class TverskyOptions(RegionOptions):
    alpha: Positive = 0.3
    beta: Positive = 0.7


class FocalTverskyOptions(RegionOptions):
    alpha: Positive = 0.7
    beta: Positive = 0.3
    gamma: float = Field(4 / 3, ge=1, le=100)


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
    alpha: float = Field(2.0, gt=0, le=10)


class CorrelationOptions(Options):
    window: Window = 3
    sigma: Positive = 1.5
    beta: float = Field(0.1, ge=0, lt=1)
    c: Positive = 0.01


class SsimOptions(Options):
    window: Window = 11
    sigma: Positive = 1.5


class ClDiceOptions(Options):
    iterations: int = Field(3, ge=0, le=100)
    smooth: Positive = 1.0


class TopologyOptions(Options):
    patch: int = Field(64, ge=8)
