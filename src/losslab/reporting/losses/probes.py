"""Measurements of a loss on small scenes, and of its cost: the numbers on the loss cards."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from losslab.inference.tensors import to_labels
from losslab.losses import build_loss
from losslab.losses.total import TotalLoss
from losslab.losses.traits import LossTraits, measure_angle, measure_traits

SIDE_PX = 64
SURE = 0.99
"""Probability of a confident prediction; that of the opposite is 1 - SURE."""
PROBABILITIES = [round(value, 4) for value in np.linspace(0.01, 0.99, 50).tolist()]
STEP_SHAPE = (4, 3, 256, 256)
ROUNDS, MIN_ROUNDS = 9, 2
"""Times that each loss is measured, and those of a loss that has had its `MAX_TIMING_S`."""
MAX_TIMING_S = 2.0

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ProbabilityCurve:
    """Loss and push over PROBABILITIES; the push is `-Σ dL/dz` over the changing pixels, positive towards the class."""

    loss: list[float]
    push: list[float]


@dataclass(frozen=True)
class StepCost:
    """Cost of a forward and backward pass at STEP_SHAPE on this machine."""

    milliseconds: float
    """Time on CUDA, or else of one processor core."""
    megabytes: float
    """Memory that the forward pass keeps for the backward pass, in MiB, without the logits."""


@dataclass(frozen=True)
class HalfPrecision:
    """Effect of rounding logits to bfloat16 on value and gradient; the loss still computes in float32."""

    value_error: float
    """Relative difference of the value."""
    degrees: float
    """Angle between the two gradients."""
    finite: bool
    """Whether value and gradient are finite for logits of ±10 000."""


@dataclass(frozen=True, kw_only=True)
class LossProbes:
    on_truth: ProbabilityCurve
    """Curve where the disc's pixels get p, and all others are correct."""
    on_background: ProbabilityCurve
    """Curve where all pixels but the disc's get p, and the disc is correct."""
    masks: dict[str, list[float]]
    """Empty, tiny, full → losses over PROBABILITIES, where every pixel gets p."""
    shapes: dict[str, float]
    """Shape → loss of predicting it with confidence where the first shape is the truth."""
    half: HalfPrecision
    traits: LossTraits


def draw_disc() -> Mask:
    """Draw a disc that covers two pixels in ten."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] - (SIDE_PX - 1) / 2
    return np.asarray(np.hypot(x, y) < SIDE_PX / 4)


def draw_masks() -> dict[str, Mask]:
    tiny = np.zeros((SIDE_PX, SIDE_PX), bool)
    tiny[30:33, 30:33] = True
    return {"empty": np.zeros_like(tiny), "tiny": tiny, "full": np.ones_like(tiny)}


def draw_shapes() -> dict[str, Mask]:
    """Draw a bar with round ends, which is the truth, and three wrong predictions of it."""
    bar = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    cv2.line(bar, (12, 32), (51, 32), 1, thickness=5)
    broken = bar.copy()
    broken[:, 29:35] = 0
    ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    shapes = {"exact": bar, "shifted": np.roll(bar, 2, axis=0), "dilated": cv2.dilate(bar, ball), "broken": broken}
    return {name: np.asarray(mask) > 0 for name, mask in shapes.items()}


@contextmanager
def use_one_thread() -> Iterator[None]:
    """Let torch compute in one thread: on scenes this small, others cost more than they do, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@use_one_thread()
def probe_loss(expression: str) -> LossProbes:
    """Measure one loss with its default options, on binary scenes."""
    loss = build_loss(expression, 1)
    truth, background = draw_disc(), ~draw_disc()
    certain = np.where(truth, SURE, 1 - SURE)
    scenes = draw_shapes()
    return LossProbes(
        on_truth=_measure_curve(loss, truth, lambda p: np.where(truth, p, certain), truth),
        on_background=_measure_curve(loss, truth, lambda p: np.where(background, p, certain), background),
        masks={
            name: [_compute_value(loss, np.full(mask.shape, p), mask) for p in PROBABILITIES]
            for name, mask in draw_masks().items()
        },
        shapes={
            name: _compute_value(loss, np.where(mask, SURE, 1 - SURE), scenes["exact"]) for name, mask in scenes.items()
        },
        half=measure_half_precision(expression),
        traits=measure_traits(lambda num_classes: build_loss(expression, num_classes)),
    )


def _build_tensors(p: npt.NDArray[np.float64], truth: Mask) -> tuple[Tensor, Tensor]:
    logits = torch.logit(torch.from_numpy(p)).float()[None, None]
    return logits.requires_grad_(), torch.from_numpy(truth.astype(np.int64))[None]


