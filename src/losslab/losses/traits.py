"""Traits of a loss, measured on small scenes: what a rewritten input, of the same meaning, does to it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Build = Callable[[int], Callable[[Tensor, Tensor], Tensor]]
"""Builds a loss, called as `loss(logits, target)`, for a number of classes; 1 means binary data, one logit."""
SIDE_PX = 64
SCENES = 4
"""Scenes on which the effect of resolution is measured."""
MAX_ROUNDING = 1e-6
"""Relative difference that is rounding: scenes are float64."""
MAX_RESAMPLING = 0.05
"""Relative difference that drawing a scene at twice the resolution makes by itself, as borders fall between pixels."""


@dataclass(frozen=True)
class LogitForms:
    """Two logits (-z/2, z/2), whose softmax is z's sigmoid, against one logit z, on the same binary data."""

    value: float
    """Value of two logits, divided by that of one."""
    gradient: float
    """Length of the gradient on z of two logits, divided by that of one."""
    degrees: float
    """Angle between the two gradients."""

    @property
    def agree_in_value(self) -> bool:
        return abs(self.value - 1) <= MAX_ROUNDING

    @property
    def agree_in_gradient(self) -> bool:
        return abs(self.gradient - 1) <= MAX_ROUNDING and self.degrees <= 1e-3

    def __str__(self) -> str:
        if self.agree_in_value and self.agree_in_gradient:
            return "agree in value and gradient"
        turned = (
            "" if self.agree_in_gradient else f", gradient × {_format(self.gradient)} and turned by {self.degrees:.0f}°"
        )
        return f"differ: {'same value' if self.agree_in_value else f'value × {_format(self.value)}'}{turned}"


@dataclass(frozen=True)
class ResolutionEffect:
    """The value of a scene drawn at twice the resolution, image and mask, divided by the value before."""

    least: float
    most: float
    """Factors over the scenes."""

    @property
    def is_none(self) -> bool:
        return max(abs(self.least - 1), abs(self.most - 1)) <= MAX_RESAMPLING

    def __str__(self) -> str:
        least, most = _format(self.least), _format(self.most)
        return "no change" if self.is_none else f"× {least}" + (f" to {most}" if most != least else "")


@dataclass(frozen=True)
class ClassSymmetry:
    """The value after classes have changed places, in logits and target alike, divided by the value before."""

    of_three: float
    """Factor where each of three classes takes the place of the next."""
    of_one_logit: float
    """Factor where foreground and background of one logit change places."""

    @property
    def holds_for_three(self) -> bool:
        return abs(self.of_three - 1) <= MAX_ROUNDING

    @property
    def holds_for_one_logit(self) -> bool:
        return abs(self.of_one_logit - 1) <= MAX_ROUNDING

    def __str__(self) -> str:
        answers = {
            (True, True): "yes",
            (True, False): "yes; with one logit no",
            (False, True): "no; with one logit yes",
        }
        return answers.get((self.holds_for_three, self.holds_for_one_logit), "no")


@dataclass(frozen=True)
class LossTraits:
    """All traits of a loss."""

    logit_forms: LogitForms
    resolution: ResolutionEffect
    symmetry: ClassSymmetry


def measure_traits(build: Build) -> LossTraits:
    """Measure all traits of a loss with the options that it is built with.

    >>> from losslab.losses import build_loss
    >>> traits = measure_traits(lambda num_classes: build_loss("total_variation", num_classes))
    >>> str(traits.logit_forms), str(traits.resolution), str(traits.symmetry)
    ('agree in value and gradient', '× 0.50', 'yes')
    """
    return LossTraits(compare_logit_forms(build), measure_resolution_effect(build), measure_symmetry(build))


def compare_logit_forms(build: Build) -> LogitForms:
    """Compare two logits with one on a batch of three scenes, of which one has no foreground."""
    logits, target = draw_scenes(2, 3)
    target[-1] = 0
    difference = logits[:, 1:] - logits[:, :1]
    values, gradients = [], []
    for num_classes in (1, 2):
        leaf = difference.clone().requires_grad_()
        value = build(num_classes)(leaf if num_classes == 1 else torch.cat([-leaf / 2, leaf / 2], dim=1), target)
        (gradient,) = torch.autograd.grad(value, leaf)
        values.append(value.item())
        gradients.append(gradient.flatten())
    one, two = gradients
    return LogitForms(
        _divide(values[1], values[0]), _divide(two.norm().item(), one.norm().item()), measure_angle(one, two)
    )


def measure_resolution_effect(build: Build) -> ResolutionEffect:
    """Measure what twice the resolution does to the value on each of a few scenes, binary, with one logit."""
    loss = build(1)
    factors = []
    for seed in range(SCENES):
        values = []
        for side_px in (SIDE_PX, 2 * SIDE_PX):
            logits, target = draw_scenes(2, 2, side_px, seed)
            with torch.no_grad():
                values.append(loss(logits[:, 1:] - logits[:, :1], target).item())
        factors.append(_divide(values[1], values[0]))
    return ResolutionEffect(min(factors), max(factors))


def measure_symmetry(build: Build) -> ClassSymmetry:
    """Measure whether classes may change places, with three logits and with one."""
    (logits, target), three, one = draw_scenes(3, 2), build(3), build(1)
    binary, mask = draw_scenes(2, 2)
    difference = binary[:, 1:] - binary[:, :1]
    with torch.no_grad():
        return ClassSymmetry(
            _divide(three(logits.roll(1, dims=1), (target + 1) % 3).item(), three(logits, target).item()),
            _divide(one(-difference, 1 - mask).item(), one(difference, mask).item()),
        )


def draw_scenes(num_classes: int, n: int, side_px: int = SIDE_PX, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw smooth blobs of all classes, and logits that are partly wrong; each size shows the same scene.

    Returns logits float64 `[N, C, side, side]` and target int64 `[N, side, side]`.

    >>> logits, target = draw_scenes(3, 2, side_px=16)
    >>> logits.shape, target.unique().tolist()
    (torch.Size([2, 3, 16, 16]), [0, 1, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (n, num_classes, SIDE_PX // 12, SIDE_PX // 12)
    truth, noise = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    truth, logits = (
        F.interpolate(field, (side_px, side_px), mode="bicubic") for field in (truth, 6 * truth + 2 * noise)
    )
    return logits, truth.argmax(dim=1)


def measure_angle(one: Tensor, other: Tensor) -> float:
    """Measure the angle between two flat tensors, in degrees; exact near 0, where the arc cosine is not.

    >>> measure_angle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]))
    90.0
    """
    one, other = (F.normalize(each.double(), dim=0) for each in (one, other))
    return math.degrees(2 * math.atan2((one - other).norm().item(), (one + other).norm().item()))


def _format(factor: float) -> str:
    return f"{factor:#.2g}"


def _divide(value: float, base: float) -> float:
    """Divide, where 0 of 0 is no change."""
    return 1.0 if value == base else value / base if base else math.inf
