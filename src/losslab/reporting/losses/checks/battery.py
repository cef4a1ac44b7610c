"""The battery: its checks in order, and their verdicts on a loss."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from losslab.errors import InputError, find_exhausted_memory, quote
from losslab.reporting.losses.checks import masks, numerics, traits
from losslab.reporting.losses.checks.bench import (
    Bench,
    Finding,
    Verdict,
    describe_fault,
    name_form,
)
from losslab.reporting.losses.probes import use_one_thread


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
    by_design, known = bench.spec.by_design, [check.name for check in CHECKS]
    if not isinstance(by_design, dict) or not by_design.keys() <= set(known):
        raise InputError(
            f"{bench.get_place()}: by_design is {quote(by_design)}; it must give a reason for each check, by its name: "
            + ", ".join(known)
        )
    results = []
    for check in CHECKS:
        if names is None or check.name in names:
            results.append(_run(check, bench))
            if check.gate and results[-1].verdict == "FAIL":
                break
    return results


def _run(check: Check, bench: Bench) -> CheckResult:
    if missing := [name_form(num_classes) for num_classes in check.needs if num_classes in bench.undefined]:
        return CheckResult(check.name, "note", f"not run: the loss is not defined {missing[0]}", bench.get_place())
    try:
        findings = list(check.run(bench))
    except Exception as error:
        if find_exhausted_memory(error):
            raise
        return CheckResult(check.name, "FAIL", describe_fault(error), bench.get_place(bench.find_line(error)))
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


CHECKS = (
    Check(
        "runs",
        numerics.check_runs,
        "a batch gives one number, with one logit and for three classes",
        "Training would stop at the first batch",
        gate=True,
    ),
    Check(
        "labels and sign",
        masks.check_labels,
        "the gradient raises the class of each pixel's label, and lowers the others",
        "Training would learn other masks than yours",
        gate=True,
    ),
    Check(
        "in place",
        numerics.check_in_place,
        "logits, target and mask stay as they are, for the terms beside it and for backward",
        "Whatever uses the same tensors afterwards, other terms, metrics and backward, gets wrong numbers",
        gate=True,
    ),
    Check(
        "same bits",
        numerics.check_same_bits,
        "the same batch gives the same value and gradient: a run can be repeated",
        "A run cannot be repeated, and seeds are compared with noise on top",
        gate=True,
    ),
    Check(
        "gradient",
        numerics.check_gradient,
        "it reaches the logits",
        "Training would change nothing",
        gate=True,
    ),
    Check(
        "finite",
        numerics.check_finite,
        "value and gradient are finite at logits of 0 and ±10 000, in float32, bfloat16 and float16",
        "One certain pixel would end the run",
        gate=True,
    ),
    Check(
        "shapes and dtypes",
        numerics.check_shapes,
        "one number of the logits' own precision, for images of any size, down to one pixel",
        "Some image sizes, or mixed precision, would stop training",
    ),
    Check(
        "slope",
        numerics.check_slope,
        "the gradient is the value's slope, checked by finite differences in float64",
        "Descent follows something other than the value that is logged",
    ),
    Check(
        "half precision",
        numerics.check_half_precision,
        "bfloat16 and float16 logits under autocast cost what they cost in float32",
        "Sums in half precision are off by per cents, or overflow",
    ),
    Check(
        "ignored pixels",
        masks.check_ignored_pixels,
        "they change neither value nor gradient, and a batch of nothing else costs 0",
        "Void and padding would be trained on, and how much of it there is would change the value",
    ),
    Check(
        "masks",
        masks.check_masks,
        "empty, full and one-pixel masks have a finite value and gradient",
        "One such image would end the run",
    ),
    Check(
        "right and wrong",
        masks.check_right_and_wrong,
        "a right prediction costs the least, and a wrong one more than equal probabilities",
        "Descent leads away from the truth, or ends short of it",
    ),
    Check(
        "absent classes",
        masks.check_absent_classes,
        "a false positive of a class that is not in the image costs, and no more than other errors do",
        "Nothing would stop the net from seeing that class where it is not. If it is to be used with another loss that does, "
        "declare that: @loss(partner='dice+0.1*mine')",
    ),
    Check("softmax", traits.check_softmax, "classes compete: only differences between logits count", needs=(3,)),
    Check(
        "order of images",
        traits.check_order,
        "the order of images in a batch does not matter",
        "The value depends on the shuffling",
    ),
    Check(
        "mean of images",
        traits.check_mean_of_images,
        "a batch costs the mean of its images: train.batch_size does not change what is minimised",
        "What is minimised depends on train.batch_size. If that is meant, declare it: "
        "@loss(by_design={'mean of images': 'why'})",
    ),
    Check(
        "classes", traits.check_classes, "all classes are treated alike, foreground and background too", needs=(1, 3)
    ),
    Check("mirror", traits.check_mirror, "a mirrored scene costs the same"),
    Check(
        "resolution",
        traits.check_resolution,
        "a scene costs the same at twice the resolution: weights carry over to another prepare.size",
        needs=(1,),
    ),
    Check("one or two logits", traits.check_logit_forms, "two classes cost the same with one logit and with two"),
    Check(
        "overfit",
        traits.check_overfit,
        f"a small net learns four drawn images by it, to an mIoU above {traits.LEARNT_MIOU}, within {traits.STEPS} steps",
        "It may not train a net that cross_entropy trains",
    ),
    Check("cost", traits.check_cost, ""),
)
"""The battery, in the order of its lines."""
