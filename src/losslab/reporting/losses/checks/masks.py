"""Checks of what labels, masks and predictions cost."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from losslab.reporting.losses.checks.bench import (
    VOID,
    Bench,
    Finding,
    build_right_logits,
    build_wrong_logits,
    describe_fault,
    describe_not_finite,
    draw_batch,
    name_form,
)
from losslab.reporting.losses.checks.tracing import find_not_finite

CERTAIN = 40.0
"""A logit whose probability is certain, and in float64 short of 0 and 1."""
AVERAGED = 20
"""Times that a wrong pixel of an absent class costs more than one of a present class, where absent ones are averaged over."""


def check_labels(bench: Bench) -> Iterator[Finding]:
    """Look which class the gradient raises at the pixels of each label, from logits near 0."""
    for num_classes in reversed(bench.counts):  # three classes say more of what is wrong than one logit
        where, last = name_form(num_classes), max(num_classes, 2) - 1
        logits, target = draw_batch(num_classes, side_px=12)
        try:
            bench.compute(num_classes, logits, target)
        except Exception as error:
            yield Finding(
                "FAIL",
                f"labels are one too high: {where}, label {last} alone fails: {describe_fault(error)}",
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
    where = name_form(num_classes)
    if opposite and cost > guess:
        return Finding("FAIL", f"wrong sign: {where}, the gradient lowers the true class and raises the others")
    if shifted and next_cost < cost:
        text = f"labels are one too high: {where}, the gradient raises class k + 1 at the pixels of label k"
        return Finding("FAIL", text)
    return None if right else Finding("blind", f"{where}, the gradient does not raise the class of a pixel's label")


def check_ignored_pixels(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        where = name_form(num_classes)
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


def draw_masks(num_classes: int) -> Iterator[tuple[str, Tensor]]:
    """Draw the masks at which counts are 0: empty, full, and one pixel in one of two images."""
    speck = torch.zeros(2, 9, 9, dtype=torch.int64)
    speck[0, 4, 4] = 1
    yield "empty", torch.zeros(1, 9, 9, dtype=torch.int64)
    yield "full", torch.full((1, 9, 9), max(num_classes, 2) - 1)
    yield "of one pixel", speck


def check_masks(bench: Bench) -> Iterator[Finding]:
    for num_classes in bench.counts:
        for name, target in draw_masks(num_classes):
            right = build_right_logits(target, num_classes).float()
            for logits in (right, right / 6, torch.zeros_like(right), build_wrong_logits(right)):
                value, gradient = bench.differentiate(num_classes, logits, target)
                if what := describe_not_finite(value, gradient):
                    yield Finding(
                        "FAIL",
                        f"{name_form(num_classes)}, {what} where the mask is {name}",
                        bench.trace(num_classes, logits, target, find_not_finite),
                    )
                    return


def check_right_and_wrong(bench: Bench) -> Iterator[Finding]:
    """Compare right predictions, from hesitant to certain, with equal probabilities and with wrong predictions."""
    for num_classes in bench.counts:
        where = name_form(num_classes)
        mixed = draw_batch(num_classes)[1]
        for name, target in [("mixed", mixed), *draw_masks(num_classes)]:
            right = build_right_logits(target, num_classes)
            hesitant, *_, certain = costs = [bench.compute(num_classes, right / part, target) for part in (6, 3, 2, 1)]
            least, rounding = min(costs), 1e-4 * max(1.0, *map(abs, costs))
            guess, wrong = (bench.compute(num_classes, z, target) for z in (0 * right, build_wrong_logits(right)))
            if min(guess, wrong) < least - rounding or (name == "mixed" and not least < guess < wrong):
                yield Finding(
                    "blind",
                    f"{where}, where the mask is {name}, a right prediction costs {least:.4g}, equal probabilities {guess:.4g}, a "
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
    notes = []
    for num_classes in bench.counts:
        where = name_form(num_classes)
        target = torch.zeros(1, 16, 16, dtype=torch.int64)
        right = build_right_logits(target, num_classes, CERTAIN)
        value, gradient = bench.differentiate(num_classes, build_wrong_logits(right) / 20, target)
        least = min(bench.compute(num_classes, logits, target) for logits in (right, right / 20))
        cost, push = float(value) - least, float(gradient.abs().sum())
        if cost < 1e-3:
            yield Finding("blind", f"{where}, a false positive all over an empty mask costs nothing")
        elif push < 1e-6:
            notes.append(
                f"{where}, a false positive on an empty mask costs {cost:.2g} however small it is, with a gradient of {push:.0e}: "
                "images without foreground teach nothing"
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
            notes.append(
                f"one pixel of a class that is not in the image costs {absent:.2g}, one of a class that is {present:.2g}: images "
                "with few classes dominate training"
            )
    if notes:
        yield Finding("note", f"it averages over absent classes. {'; '.join(notes).capitalize()}")
