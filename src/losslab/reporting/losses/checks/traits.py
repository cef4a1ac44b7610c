"""Checks of what a loss is: what a batch, a class, a size or a step of it makes a difference to."""

import math
from collections.abc import Iterator

import torch

from losslab.losses import build_loss
from losslab.losses.traits import compare_logit_forms, measure_resolution_effect, measure_symmetry
from losslab.reporting.losses.checks.bench import (
    VOID,
    Bench,
    Finding,
    build_right_logits,
    draw_batch,
    name_form,
)
from losslab.reporting.losses.checks.overfit import build_net, draw_images, follow, measure_miou
from losslab.reporting.losses.probes import measure_steps

STEPS, LEARNT_MIOU = 150, 0.85
"""Steps in which four images are learnt, and the mIoU that this takes: out of reach without all classes."""
ROUNDS = 3
"""Times that a step of the loss and of cross entropy are measured, in turns."""
SLOW = 3.0
"""Times cross entropy's cost from which a loss is called slow."""


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
                "FAIL", f"{name_form(num_classes)}, images in another order cost {other:.6g} instead of {one:.6g}"
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
                f"{'the sum of its images' if summed else 'pooled over the batch'}: {name_form(num_classes)}, three images "
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
        yield Finding("note", f"not defined {name_form(num_classes)}: {why}")
    if bench.counts == (1, 3):
        forms = compare_logit_forms(bench.build)
        if not (forms.agree_in_value and forms.agree_in_gradient):
            yield Finding(
                "note",
                f"one and two logits {forms}. Results with two classes do not carry over from code that uses two logits",
            )


def check_overfit(bench: Bench) -> Iterator[Finding]:
    """Follow the loss, or its partner's sum with it, and then the loss alone."""
    num_classes = max(bench.counts)
    images, target = draw_images(num_classes)
    initial = build_net(num_classes)
    sum_of_losses = build_loss(
        bench.spec.expression, num_classes, VOID, options={bench.spec.name: bench.options} if bench.options else None
    )
    score = measure_miou(follow(sum_of_losses, initial, (images, target), STEPS, LEARNT_MIOU), target)
    if score <= LEARNT_MIOU:
        yield Finding(
            "FAIL", f"{bench.spec.expression} has an mIoU of {score:.2f} on four drawn images after {STEPS} steps"
        )
    if not bench.spec.stands_alone:
        loss = bench.losses[num_classes]
        with torch.no_grad():
            before = float(loss(initial(images), target))
            least = float(loss(build_right_logits(target, num_classes, 40.0).float(), target))
        after = float(loss(follow(loss, initial, (images, target), 20), target))
        if after >= before - 0.3 * abs(before - least):
            yield Finding("FAIL", f"followed alone for 20 steps it goes from {before:.4g} to {after:.4g}, not down")


def check_cost(bench: Bench) -> Iterator[Finding]:
    name = bench.spec.name
    names = list(dict.fromkeys(["cross_entropy", name]))
    costs = measure_steps(names, range(ROUNDS), {name: bench.options}, max(bench.counts))
    times, memory = costs[name].milliseconds / costs["cross_entropy"].milliseconds, costs[name].megabytes
    why = f": {bench.spec.cost}" if bench.spec.cost else ""
    yield Finding(
        "note" if times > SLOW else "pass",
        f"{costs[name].milliseconds:.1f} ms a step, {times:.1f} times cross_entropy's{why}; it keeps {memory:.1f} MiB",
    )
