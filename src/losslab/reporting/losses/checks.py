"""The test bench for a loss: what training asks of it, on small drawn data, on the CPU and in seconds."""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.errors import InputError, find_exhausted_memory
from losslab.losses import build_loss
from losslab.losses.base import Loss
from losslab.losses.traits import compare_logit_forms, measure_resolution_effect, measure_symmetry
from losslab.reporting.losses.bench import (
    VOID,
    Bench,
    build_right_logits,
    build_wrong_logits,
    describe_fault,
    draw_batch,
)
from losslab.reporting.losses.overfit import build_net, draw_images, follow, measure_miou
from losslab.reporting.losses.probes import measure_steps, use_one_thread
from losslab.reporting.losses.tracing import find_changed, find_cut, find_not_finite, find_random

Verdict = Literal["pass", "note", "FAIL"]
EXTREME, CERTAIN = 1e4, 40.0
"""Logits at the end of float16's range, and those whose probability is certain, in float64 short of 0 and 1."""
STEPS, LEARNT_MIOU = 150, 0.85
"""Steps in which four images are learnt, and the mIoU that this takes: out of reach without all three classes."""
ROUNDS = 3
"""Times that a step of the loss and of cross entropy are measured, in turns."""
AVERAGED = 20
"""Times that a wrong pixel of an absent class costs more than one of a present class, where absent ones are averaged over."""
SLOW = 3.0
"""Times cross entropy's cost from which a loss is called slow."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check has found."""

    verdict: Verdict | Literal["blind"]
    """The verdict; blind: a note for a loss that has a partner, which sees what it does not, else FAIL."""
    text: str
    line: int | None = None
    """Line of the loss's own file; None: that of its definition."""


@dataclass(frozen=True)
class CheckResult:
    """A line of the bench's output."""

    check: str
    verdict: Verdict
    meaning: str
    place: str
    """The `file:line` to look at; empty where the loss passes."""


@dataclass(frozen=True)
class Check:
    """One line of the bench."""

    name: str
    run: Callable[[Bench], Iterator[Finding]]
    holds: str
    """What a pass means for training."""
    harm: str = ""
    """What a failure means for training."""
    gate: bool = False
    """Whether a failure ends the list: what follows would fail for the same reason."""
    needs: tuple[int, ...] = ()
    """Numbers of classes that it cannot do without."""


@use_one_thread()
def check_loss(
    name: str, options: dict[str, Any] | None = None, names: tuple[str, ...] | None = None
) -> list[CheckResult]:
    """Run the battery on a loss, or the checks with these names.

    Raises InputError for an unknown name or option, and if a plug-in's file cannot be imported.

    >>> [result.verdict for result in check_loss("dice", names=("order of images", "mean of images"))]
    ['pass', 'pass']
    """
    bench = Bench(name, options)
    known = [check.name for check in CHECKS]
    if unknown := [each for each in bench.spec.by_design if each not in known]:
        raise InputError(
            f"{bench.get_place()}: by_design names {unknown[0]!r}, which is no check; they are {', '.join(known)}"
        )
    results = []
    for check in CHECKS:
        if names is None or check.name in names:
            results.append(_run(check, bench))
            if check.gate and results[-1].verdict == "FAIL":
                break
    return results


def _run(check: Check, bench: Bench) -> CheckResult:
    if missing := [_name_form(num_classes) for num_classes in check.needs if num_classes in bench.undefined]:
        return CheckResult(check.name, "note", f"not run: the loss is not defined {missing[0]}", bench.get_place())
    try:
        findings = list(check.run(bench))
    except Exception as error:
        if find_exhausted_memory(error):
            raise
        frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
        lines = [frame.lineno for frame in frames if frame.filename == str(bench.file)]
        return CheckResult(check.name, "FAIL", describe_fault(error), bench.get_place(lines[-1] if lines else None))
    reason = bench.spec.by_design.get(check.name)
    for finding in findings:
        if finding.verdict in ("FAIL", "blind"):
            partner = f"it needs a partner, as in {bench.spec.expression}" if finding.verdict == "blind" else ""
            if why := reason or (bench.spec.partner and partner):
                return CheckResult(check.name, "note", f"{finding.text}. By design: {why}", bench.get_place())
            meaning = f"{finding.text}. {check.harm}"
            return CheckResult(check.name, "FAIL", meaning, bench.get_place(finding.line))
    noted = any(finding.verdict == "note" for finding in findings)
    meaning = "; ".join(dict.fromkeys(finding.text for finding in findings)) or check.holds
    return CheckResult(check.name, "note" if noted else "pass", meaning, bench.get_place() if noted else "")


