"""The rules that hold for every loss, and each loss against hand-worked and reference values."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from losslab.losses import available, build_loss
from losslab.losses.registry import LOSSES
from losslab.reporting.losses.checks.battery import CHECKS, check_loss
from losslab.reporting.losses.checks.bench import VOID, build_right_logits, build_wrong_logits, draw_batch
from tests.losses.conformance import ROWS, Hand, Reference

BOTH = pytest.mark.parametrize("num_classes", [1, 3])
EACH = pytest.mark.parametrize("name", available())
TRAITS = ("classes", "resolution", "one or two logits")
ABSENT, POOLED, RIGHT = "absent classes", "mean of images", "right and wrong"
NOTES: dict[str, set[str]] = {
    "bce": {"softmax"},
    "focal_ovr": {"softmax"},
    "topk_cross_entropy": {POOLED},
    "boundary": {ABSENT},
    "hausdorff": {ABSENT},
    "correlation": {ABSENT, POOLED},
    "cldice": {ABSENT},
    "topology": {"labels and sign", RIGHT},
    "total_variation": {"labels and sign", RIGHT, ABSENT, "mirror"},
}
"""Loss → checks of the bench that have a note on it: what it is by design, as `partner`, `by_design` and the docs say."""
BENCHED: list[tuple[str, dict[str, Any], set[str]]] = [
    *((name, {}, NOTES.get(name, set())) for name in available()),
    *(
        (name, {"reduction_over": "batch"}, {POOLED})
        for name in available()
        if "reduction_over" in LOSSES[name].defaults
    ),
    ("cross_entropy", {"class_weights": [1.0, 3.0], "label_smoothing": 0.1}, {"softmax", POOLED, RIGHT}),
    ("cross_entropy", {"class_weights": [1.0, 3.0, 0.5], "label_smoothing": 0.1}, {POOLED, RIGHT}),
    ("bce", {"label_smoothing": 0.1}, {"softmax", RIGHT}),
    ("focal", {"gamma": 0.5, "alpha": 0.25}, {"softmax"}),  # not run: this alpha is for one logit
    ("focal", {"gamma": 0.5, "alpha": [1.0, 3.0, 0.5]}, set()),
    ("focal_ovr", {"gamma": 0.5, "alpha": 0.25}, {"softmax"}),
    ("lovasz", {"classes": "all"}, {ABSENT}),
    ("unified_focal", {"asymmetric": False, "gamma": 0.8}, set()),
    ("hausdorff", {"alpha": 0.5}, {ABSENT}),
]
"""Each loss as it comes, and with the options that take another path."""


def perfect_logits(target: Tensor, num_classes: int) -> Tensor:
    return build_right_logits(target, num_classes, 40.0).float()


def test_every_loss_has_a_row_and_notes() -> None:
    assert list(ROWS) == available() and NOTES.keys() <= ROWS.keys()


@pytest.mark.parametrize(("name", "hand"), [(name, hand) for name, row in ROWS.items() for hand in row.hand])
def test_value_is_the_one_worked_by_hand(name: str, hand: Hand) -> None:
    logits = hand.logits()
    loss = build_loss(name, logits.shape[1], options=hand.options)
    assert loss(logits, torch.tensor([hand.target])) == pytest.approx(hand.expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "num_classes", "options", "reference"),
    [
        (name, num_classes, options, reference)
        for name, row in ROWS.items()
        for num_classes, references in ((1, row.binary), (3, row.multiclass))
        for options, reference in references
    ],
)
def test_value_is_the_reference(name: str, num_classes: int, options: dict[str, Any], reference: Reference) -> None:
    logits, target = draw_batch(num_classes, side_px=12)
    value = build_loss(name, num_classes, options=options)(logits, target)
    assert value == pytest.approx(float(reference(logits, target)), rel=1e-5)


@EACH
@BOTH
def test_perfect_prediction_costs_the_least(name: str, num_classes: int) -> None:
    _, target = draw_batch(num_classes)
    loss, right = build_loss(name, num_classes), perfect_logits(target, num_classes)
    row, perfect, guess = ROWS[name], loss(right, target), loss(torch.zeros_like(right), target)
    if row.perfect is not None:
        assert perfect == pytest.approx(row.perfect, abs=1e-5)
    if LOSSES[name].kind != "regulariser":
        assert perfect < guess
    if row.fears_wrong:
        assert guess < loss(build_wrong_logits(right), target)


def test_traits_of_a_loss_are_notes_of_the_bench() -> None:
    for name, verdict in (("cross_entropy", "pass"), ("boundary", "note")):
        assert [result.verdict for result in check_loss(name, names=TRAITS)] == [verdict] * 3


@pytest.mark.parametrize(("name", "options", "notes"), BENCHED)
def test_loss_passes_the_bench_but_for_what_it_is_by_design(
    name: str, options: dict[str, Any], notes: set[str]
) -> None:
    """The bench of `losslab losses check`, but for traits and learning four images, which have tests of their own, and cost."""
    names = tuple(check.name for check in CHECKS if check.name not in (*TRAITS, "overfit", "cost"))
    results = check_loss(name, options, names)
    assert [result for result in results if result.verdict == "FAIL"] == []
    assert {result.check for result in results if result.verdict == "note"} == notes and len(results) == len(names)


@EACH
@BOTH
@pytest.mark.parametrize("label", [0, 1])
def test_flat_error_on_an_empty_or_full_mask_costs_or_the_docstring_says_why(
    name: str, num_classes: int, label: int
) -> None:
    """Also on an empty mask: the gradient must push the wrong pixels by more than rounding."""
    target = torch.full((1, 16, 16), label)
    right = perfect_logits(target, num_classes)
    wrong = (build_wrong_logits(right) / 20).requires_grad_()
    loss = build_loss(name, num_classes)
    cost = loss(wrong, target)
    cost.backward()
    assert wrong.grad is not None and wrong.grad.isfinite().all()
    if ROWS[name].sees_flat:
        assert cost > loss(right, target) + 0.1
        assert wrong.grad.abs().sum() > ROWS[name].push
    else:
        assert cost.item() == pytest.approx(0, abs=0.05)
        assert "nothing" in (type(loss.losses[name]).__doc__ or ""), "a docstring that does not say so"
        assert not LOSSES[name].stands_alone


@EACH
@BOTH
@pytest.mark.parametrize("size", [1, 9])
def test_mask_of_one_pixel_is_finite_and_its_perfect_prediction_costs_least(
    name: str, num_classes: int, size: int
) -> None:
    target = torch.zeros(2, size, size, dtype=torch.int64)
    target[0, size // 2, size // 2] = 1
    loss, right = build_loss(name, num_classes), perfect_logits(target, num_classes)
    for logits in (right, right / 20, torch.zeros_like(right), build_wrong_logits(right)):
        leaf = logits.clone().requires_grad_()
        cost = loss(leaf, target)
        cost.backward()
        assert cost.isfinite() and leaf.grad is not None and leaf.grad.isfinite().all()
        if LOSSES[name].kind != "regulariser":
            assert cost >= loss(right, target) - 1e-6


@EACH
@BOTH
def test_half_precision_logits_are_computed_in_float32(name: str, num_classes: int) -> None:
    logits, target = draw_batch(num_classes, n=1, side_px=64 if name == "topology" else 512)
    extreme = (logits * 30).to(torch.bfloat16).requires_grad_()
    loss = build_loss(name, num_classes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(extreme, target)
    value.backward()
    assert value.dtype == torch.float32 and value.ndim == 0 and value.isfinite()
    assert value == loss(extreme.float(), target)
    assert extreme.grad is not None and extreme.grad.isfinite().all()


@contextmanager
def deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@EACH
@BOTH
def test_output_that_is_not_finite_gives_no_finite_loss(name: str, num_classes: int) -> None:
    """Training looks at the loss to stop; a crash, or a loss that hides it, would cost the checkpoint."""
    logits, target = draw_batch(num_classes, side_px=16)
    for broken in (torch.full_like(logits, torch.nan), logits.clone()):
        broken[0, 0, 3, 3] = torch.nan
        assert not build_loss(name, num_classes)(broken, target).isfinite()


@EACH
def test_reason_for_being_slow_is_in_the_docstring_too(name: str) -> None:
    docstring = inspect.getdoc(type(build_loss(name, 1).losses[name])) or ""
    assert ("slow" in docstring.lower()) == (LOSSES[name].cost is not None)


@EACH
@BOTH
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))],
)
def test_same_input_gives_the_same_bits_under_deterministic_algorithms(
    name: str, num_classes: int, memory_format: torch.memory_format, device: str
) -> None:
    """Torch raises on CUDA for an operation that has no deterministic form; nets put out channels last."""
    logits, target = (tensor.to(device) for tensor in draw_batch(num_classes, n=4, side_px=32))
    logits = logits.contiguous(memory_format=memory_format)
    loss = build_loss(name, num_classes).to(device)
    results: list[tuple[float, Tensor]] = []
    with deterministic():
        for _ in range(2):
            leaf = logits.float().requires_grad_()
            value = loss(leaf, target)
            value.backward()
            assert leaf.grad is not None
            results.append((value.item(), leaf.grad))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


@EACH
@pytest.mark.parametrize(
    ("logits", "target", "complaint"),
    [
        (torch.zeros(2, 4, 5, 5), torch.zeros(2, 5, 5, dtype=torch.int64), r"logits must be float \[N, 3, H, W\]"),
        (torch.zeros(2, 3, 5), torch.zeros(2, 5, 5, dtype=torch.int64), "logits must be float"),
        (torch.zeros(2, 3, 5, 5, dtype=torch.int64), torch.zeros(2, 5, 5, dtype=torch.int64), "logits must be float"),
        (torch.zeros(2, 3, 5, 5), torch.zeros(2, 5, 4, dtype=torch.int64), r"target must be int64 \[2, 5, 5\]"),
        (torch.zeros(2, 3, 5, 5), torch.zeros(2, 5, 5), "target must be int64"),
        (torch.zeros(2, 3, 5, 5), torch.full((2, 5, 5), 3), "labels 3 to 3; 3 classes allow 0 to 2"),
        (torch.zeros(2, 3, 5, 5), torch.full((2, 5, 5), -1), "labels -1 to -1"),
    ],
)
def test_ill_input_is_refused(name: str, logits: Tensor, target: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        build_loss(name, 3)(logits, target)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Any small batch: any labels and void pixels, logits from flat to saturated, with ties."""
    num_classes = draw(st.sampled_from([1, 2, 4]))
    n, h, w = draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    labels = torch.tensor([*range(max(num_classes, 2)), VOID])
    chosen = labels[draw(st.lists(st.integers(0, len(labels) - 1), min_size=1, max_size=4))]
    target = chosen[torch.randint(0, len(chosen), (n, h, w), generator=generator)]
    scale = draw(st.sampled_from([0.0, 1.0, 100.0]))
    logits = torch.randint(-3, 4, (n, num_classes, h, w), generator=generator) * scale
    return logits, target


@EACH
@given(batch=batches())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_batch_has_a_finite_cost_that_a_mirror_and_new_names_leave_alone(
    name: str, batch: tuple[Tensor, Tensor]
) -> None:
    logits, target = batch
    num_classes = logits.shape[1]
    loss = build_loss(name, num_classes, ignore_index=VOID)
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    assert value.isfinite() and leaf.grad is not None and leaf.grad.isfinite().all()
    assert value >= -1e-6 or name == "boundary"
    if name != "total_variation":  # forward differences have a direction
        assert loss(logits.flip(-1), target.flip(-1)) == pytest.approx(float(value.detach()), rel=1e-4, abs=1e-5)
    if num_classes > 1 and name != "unified_focal":  # class 0 is its background
        renamed = torch.where(target == VOID, VOID, (target + 1) % num_classes)
        assert loss(logits.roll(1, dims=1), renamed) == pytest.approx(float(value.detach()), rel=1e-4, abs=1e-5)
