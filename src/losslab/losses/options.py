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
Smooth = Annotated[float, Field(ge=0, le=1e6, description="pixels added above and below the fraction")]
Window = Annotated[int, Field(ge=3, le=101, description="side of the window, in pixels"), AfterValidator(_refuse_even)]
Deviation = Annotated[Positive, Field(description="standard deviation of the window's Gaussian, in pixels")]
Scope = Annotated[
    Literal["image", "batch"], Field(description="image: pixels are counted in each; batch: in all of them together")
]


class NoOptions(Options):
    pass


class CrossEntropyOptions(Options):
    class_weights: list[Weight] | Weighting | None = Field(
        None, description="a weight for each class, or a rule: inverse_frequency, median_frequency"
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="share of each target that is spread evenly over the classes"
    )

    def find_misfits(self, num_classes: int) -> dict[str, str]:
        weights = self.class_weights
        return _find_wrong_length("class_weights", weights, num_classes) if isinstance(weights, list) else {}


class BceOptions(Options):
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each target that moves to 1/2")


class FocalOptions(Options):
    gamma: Exponent = Field(2.0, description="how far easy pixels are turned down; 0: not at all")
    alpha: Share | list[Weight] | None = Field(
        None, description="a weight for each class; with one logit the foreground's, the background has 1 - alpha"
    )

    def find_misfits(self, num_classes: int) -> dict[str, str]:
        if isinstance(self.alpha, list):
            return _find_wrong_length("alpha", self.alpha, num_classes)
        if self.alpha is not None and num_classes > 1:
            return {"alpha": f"for {num_classes} classes it must be a list of as many weights"}
        return {}


class FocalOvrOptions(Options):
    gamma: Exponent = Field(2.0, description="how far easy pixels are turned down; 0: not at all")
    alpha: Share | None = Field(None, description="weight of a class where it is; 1 - alpha is that of where it is not")


class TopKOptions(Options):
    k: float = Field(10.0, gt=0, le=100, description="per cent of the valid pixels that count, the hardest")


class RegionOptions(Options):
    smooth: Smooth = 1e-6
    reduction_over: Scope = "image"


class TverskyOptions(RegionOptions):
    alpha: Positive = Field(0.3, description="weight of false positives")
    beta: Positive = Field(0.7, description="weight of false negatives")


class FocalTverskyOptions(RegionOptions):
    alpha: Positive = Field(0.7, description="weight of false negatives, unlike tversky's")
    beta: Positive = Field(0.3, description="weight of false positives")
    gamma: float = Field(4 / 3, ge=1, le=100, description="root that is taken; more turns up what is nearly right")


class LovaszOptions(Options):
    classes: Literal["present", "all"] = Field(
        "present", description="present: the classes in the truth count; all: the others too"
    )
    reduction_over: Scope = "image"


class MccOptions(Options):
    reduction_over: Scope = "image"


class UnifiedFocalOptions(RegionOptions):
    weight: Share = Field(0.5, description="share of focal cross entropy; the rest is focal Tversky's")
    delta: float = Field(
        0.6, gt=0, lt=1, description="weight of foreground and of false negatives; 1 - delta: of what they leave"
    )
    gamma: float = Field(0.5, ge=0, lt=1, description="how far easy pixels are turned down, and poor overlap up")
    asymmetric: bool = Field(True, description="whether background alone is turned down, and foreground alone up")


class HausdorffOptions(Options):
    alpha: float = Field(2.0, gt=0, le=10, description="power of the distances: more penalises far errors more")


class CorrelationOptions(Options):
    window: Window = 3
    sigma: Deviation = 1.5
    beta: float = Field(
        0.1, ge=0, lt=1, description="share of the image's largest structural error above which pixels count"
    )
    c: Positive = Field(0.01, description="added to deviations from the mean, and to what divides them")


class SsimOptions(Options):
    window: Window = 11
    sigma: Deviation = 1.5


class ClDiceOptions(Options):
    iterations: int = Field(
        3, ge=0, le=100, description="erosions: at least the radius of the thickest line, in pixels"
    )
    smooth: Positive = Field(1.0, description="pixels added above and below the fractions")


class TopologyOptions(Options):
    patch: int = Field(64, ge=8, description="side of the patches that are compared, in pixels")