def check_labels(bench: Bench) -> Iterator[Finding]:
    """Look which class the gradient raises at the pixels of each label, from logits near 0."""
    for num_classes in reversed(bench.counts):  # three classes say more of what is wrong than one logit
        where, last = _name_form(num_classes), max(num_classes, 2) - 1
        logits, target = draw_batch(num_classes, side_px=12)
        try:
            bench.compute(num_classes, logits, target)
        except Exception as error:
            bench.compute(num_classes, logits, target.clamp(max=last - 1))  # where this fails too, that is the finding
            yield Finding(
                "FAIL", f"labels are one too high: {where}, label {last} alone fails: {describe_fault(error)}"
            )
            return
        try:
            _, gradient = bench.differentiate(num_classes, logits / 100, target)
        except RuntimeError as error:  # there are checks of that
            yield Finding("note", f"not measured, as it needs a gradient: {describe_fault(error)}")
            return
        if all(
            torch.equal(gradient, bench.differentiate(num_classes, logits / 100, other)[1])
            for other in (torch.zeros_like(target), last - target)
        ):
            yield Finding("blind", f"{where}, it does not look at the truth")
        elif fault := _find_wrong_class(bench, num_classes, gradient, target):
            yield fault


def _find_wrong_class(bench: Bench, num_classes: int, gradient: Tensor, target: Tensor) -> Finding | None:
    """Say which classes a gradient raises, on average over the pixels of each label, unless it is each label's own."""
    labels = max(num_classes, 2)
    planes = [target == label for label in range(labels)]
    push = torch.stack([-(gradient * plane.unsqueeze(1)).sum((0, 2, 3)) / plane.sum() for plane in planes])
    if num_classes == 1:
        right, opposite, shifted = (
            bool(holds) for holds in (push[0] < 0 < push[1], push[1] < 0 < push[0], push.min() > 0)
        )
    else:
        eye = torch.eye(labels, dtype=push.dtype)
        own, shift, clamped, none = (
            float(F.cosine_similarity((push - push.mean(1, keepdim=True)).flatten(), centred.flatten(), dim=0))
            for raised in (eye, eye.roll(1, dims=1), torch.cat([eye[1:], eye[-1:]]), -eye)
            for centred in [raised - raised.mean(1, keepdim=True)]
        )
        right, opposite, shifted = own > 0.5, none > max(0.5, shift, clamped), max(shift, clamped) > max(0.5, none)
    # The gradient of a loss that sees few pixels may point anywhere: what it says must hold for the value too.
    following = (target + 1).clamp(max=labels - 1)
    sure, next_one = (build_right_logits(labelled, num_classes) for labelled in (target, following))
    cost, next_cost, guess = (bench.compute(num_classes, logits, target) for logits in (sure, next_one, 0 * sure))
    where = _name_form(num_classes)
    if opposite and cost > guess:
        return Finding("FAIL", f"wrong sign: {where}, the gradient lowers the true class and raises the others")
    if shifted and next_cost < cost:
        text = f"labels are one too high: {where}, the gradient raises class k + 1 at the pixels of label k"
        return Finding("FAIL", text)
    return None if right else Finding("blind", f"{where}, the gradient does not raise the class of a pixel's label")


def check_in_place(bench: Bench) -> Iterator[Finding]:
    """Compare logits, target and the mask of valid pixels before and after: the net's own, and those that `compute` gets."""
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes)
        logits = logits * 1000  # what clamps changes them
        target[0, 0] = VOID
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
                leaf = logits.clone().requires_grad_()
                value = bench.losses[num_classes](leaf, target)
                gradient = torch.autograd.grad(value, leaf)[0] if value.requires_grad else torch.zeros(())
                results.append((value.detach(), gradient))
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
        leaf = logits.clone().requires_grad_()
        value = bench.losses[num_classes](leaf, target)
        gradient = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
        if gradient is None:
            line = bench.trace(num_classes, logits, target, find_cut)
            yield Finding("FAIL", "no gradient reaches the logits: it is detached on the way", line)
            return
        if not gradient.any():
            yield Finding("FAIL", f"{_name_form(num_classes)}, the gradient is 0 at every pixel")
            return


