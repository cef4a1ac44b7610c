"""The six rules that hold for every loss, and each loss against a hand-worked or reference number."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from losslab.errors import InputError
from losslab.losses import available, build_loss

VOID = 255
BOTH = pytest.mark.parametrize("num_classes", [1, 3])
EACH = pytest.mark.parametrize("name", available())


def make_batch(num_classes: int, n: int = 2, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(n, num_classes, size, size, generator=generator, dtype=torch.float64)
    target = torch.randint(0, max(num_classes, 2), (n, size, size), generator=generator)
    return logits, target


def perfect_logits(target: Tensor, num_classes: int) -> Tensor:
    if num_classes == 1:
        return (target.unsqueeze(1).float() * 2 - 1) * 40
    return F.one_hot(target, num_classes).permute(0, 3, 1, 2).float() * 80 - 40


@EACH
@BOTH
def test_gradient_matches_finite_differences(name: str, num_classes: int) -> None:
    logits, target = make_batch(num_classes, size=3)
    target[0, 0, 0] = VOID
    loss = build_loss(name, num_classes, ignore_index=VOID)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), [logits.requires_grad_()])


@EACH
@BOTH
def test_perfect_prediction_costs_nothing_and_a_wrong_one_more_than_a_guess(name: str, num_classes: int) -> None:
    _, target = make_batch(num_classes)
    loss, perfect = build_loss(name, num_classes), perfect_logits(target, num_classes)
    wrong = -perfect if num_classes == 1 else perfect.roll(1, dims=1)
    assert loss(perfect, target) == pytest.approx(0, abs=1e-5)
    assert loss(perfect, target) < loss(torch.zeros_like(perfect), target) < loss(wrong, target)


@EACH
@BOTH
def test_void_pixels_change_neither_value_nor_gradient(name: str, num_classes: int) -> None:
    logits, target = make_batch(num_classes)
    target[0, :2] = VOID
    target[1, 0, 0] = VOID
    loss = build_loss(name, num_classes, ignore_index=VOID)
    disturbed = logits.clone()
    disturbed[(target == VOID).unsqueeze(1).expand_as(logits)] = float("inf")
    values = [loss(z.requires_grad_(), target) for z in (logits, disturbed)]
    for value in values:
        value.backward()
    assert values[0] == values[1]
    assert logits.grad is not None and disturbed.grad is not None
    assert torch.equal(logits.grad, disturbed.grad)
    assert not logits.grad[(target == VOID).unsqueeze(1).expand_as(logits)].any()


@EACH
@BOTH
def test_mean_counts_valid_pixels_only(name: str, num_classes: int) -> None:
    """An image with void rows costs what the image without these rows costs."""
    logits, target = make_batch(num_classes, n=1)
    half_void = target.clone()
    half_void[:, 3:] = VOID
    loss = build_loss(name, num_classes, ignore_index=VOID)
    assert loss(logits, half_void) == pytest.approx(float(loss(logits[:, :, :3], target[:, :3])), rel=1e-9)


@EACH
@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_void_batch_costs_zero_with_a_zero_gradient(name: str, num_classes: int, dtype: torch.dtype) -> None:
    logits = (make_batch(num_classes)[0] * 100).to(dtype).requires_grad_()
    loss = build_loss(name, num_classes, ignore_index=VOID)(logits, torch.full((2, 6, 6), VOID))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None and not logits.grad.any()


@EACH
@BOTH
def test_all_void_image_leaves_the_others_cost(name: str, num_classes: int) -> None:
    logits, target = make_batch(num_classes)
    target[1] = VOID
    loss = build_loss(name, num_classes, ignore_index=VOID)
    assert loss(logits, target) == pytest.approx(float(loss(logits[:1], target[:1])), rel=1e-9)


@EACH
@BOTH
@pytest.mark.parametrize("label", [0, 1])
def test_empty_and_full_masks_are_finite_and_false_positives_cost(name: str, num_classes: int, label: int) -> None:
    """Also on an empty mask: the gradient must push the wrong pixels by more than rounding."""
    target = torch.full((1, 16, 16), label)
    right = perfect_logits(target, num_classes) / 10
    wrong = (-right if num_classes == 1 else right.roll(1, dims=1)).requires_grad_()
    loss = build_loss(name, num_classes)
    cost = loss(wrong, target)
    cost.backward()
    assert cost > loss(right, target) + 0.1
    assert wrong.grad is not None and wrong.grad.isfinite().all()
    assert wrong.grad.abs().sum() > 1e-3


@EACH
@BOTH
def test_half_precision_logits_are_computed_in_float32(name: str, num_classes: int) -> None:
    logits, target = make_batch(num_classes, n=1, size=512)
    extreme = (logits * 30).to(torch.bfloat16)
    loss = build_loss(name, num_classes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(extreme, target)
    assert value.dtype == torch.float32 and value.ndim == 0 and value.isfinite()
    assert value == loss(extreme.float(), target)


@EACH
@BOTH
def test_order_of_images_does_not_matter(name: str, num_classes: int) -> None:
    logits, target = make_batch(num_classes, n=4)
    order = torch.tensor([2, 0, 3, 1])
    loss = build_loss(name, num_classes)
    assert loss(logits[order], target[order]) == pytest.approx(float(loss(logits, target)), rel=1e-12)


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


REFERENCE: list[tuple[str, dict[str, Any], Any]] = [
    ("cross_entropy", {}, lambda z, y: F.cross_entropy(z, y)),
    ("cross_entropy", {"label_smoothing": 0.2}, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2)),
    (
        "cross_entropy",
        {"class_weights": [1.0, 2.0, 0.5]},
        lambda z, y: F.cross_entropy(z, y, torch.tensor([1.0, 2.0, 0.5], dtype=z.dtype)),
    ),
    ("bce", {}, lambda z, y: F.binary_cross_entropy_with_logits(z, F.one_hot(y, 3).permute(0, 3, 1, 2).to(z))),
    ("focal", {"gamma": 0.0}, lambda z, y: F.cross_entropy(z, y)),
]


@pytest.mark.parametrize(("name", "options", "reference"), REFERENCE)
def test_multiclass_value_is_the_reference(name: str, options: dict[str, Any], reference: Any) -> None:
    logits, target = make_batch(3)
    assert build_loss(name, 3, options=options)(logits, target) == pytest.approx(float(reference(logits, target)))


BINARY_REFERENCE: list[tuple[str, dict[str, Any], Any]] = [
    ("cross_entropy", {}, F.binary_cross_entropy_with_logits),
    ("bce", {}, F.binary_cross_entropy_with_logits),
    ("focal", {}, lambda z, y: sigmoid_focal_loss(z, y, alpha=-1, gamma=2, reduction="mean")),
    (
        "focal",
        {"gamma": 1.5, "alpha": 0.25},
        lambda z, y: sigmoid_focal_loss(z, y, alpha=0.25, gamma=1.5, reduction="mean"),
    ),
]


@pytest.mark.parametrize(("name", "options", "reference"), BINARY_REFERENCE)
def test_binary_value_is_the_reference(name: str, options: dict[str, Any], reference: Any) -> None:
    logits, target = make_batch(1)
    expected = reference(logits, target.unsqueeze(1).to(logits))
    assert build_loss(name, 1, options=options)(logits, target) == pytest.approx(float(expected))


def test_focal_is_softmax_over_classes() -> None:
    """p of the true class is 1/2 and 1/4: the mean of (1-p)² · -log p."""
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], dtype=torch.float64)).T.reshape(1, 3, 1, 2)
    expected = (0.25 * torch.log(torch.tensor(2.0)) + 0.5625 * torch.log(torch.tensor(4.0))) / 2
    assert build_loss("focal", 3)(logits, torch.tensor([[[0, 1]]])) == pytest.approx(float(expected), rel=1e-6)


def test_focal_weights_each_pixel_by_alpha_of_its_class() -> None:
    logits, target = make_batch(3)
    plain = build_loss("focal", 3)(logits, target)
    assert build_loss("focal", 3, options={"alpha": [2.0, 2.0, 2.0]})(logits, target) == pytest.approx(2 * float(plain))


@BOTH
def test_focal_gradient_is_finite_for_small_gamma_at_certainty(num_classes: int) -> None:
    _, target = make_batch(num_classes)
    logits = (perfect_logits(target, num_classes) * 10).requires_grad_()
    build_loss("focal", num_classes, options={"gamma": 0.5})(logits, target).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_dice_by_hand() -> None:
    """Two pixels, p of the foreground 0.8 and 0.4, truth 1 and 0: 1 - 2·0.8 / (1.2 + 1)."""
    logits = torch.logit(torch.tensor([0.8, 0.4], dtype=torch.float64)).reshape(1, 1, 1, 2)
    target = torch.tensor([[[1, 0]]])
    assert build_loss("dice", 1, options={"smooth": 0.0})(logits, target) == pytest.approx(1 - 1.6 / 2.2)


def test_dice_leaves_an_absent_class_out_of_the_mean() -> None:
    logits, _ = make_batch(3, n=1)
    target = torch.zeros(1, 6, 6, dtype=torch.int64)
    p = logits.softmax(1)[:, 0]
    assert build_loss("dice", 3)(logits, target) == pytest.approx(float(1 - 2 * p.sum() / (p.sum() + 36)), rel=1e-6)


def test_dice_on_an_image_without_foreground_is_the_backgrounds() -> None:
    logits, _ = make_batch(1, n=1)
    p = logits.sigmoid().sum()
    empty = torch.zeros(1, 6, 6, dtype=torch.int64)
    assert build_loss("dice", 1)(logits, empty) == pytest.approx(float(p / (72 - p)), rel=1e-6)


def test_dice_over_the_batch_sums_before_it_divides() -> None:
    logits, target = make_batch(3, n=2)
    whole = build_loss("dice", 3, options={"reduction_over": "batch"})(logits, target)
    side_by_side = build_loss("dice", 3)(torch.cat(list(logits), dim=1)[None], torch.cat(list(target), dim=0)[None])
    assert whole == pytest.approx(float(side_by_side))
    assert whole != pytest.approx(float(build_loss("dice", 3)(logits, target)), rel=1e-9)


def test_binary_class_weights_multiply_each_side() -> None:
    logits, target = make_batch(1)
    weights = torch.where(target == 1, 3.0, 1.0).to(logits)
    costs = F.binary_cross_entropy_with_logits(logits.squeeze(1), target.to(logits), reduction="none")
    loss = build_loss("cross_entropy", 1, class_weights=[1.0, 3.0])
    assert loss(logits, target) == pytest.approx(float((costs * weights).sum() / weights.sum()))


def test_expression_is_the_weighted_sum_of_its_terms() -> None:
    logits, target = make_batch(3)
    loss = build_loss("0.3*bce+2*dice", 3)
    terms = loss.terms(logits, target)
    assert list(terms) == ["bce", "dice"]
    assert loss(logits, target) == pytest.approx(float(0.3 * terms["bce"] + 2 * terms["dice"]))
    assert terms["dice"] == build_loss("dice", 3)(logits, target)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"expression": "dise"}, "'dise', which is not one of cross_entropy, bce"),
        ({"expression": "dice", "options": {"gamma": 1.0}}, r"loss_options.gamma: no loss of dice takes it.*smooth"),
        ({"expression": "focal", "options": {"gamma": -1.0}}, "loss_options.gamma is -1.0"),
        ({"expression": "focal", "options": {"gamma": "2"}}, "loss_options.gamma is '2'"),
        ({"expression": "focal", "options": {"alpha": 0.5}}, r"loss_options.alpha is 0.5; over 3 classes it is a list"),
        ({"expression": "focal", "options": {"alpha": [1.0]}}, r"loss_options.alpha is \[1.0\]; .* each of 3 classes"),
        ({"expression": "dice", "class_weights": [1, 1, 1]}, "class_weights: no loss of dice takes it"),
        (
            {"expression": "cross_entropy", "class_weights": [1.0]},
            r"loss_options.class_weights is \[1.0\]; .* each of 3 classes",
        ),
        (
            {"expression": "cross_entropy", "class_weights": [1.0, -1.0, 1.0]},
            r"loss_options.class_weights is .*greater than or equal to 0",
        ),
        ({"expression": "dice", "options": {"reduction_over": "pixel"}}, "loss_options.reduction_over is 'pixel'"),
        ({"expression": "dice", "num_classes": 0}, "num_classes is 0"),
    ],
)
def test_ill_arguments_are_named(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        build_loss(**{"num_classes": 3, **arguments})