def _compute_value(loss: TotalLoss, p: npt.NDArray[np.float64], truth: Mask) -> float:
    with torch.no_grad():
        return float(loss(*_build_tensors(p, truth)))


def _measure_curve(
    loss: TotalLoss, truth: Mask, scene: Callable[[float], npt.NDArray[np.float64]], moving: Mask
) -> ProbabilityCurve:
    values, pushes = [], []
    for p in PROBABILITIES:
        logits, target = _build_tensors(scene(p), truth)
        value = loss(logits, target)
        value.backward()
        assert logits.grad is not None
        values.append(value.item())
        pushes.append(-float(logits.grad[0, 0][torch.from_numpy(moving)].sum()))
    return ProbabilityCurve(values, pushes)


def _build_step_input(device: torch.device, num_classes: int) -> tuple[Tensor, Tensor]:
    """Build logits like those of a half-trained net, and a truth of blobs and thin lines."""
    n, _, h, w = STEP_SHAPE
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(n, num_classes, h // 16, w // 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (h, w), mode="bicubic")
    target = to_labels(smooth)
    target[:, :: h // 8] = max(num_classes, 2) - 1
    logits = 2 * smooth + 0.3 * torch.randn(smooth.shape, generator=generator)
    return logits.to(device), target.to(device)


@use_one_thread()
def measure_steps(
    expressions: Sequence[str],
    rounds: Iterable[int] = range(ROUNDS),
    options: Mapping[str, dict[str, Any]] | None = None,
    num_classes: int = STEP_SHAPE[1],
) -> dict[str, StepCost]:
    """Measure the fastest of a few steps of each loss, and the memory that one keeps.

    On CUDA it is measured by the clock; on the CPU it is the time that one thread computes: what else the machine does
    makes a step wait, and several threads wait for one another. Each round measures all losses, so that what slows down
    one slows down the others too. `rounds` is iterated once, so it may show progress. `options` are those of expressions
    that do not take their defaults.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = options or {}
    losses = {name: build_loss(name, num_classes, options=given.get(name)).to(device) for name in expressions}
    logits, target = _build_step_input(device, num_classes)
    fastest, spent = dict.fromkeys(expressions, math.inf), dict.fromkeys(expressions, 0.0)
    for number in rounds:
        for expression, loss in losses.items():
            if number < MIN_ROUNDS or spent[expression] < MAX_TIMING_S:
                seconds = _time_step(loss, logits, target)
                fastest[expression] = min(fastest[expression], seconds)
                spent[expression] += seconds
    return {
        expression: StepCost(1000 * fastest[expression], _measure_kept_bytes(loss, logits, target) / 2**20)
        for expression, loss in losses.items()
    }


def _time_step(loss: TotalLoss, logits: Tensor, target: Tensor) -> float:
    leaf = logits.clone().requires_grad_()
    start = _read_clock(logits.device)
    loss(leaf, target).backward()
    return _read_clock(logits.device) - start


def _read_clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _measure_kept_bytes(loss: TotalLoss, logits: Tensor, target: Tensor) -> int:
    """Measure the bytes that autograd saves in the forward pass, each storage once and without the logits."""
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    leaf = logits.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        value = loss(leaf, target)
    kept.pop(leaf.untyped_storage().data_ptr(), None)
    value.backward()
    return sum(kept.values())


def measure_half_precision(expression: str) -> HalfPrecision:
    """Compare bfloat16 with float32 logits, one per pixel, that predict a disc half correctly."""
    loss = build_loss(expression, 1)
    generator = torch.Generator().manual_seed(0)
    target = torch.from_numpy(draw_disc().astype(np.int64))[None]
    logits = 2.0 * target.unsqueeze(1) - 1 + torch.randn(1, 1, SIDE_PX, SIDE_PX, generator=generator)
    values, gradients = [], []
    for dtype in (torch.float32, torch.bfloat16):
        leaf = logits.clone().to(dtype).detach().requires_grad_()
        value = loss(leaf, target)
        value.backward()
        assert leaf.grad is not None
        values.append(value.item())
        gradients.append(leaf.grad.double().flatten())
    extreme = (logits.sign() * 1e4).to(torch.bfloat16).requires_grad_()
    value = loss(extreme, target)
    value.backward()
    assert extreme.grad is not None
    return HalfPrecision(
        value_error=abs(values[1] - values[0]) / max(abs(values[0]), 1e-12),
        degrees=measure_angle(*gradients),
        finite=bool(value.isfinite()) and bool(extreme.grad.isfinite().all()),
    )