def check_shapes(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        for n, height, width in ((1, 1, 1), (1, 7, 1), (3, 5, 8)):
            for dtype in (torch.float32, torch.float64):
                logits, target = draw_batch(num_classes, n, 8, dtype)
                logits, target = logits[..., :height, :width], target[..., :height, :width]
                value, gradient = bench.differentiate(num_classes, logits, target)
                shape = f"[{n}, {num_classes}, {height}, {width}]"
                if value.ndim or value.dtype != dtype:
                    got = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
                    yield Finding("FAIL", f"for {str(dtype).removeprefix('torch.')} logits {shape} it returns {got}")
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
        target[0, 0, 0] = VOID
        loss = bench.losses[num_classes]
        if not torch.autograd.gradcheck(
            lambda z, loss=loss, target=target: loss(z, target), [logits.requires_grad_()], raise_exception=False
        ):
            line = bench.trace(num_classes, logits, target, find_cut)
            yield Finding(
                "FAIL",
                f"{_name_form(num_classes)}, the gradient is not the slope of the value: part of it is detached, rounded, "
                "or has a backward of its own that differs",
                line,
            )
            return


def check_finite(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        _, target = draw_batch(num_classes)
        right = build_right_logits(target, num_classes, EXTREME)
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            for logits in (right.to(dtype), build_wrong_logits(right).to(dtype), torch.zeros_like(right).to(dtype)):
                value, gradient = bench.differentiate(num_classes, logits, target)
                if not value.isfinite() or not gradient.isfinite().all():
                    what = f"the value is {value:g}" if not value.isfinite() else "the gradient is not finite"
                    size = "±10 000" if logits.any() else "0"
                    yield Finding(
                        "FAIL",
                        f"{_name_form(num_classes)}, {what} at {str(dtype).removeprefix('torch.')} logits of {size}",
                        bench.trace(num_classes, logits, target, find_not_finite),
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
            if not gradient.isfinite().all():
                yield Finding("FAIL", f"the gradient on {str(dtype).removeprefix('torch.')} logits is not finite")
                return


def check_ignored_pixels(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        where = _name_form(num_classes)
        logits, target = draw_batch(num_classes)
        value = bench.compute(num_classes, logits, target)
        for edges in ((0, 6, 0, 10), (7, 0, 3, 2)):
            padded = bench.compute(num_classes, F.pad(logits, edges, value=3.0), F.pad(target, edges, value=VOID))
            if not math.isclose(padded, value, rel_tol=1e-6, abs_tol=1e-9):
                yield Finding(
                    "FAIL",
                    f"{where}, ignored pixels around the images change the value from {value:.6g} to {padded:.6g}: they are in a "
                    "sum or in a mean",
                )
                return
        target[0, :2], target[1, 0, 0] = VOID, VOID
        ignored = (target == VOID).unsqueeze(1).expand_as(logits)
        value_before, gradient = bench.differentiate(num_classes, logits, target)
        disturbed = bench.differentiate(num_classes, logits.masked_fill(ignored, math.inf), target)
        if gradient[ignored].any():
            yield Finding("FAIL", f"{where}, ignored pixels have a gradient")
        elif not torch.equal(value_before, disturbed[0]) or not torch.equal(gradient, disturbed[1]):
            yield Finding("FAIL", f"{where}, logits at ignored pixels change value or gradient")
        target = target.where(torch.tensor([True, False]).view(2, 1, 1), VOID)
        both, alone = (bench.compute(num_classes, logits[:n], target[:n]) for n in (2, 1))
        if not math.isclose(both, alone, rel_tol=1e-6, abs_tol=1e-9):
            diluted = math.isclose(both, alone / 2, rel_tol=1e-4)
            yield Finding(
                "note" if diluted else "FAIL",
                f"{where}, an image of ignored pixels alone changes the batch's value from {alone:.4g} to {both:.4g}"
                + (": it counts as one that is right" if diluted else ""),
            )
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            nothing = torch.full_like(target, VOID)
            none, no_gradient = bench.differentiate(num_classes, (logits * 100).to(dtype), nothing)
            if none != 0 or no_gradient.any():
                yield Finding(
                    "FAIL",
                    f"{where}, a batch of ignored pixels alone costs {none:g}; 0 with a zero gradient is right",
                    bench.trace(num_classes, logits, nothing, find_not_finite),
                )
                return


def _draw_masks(num_classes: int) -> Iterator[tuple[str, Tensor]]:
    """Draw the masks at which counts are 0: empty, full, and of one pixel, alone or in nine by nine."""
    yield "empty", torch.zeros(1, 9, 9, dtype=torch.int64)
    yield "full", torch.full((1, 9, 9), max(num_classes, 2) - 1)
    for side_px in (1, 9):
        target = torch.zeros(2, side_px, side_px, dtype=torch.int64)
        target[0, side_px // 2, side_px // 2] = 1
        yield f"one-pixel ({side_px}×{side_px})", target


def check_masks(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        for name, target in _draw_masks(num_classes):
            right = build_right_logits(target, num_classes).float()
            for logits in (right, right / 6, torch.zeros_like(right), build_wrong_logits(right)):
                value, gradient = bench.differentiate(num_classes, logits, target)
                if not value.isfinite() or not gradient.isfinite().all():
                    yield Finding(
                        "FAIL",
                        f"{_name_form(num_classes)}, value or gradient is not finite on a mask that is {name}: {value:g}",
                        bench.trace(num_classes, logits, target, find_not_finite),
                    )
                    return


def check_right_and_wrong(bench: Bench) -> Iterator[Finding]:
    """Compare right predictions, from hesitant to certain, with equal probabilities and with wrong predictions."""
    for num_classes in bench.counts:
        where = _name_form(num_classes)
        mixed = draw_batch(num_classes)[1]
        for name, target in [("mixed", mixed), *_draw_masks(num_classes)]:
            right = build_right_logits(target, num_classes)
            hesitant, *_, certain = costs = [bench.compute(num_classes, right / part, target) for part in (6, 3, 2, 1)]
            least, rounding = min(costs), 1e-4 * max(1.0, *map(abs, costs))
            guess, wrong = (bench.compute(num_classes, z, target) for z in (0 * right, build_wrong_logits(right)))
            if min(guess, wrong) < least - rounding or (name == "mixed" and not least < guess < wrong):
                yield Finding(
                    "blind",
                    f"{where}, on a mask that is {name}, a right prediction costs {least:.4g}, equal probabilities {guess:.4g}, a "
                    f"wrong one {wrong:.4g}",
                )
                return
            if certain > hesitant + rounding:
                yield Finding(
                    "note",
                    f"{where}, a right prediction that is certain costs {certain:.4g}, a hesitant one {hesitant:.4g}, as with "
                    "label smoothing",
                )
                break


def check_absent_classes(bench: Bench) -> Iterator[Finding]:
    """Look at what a class costs that is predicted and is not in the truth, all over the image and at one pixel."""
    averaged = "it averages over absent classes: "
    for num_classes in bench.counts:
        where = _name_form(num_classes)
        target = torch.zeros(1, 16, 16, dtype=torch.int64)
        right = build_right_logits(target, num_classes, CERTAIN)
        value, gradient = bench.differentiate(num_classes, build_wrong_logits(right) / 20, target)
        least = min(bench.compute(num_classes, logits, target) for logits in (right, right / 20))
        cost, push = float(value) - least, float(gradient.abs().sum())
        if cost < 1e-3:
            yield Finding("blind", f"{where}, a false positive all over an empty mask costs nothing")
        elif push < 1e-6:
            yield Finding(
                "note",
                f"{averaged}{where}, a false positive on an empty mask costs {cost:.2g} however small it is, with a gradient of "
                f"{push:.0e}. Images without foreground teach nothing",
            )
    if 3 in bench.counts:
        target = torch.zeros(1, 32, 32, dtype=torch.int64)
        target[:, :16] = 1
        pixel = tuple(torch.tensor(place) for place in (0, 30, 30))
        perfect, present, absent = (
            bench.compute(3, build_right_logits(target.index_put(pixel, torch.tensor(label)), 3, CERTAIN), target)
            for label in (0, 1, 2)
        )
        present, absent = present - perfect, absent - perfect
        if absent > AVERAGED * max(present, 1e-6):
            yield Finding(
                "note",
                f"{averaged}one pixel of a class that is not in the image costs {absent:.2g}, one of a class that is "
                f"{present:.2g}. Images with few classes dominate training",
            )


def check_softmax(bench: Bench) -> Iterator[Finding]:
    """Add a number to all logits of a pixel, which softmax does not see."""
    logits, target = draw_batch(3)
    before, after = (bench.compute(3, z, target) for z in (logits, logits + 1))
    if not math.isclose(before, after, rel_tol=1e-6, abs_tol=1e-9):
        yield Finding(
            "note",
            "each class is one against the rest (sigmoid): a number added to all logits of a pixel changes the value. Softmax of "
            "these logits is not the probability that was trained",
        )


def check_order(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes, n=4)
        order = torch.tensor([2, 0, 3, 1])
        one, other = (
            bench.compute(num_classes, logits, target),
            bench.compute(num_classes, logits[order], target[order]),
        )
        if not math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-15):
            yield Finding(
                "FAIL", f"{_name_form(num_classes)}, images in another order cost {other:.6g} instead of {one:.6g}"
            )
            return


def check_mean_of_images(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes, n=3)
        logits = logits * torch.tensor([0.5, 1.0, 3.0]).view(3, 1, 1, 1)
        target[0] = target[0] * (torch.arange(6) > 4)
        together = bench.compute(num_classes, logits, target)
        alone = [bench.compute(num_classes, logits[i : i + 1], target[i : i + 1]) for i in range(3)]
        if not math.isclose(together, mean := sum(alone) / 3, rel_tol=1e-6, abs_tol=1e-9):
            declared = {**bench.spec.defaults, **bench.options}.get("reduction_over") == "batch"
            summed = math.isclose(together, 3 * mean, rel_tol=1e-6)
            yield Finding(
                "note" if declared else "FAIL",
                f"{'the sum of its images' if summed else 'pooled over the batch'}: {_name_form(num_classes)}, three images "
                f"cost {together:.4g} together, alone {mean:.4g} on average",
            )
            return


def check_classes(bench: Bench) -> Iterator[Finding]:
    symmetry = measure_symmetry(bench.losses.__getitem__)
    if not symmetry.holds_for_three:
        yield Finding("note", "classes are not treated alike: it matters which class is number 0")
    if not symmetry.holds_for_one_logit:
        yield Finding("note", "with one logit it matters which class is the foreground")


def check_mirror(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        logits, target = draw_batch(num_classes)
        for axis, name in ((-1, "left to right"), (-2, "upside down")):
            one, other = (
                bench.compute(num_classes, logits, target),
                bench.compute(num_classes, logits.flip(axis), target.flip(axis)),
            )
            if not math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9):
                yield Finding(
                    "note", f"it has a direction: a scene mirrored {name} costs {other:.4g} instead of {one:.4g}"
                )
                return


def check_resolution(bench: Bench) -> Iterator[Finding]:
    effect = measure_resolution_effect(bench.losses.__getitem__)
    if not effect.is_none:
        yield Finding("note", f"{effect} at twice the resolution: tune its weight anew when you change prepare.size")


def check_logit_forms(bench: Bench) -> Iterator[Finding]:
    for num_classes, why in bench.undefined.items():
        yield Finding("note", f"not defined {_name_form(num_classes)}: {why}")
    if bench.counts == (1, 3):
        forms = compare_logit_forms(bench.build)
        if not (forms.agree_in_value and forms.agree_in_gradient):
            yield Finding(
                "note",
                f"one and two logits {forms}. Results with two classes do not carry over from code that uses two logits",
            )


def check_overfit(bench: Bench) -> Iterator[Finding]:
    """Follow the loss, or its partner's sum with it, and then the loss alone."""
    images, target = draw_images()
    initial = build_net()
    sum_of_losses = build_loss(
        bench.spec.expression, 3, VOID, options={bench.spec.name: bench.options} if bench.options else None
    )
    score = measure_miou(follow(sum_of_losses, initial, (images, target), STEPS, LEARNT_MIOU), target)
    if score <= LEARNT_MIOU:
        yield Finding(
            "FAIL", f"{bench.spec.expression} has an mIoU of {score:.2f} on four drawn images after {STEPS} steps"
        )
    if not bench.spec.stands_alone:
        loss = bench.losses[3]
        with torch.no_grad():
            before = float(loss(initial(images), target))
            least = float(loss(build_right_logits(target, 3, 40.0).float(), target))
        after = float(loss(follow(loss, initial, (images, target), 20), target))
        if after >= before - 0.3 * abs(before - least):
            yield Finding("FAIL", f"followed alone for 20 steps it goes from {before:.4g} to {after:.4g}, not down")


def check_cost(bench: Bench) -> Iterator[Finding]:
    name = bench.spec.name
    costs = measure_steps(list(dict.fromkeys(["cross_entropy", name])), range(ROUNDS), {name: bench.options})
    times, memory = costs[name].milliseconds / costs["cross_entropy"].milliseconds, costs[name].megabytes
    why = f": {bench.spec.cost}" if bench.spec.cost else ""
    yield Finding(
        "note" if times > SLOW else "pass",
        f"{costs[name].milliseconds:.1f} ms a step, {times:.1f} times cross_entropy's{why}; it keeps {memory:.1f} MiB",
    )


def _name_form(num_classes: int) -> str:
    return "with one logit" if num_classes == 1 else f"for {num_classes} classes"


CHECKS = (
    Check(
        "labels and sign",
        check_labels,
        "the gradient raises the class of each pixel's label, and lowers the others",
        "Training would learn other masks than yours",
        gate=True,
    ),
    Check(
        "in place",
        check_in_place,
        "logits, target and mask stay as they are, for the terms beside it and for backward",
        "Whatever uses the same tensors afterwards, other terms, metrics and backward, gets wrong numbers",
        gate=True,
    ),
    Check(
        "same bits",
        check_same_bits,
        "the same batch gives the same value and gradient: a run can be repeated",
        "A run cannot be repeated, and seeds are compared with noise on top",
        gate=True,
    ),
    Check(
        "gradient",
        check_gradient,
        "it reaches the logits",
        "Training would change nothing",
        gate=True,
    ),
    Check(
        "finite",
        check_finite,
        "value and gradient are finite at logits of 0 and ±10 000, in float32, bfloat16 and float16",
        "One certain pixel would end the run",
        gate=True,
    ),
    Check(
        "shapes and dtypes",
        check_shapes,
        "one number of the logits' own precision, for images of any size, down to one pixel",
        "Some image sizes, or mixed precision, would stop training",
    ),
    Check(
        "slope",
        check_slope,
        "the gradient is the value's slope, checked by finite differences in float64",
        "Descent follows something other than the value that is logged",
    ),
    Check(
        "half precision",
        check_half_precision,
        "bfloat16 and float16 logits under autocast cost what they cost in float32",
        "Sums in half precision are off by per cents, or overflow",
    ),
    Check(
        "ignored pixels",
        check_ignored_pixels,
        "they change neither value nor gradient, and a batch of nothing else costs 0",
        "Void and padding would be trained on, and how much of it there is would change the value",
    ),
    Check(
        "masks",
        check_masks,
        "empty, full and one-pixel masks have a finite value and gradient",
        "One such image would end the run",
    ),
    Check(
        "right and wrong",
        check_right_and_wrong,
        "a right prediction costs the least, and a wrong one more than equal probabilities",
        "Descent leads away from the truth, or ends short of it",
    ),
    Check(
        "absent classes",
        check_absent_classes,
        "a false positive of a class that is not in the image costs, and no more than other errors do",
        "Nothing would stop the net from seeing that class where it is not. If it is to be used with another loss that does, "
        "declare that: @loss(partner='dice+0.1*mine')",
    ),
    Check("softmax", check_softmax, "classes compete: only differences between logits count", needs=(3,)),
    Check(
        "order of images",
        check_order,
        "the order of images in a batch does not matter",
        "The value depends on the shuffling",
    ),
    Check(
        "mean of images",
        check_mean_of_images,
        "a batch costs the mean of its images: train.batch_size does not change what is minimised",
        "What is minimised depends on train.batch_size. If that is meant, declare it: "
        "@loss(by_design={'mean of images': 'why'})",
    ),
    Check("classes", check_classes, "all classes are treated alike, foreground and background too", needs=(1, 3)),
    Check("mirror", check_mirror, "a mirrored scene costs the same"),
    Check(
        "resolution",
        check_resolution,
        "a scene costs the same at twice the resolution: weights carry over to another prepare.size",
        needs=(1,),
    ),
    Check("one or two logits", check_logit_forms, "two classes cost the same with one logit and with two"),
    Check(
        "overfit",
        check_overfit,
        f"a small net learns four drawn images by it, to an mIoU above {LEARNT_MIOU}, within {STEPS} steps",
        "It may not train a net that cross_entropy trains",
        needs=(3,),
    ),
    Check("cost", check_cost, "", needs=(3,)),
)
"""The battery, in the order of its lines."""
