"""Checks of what autograd and floating point make of a loss."""

import math
from collections.abc import Iterator

import torch

from losslab.losses.base import Loss
from losslab.reporting.losses.checks.bench import (
    Bench,
    Finding,
    build_right_logits,
    build_wrong_logits,
    describe_not_finite,
    draw_batch,
    name_form,
)
from losslab.reporting.losses.checks.tracing import find_changed, find_cut, find_not_finite, find_random

EXTREME = 1e4
"""A logit near the end of float16's range."""


def check_runs(bench: Bench) -> Iterator[Finding]:
    """Compute one batch, without the last label: where that alone fails, labels are wrong."""
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes)
        value = bench.losses[num_classes](logits, target.clamp(max=max(num_classes, 2) - 2))
        if value.ndim:
            yield Finding("FAIL", f"{name_form(num_classes)}, it returns a tensor of shape {list(value.shape)}")


def check_in_place(bench: Bench) -> Iterator[Finding]:
    """Compare logits, target and the mask of valid pixels before and after: the net's own, and those that `compute` gets."""
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes)
        logits, target = logits * 1000, bench.ignore_some(num_classes, target)  # what clamps changes such logits
        for part in bench.losses[num_classes].losses.values():
            assert isinstance(part, Loss)
            batch, own = part.check(logits, target), (logits.clone(), target.clone())
            given = {"logits": [own[0], batch.logits], "target": [own[1], batch.target], "valid": [batch.valid]}
            copies = {name: [tensor.clone() for tensor in tensors] for name, tensors in given.items()}
            with torch.no_grad():
                part.compute(batch)
                part(*own)
            for name, tensors in given.items():
                if not all(map(torch.equal, tensors, copies[name])):
                    line = bench.trace(num_classes, logits, target, find_changed)
                    yield Finding("FAIL", f"it changes {name} in place", line)
                    return


def check_same_bits(bench: Bench) -> Iterator[Finding]:
    """Compare two passes over the same input, each with its own random numbers."""
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes, side_px=32, dtype=torch.float32)
        results = []
        with torch.random.fork_rng(devices=[]):
            for seed in range(2):
                torch.manual_seed(seed)
                value, gradient = bench.try_to_differentiate(num_classes, logits, target)
                results.append((value, torch.zeros(()) if gradient is None else gradient))
        (value, gradient), (again, gradient_again) = results
        if not torch.equal(value.nan_to_num(), again.nan_to_num()) or not torch.equal(
            gradient.nan_to_num(), gradient_again.nan_to_num()
        ):
            what = "value" if not torch.equal(value, again) else "gradient"
            yield Finding(
                "FAIL",
                f"two passes over the same batch differ in their {what}: {value:.6g} and {again:.6g}",
                bench.trace(num_classes, logits, target, find_random),
            )
            return


def check_gradient(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes)
        _, gradient = bench.try_to_differentiate(num_classes, logits, target)
        if gradient is None:
            line = bench.trace(num_classes, logits, target, find_cut)
            yield Finding("FAIL", "no gradient reaches the logits: it is detached on the way", line)
            return
        if not gradient.any():
            yield Finding("FAIL", f"{name_form(num_classes)}, the gradient is 0 at every pixel")
            return


def check_finite(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        _, target = draw_batch(num_classes)
        right = build_right_logits(target, num_classes, EXTREME)
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            for logits in (right.to(dtype), build_wrong_logits(right).to(dtype), torch.zeros_like(right).to(dtype)):
                value, gradient = bench.differentiate(num_classes, logits, target)
                if what := describe_not_finite(value, gradient):
                    size = "±10 000" if logits.any() else "0"
                    yield Finding(
                        "FAIL",
                        f"{name_form(num_classes)}, {what} at {str(dtype).removeprefix('torch.')} logits of {size}",
                        bench.trace(num_classes, logits, target, find_not_finite),
                    )
                    return


def check_shapes(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        for n, height, width in ((1, 1, 1), (1, 7, 1), (3, 5, 8)):
            for dtype in (torch.float32, torch.float64):
                logits, target = draw_batch(num_classes, n, 8, dtype)
                logits, target = logits[..., :height, :width], target[..., :height, :width]
                value, gradient = bench.differentiate(num_classes, logits, target)
                shape = f"[{n}, {num_classes}, {height}, {width}]"
                if value.dtype != dtype:
                    types = [str(each).removeprefix("torch.") for each in (dtype, value.dtype)]
                    yield Finding("FAIL", f"for {types[0]} logits {shape} it returns {types[1]}")
                    return
                if what := describe_not_finite(value, gradient):
                    yield Finding("FAIL", f"{what} for logits {shape}")
                    return
                last, last_gradient = bench.differentiate(
                    num_classes, logits.contiguous(memory_format=torch.channels_last), target
                )
                if not torch.allclose(value, last, rtol=1e-5) or not torch.allclose(
                    gradient, last_gradient, rtol=1e-4, atol=1e-7
                ):
                    yield Finding("FAIL", "logits whose channels come last in memory give another value or gradient")
                    return


def check_slope(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes, side_px=4)
        target = bench.ignore_some(num_classes, target)
        loss = bench.losses[num_classes]
        if not torch.autograd.gradcheck(
            lambda z, loss=loss, target=target: loss(z, target), [logits.requires_grad_()], raise_exception=False
        ):
            line = bench.trace(num_classes, logits, target, find_cut)
            yield Finding(
                "FAIL",
                f"{name_form(num_classes)}, the gradient is not the slope of the value: part of it is detached, rounded, "
                "or has a backward of its own that differs",
                line,
            )
            return


def check_half_precision(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes, n=1, side_px=64)
        for dtype in (torch.bfloat16, torch.float16):
            half = (logits * 30).to(dtype)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value, gradient = bench.differentiate(num_classes, half, target)
            single = bench.compute(num_classes, half.float(), target)
            if value.dtype != torch.float32 or not math.isclose(float(value), single, rel_tol=1e-5, abs_tol=1e-7):
                yield Finding(
                    "FAIL",
                    f"{str(dtype).removeprefix('torch.')} logits under autocast cost {float(value):.6g}, the same ones in "
                    f"float32 {single:.6g}",
                )
                return
            if what := describe_not_finite(value, gradient):
                yield Finding("FAIL", f"{what} on {str(dtype).removeprefix('torch.')} logits")
                return
