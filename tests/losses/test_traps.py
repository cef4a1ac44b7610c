"""What each loss is known to get wrong elsewhere."""

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from losslab.losses import build_loss
from losslab.losses.base import Batch
from losslab.losses.cldice import soft_skeleton
from losslab.losses.distance import compute_distance_maps, signed_distance
from losslab.losses.windowed import LocalMean, gaussian, ssim_map
from losslab.reporting.losses.checks.bench import VOID, draw_batch
from tests.losses.test_conformance import BOTH, perfect_logits


def binary(p: Tensor) -> Tensor:
    """Logits `[1, 1, H, W]` of foreground probabilities `[H, W]`."""
    return torch.logit(p.double(), eps=1e-12)[None, None]


@BOTH
def test_focal_gradient_is_finite_for_small_gamma_at_certainty(num_classes: int) -> None:
    _, target = draw_batch(num_classes)
    logits = (perfect_logits(target, num_classes) * 10).requires_grad_()
    build_loss("focal", num_classes, options={"gamma": 0.5})(logits, target).backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_dice_leaves_an_absent_class_out_of_the_mean() -> None:
    logits, _ = draw_batch(3, n=1)
    target = torch.zeros(1, 6, 6, dtype=torch.int64)
    p = logits.softmax(1)[:, 0]
    assert build_loss("dice", 3)(logits, target) == pytest.approx(float(1 - 2 * p.sum() / (p.sum() + 36)), rel=1e-6)


def test_dice_on_an_image_without_foreground_is_the_backgrounds() -> None:
    logits, _ = draw_batch(1, n=1)
    p = logits.sigmoid().sum()
    empty = torch.zeros(1, 6, 6, dtype=torch.int64)
    assert build_loss("dice", 1)(logits, empty) == pytest.approx(float(p / (72 - p)), rel=1e-6)


def test_dice_over_the_batch_sums_before_it_divides() -> None:
    logits, target = draw_batch(3, n=2)
    over_batch = build_loss("dice", 3, options={"reduction_over": "batch"})(logits, target)
    side_by_side = build_loss("dice", 3)(torch.cat(list(logits), dim=1)[None], torch.cat(list(target), dim=0)[None])
    assert over_batch == pytest.approx(float(side_by_side))
    assert over_batch != pytest.approx(float(build_loss("dice", 3)(logits, target)), rel=1e-9)


def test_tversky_charges_a_false_negative_more_than_a_false_positive_and_alpha_and_beta_turn_that() -> None:
    target = torch.tensor([[[1, 1, 0, 0]]])
    missed, invented = binary(torch.tensor([[1.0, 0.1, 0, 0]])), binary(torch.tensor([[1.0, 1, 0.9, 0]]))
    for name, turned in (("tversky", {"alpha": 0.7, "beta": 0.3}), ("focal_tversky", {"alpha": 0.3, "beta": 0.7})):
        loss, other = build_loss(name, 1), build_loss(name, 1, options=turned)
        assert loss(missed, target) > loss(invented, target)
        assert other(missed, target) < other(invented, target)


def test_focal_tversky_has_a_bounded_gradient_where_nothing_is_left_to_gain() -> None:
    target = torch.tensor([[[1, 1, 0, 0]]])
    for margin in (2.0, 8.0, 16.0, 40.0):
        logits = ((target * 2 - 1).unsqueeze(1) * margin).requires_grad_()
        build_loss("focal_tversky", 1)(logits, target).backward()
        assert logits.grad is not None and logits.grad.abs().max() < 1


def test_generalized_dice_charges_a_false_positive_of_an_absent_class() -> None:
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    target[:, :4] = 1
    right = perfect_logits(target, 3)
    wrong = right.clone()
    wrong[:, :, 0, 0] = torch.tensor([-40.0, -40.0, 40.0])
    loss = build_loss("generalized_dice", 3)
    assert loss(wrong, target) > loss(right, target) + 0.01


def test_mcc_does_not_overflow_on_large_images() -> None:
    """The product of four counts of a million pixels each is beyond float32."""
    target = torch.zeros(1, 1024, 1024, dtype=torch.int64)
    target[:, :512] = 1
    logits = perfect_logits(target, 1) / 20
    assert 0 < build_loss("mcc", 1)(logits, target) < 0.5


@pytest.mark.parametrize("pixels", [1, 4])
def test_mcc_does_not_pay_for_predicting_nothing_on_a_small_object(pixels: int) -> None:
    """A constant prediction has correlation 0, whatever is added to keep 0/0 away."""
    target = torch.zeros(1, 512, 512, dtype=torch.int64)
    target[0, 0, :pixels] = 1
    loss = build_loss("mcc", 1)
    assert loss(torch.full((1, 1, 512, 512), -16.0), target) == pytest.approx(1, abs=0.01)
    assert loss(perfect_logits(target, 1), target) == pytest.approx(0, abs=1e-5)


@BOTH
def test_unified_focal_of_a_perfect_empty_mask_is_nothing(num_classes: int) -> None:
    """MONAI's costs 1/2 there: its smooth equals its clamp."""
    target = torch.zeros(1, 64, 64, dtype=torch.int64)
    assert build_loss("unified_focal", num_classes)(perfect_logits(target, num_classes), target) < 1e-5


def test_topk_rounds_up_and_never_picks_void_pixels() -> None:
    p = torch.tensor([[0.5, 0.25, 0.9, 0.01]])
    target = torch.tensor([[[1, 1, 1, VOID]]])
    loss = build_loss("topk_cross_entropy", 1, VOID, options={"k": 40.0})  # 1.2 of 3 pixels
    assert loss(binary(p), target) == pytest.approx(float(-(p[0, 0].log() + p[0, 1].log()) / 2))


def test_lovasz_over_all_classes_counts_an_absent_one_by_its_largest_error() -> None:
    logits, _ = draw_batch(3, n=1)
    target = torch.zeros(1, 6, 6, dtype=torch.int64)
    p = logits.softmax(1)
    present = build_loss("lovasz", 3)(logits, target)
    expected = (present + p[:, 1].max() + p[:, 2].max()) / 3
    assert build_loss("lovasz", 3, options={"classes": "all"})(logits, target) == pytest.approx(float(expected))


def test_signed_distance_is_negative_inside_and_zero_on_the_border() -> None:
    target = torch.zeros(1, 1, 7, 7)
    target[..., 1:6, 1:6] = 1
    phi = compute_distance_maps(target, torch.ones(1, 7, 7, dtype=torch.bool), signed_distance)[0, 0]
    assert phi[3].tolist() == [1, 0, -1, -2, -1, 0, 1]
    assert phi[0, 0] == pytest.approx(2**0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_map_of_an_empty_or_full_class_is_zero(label: int) -> None:
    plane = torch.full((1, 1, 5, 5), float(label))
    assert not compute_distance_maps(plane, torch.ones(1, 5, 5, dtype=torch.bool), signed_distance).any()


def test_void_pixels_are_no_border() -> None:
    """A class that runs into void pixels goes on: its distances are those to valid pixels of other classes."""
    mask, valid = torch.ones(1, 1, 1, 6), torch.ones(1, 1, 6, dtype=torch.bool)
    mask[..., 0] = 0
    valid[..., 3:5] = False
    assert compute_distance_maps(mask, valid, signed_distance)[0, 0, 0].tolist() == [1, 0, -1, 0, 0, -4]


def test_boundary_is_negative_when_right() -> None:
    target = torch.zeros(1, 9, 9, dtype=torch.int64)
    target[:, 2:7, 2:7] = 1
    assert build_loss("boundary", 1)(perfect_logits(target, 1), target) < 0


def test_hausdorff_charges_the_far_error_more() -> None:
    target = torch.zeros(1, 16, 16, dtype=torch.int64)
    target[:, 4:8, 4:8] = 1
    near, far = target.clone(), target.clone()
    near[:, 8, 5], far[:, 14, 14] = 1, 1
    loss = build_loss("hausdorff", 1)
    assert loss(perfect_logits(far, 1), target) > 5 * loss(perfect_logits(near, 1), target)


def test_ssim_away_from_the_edge_is_that_of_torchmetrics() -> None:
    logits, target = draw_batch(1, n=1, side_px=24)
    batch = Batch(logits, target, torch.ones_like(target, dtype=torch.bool))
    p, y = batch.probabilities(), batch.one_hot()
    ours = ssim_map(p, y, LocalMean(gaussian(11, 1.5), batch.valid, torch.float64))
    theirs = structural_similarity_index_measure(
        p, y, sigma=1.5, kernel_size=11, data_range=1.0, return_full_image=True
    )
    assert torch.allclose(ours[..., 5:-5, 5:-5], theirs[1][..., 5:-5, 5:-5], atol=1e-6)


def test_ssim_of_nearly_flat_maps_is_finite() -> None:
    """E[p²] - μ² of a flat map is often below 0 in float32."""
    target = torch.zeros(1, 32, 32, dtype=torch.int64)
    for level in (-9.0, -0.7, 0.0, 0.3, 9.0):
        for name in ("ssim", "correlation"):
            logits = torch.full((1, 1, 32, 32), level).requires_grad_()
            build_loss(name, 1)(logits, target).backward()
            assert logits.grad is not None and logits.grad.isfinite().all()


def test_correlation_of_flat_truth_and_prediction_counts_nothing() -> None:
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    assert build_loss("correlation", 1)(torch.full((1, 1, 8, 8), 3.0), target) == 0


def test_skeleton_of_a_bar_is_its_middle_line() -> None:
    bar = torch.zeros(1, 1, 9, 15)
    bar[..., 3:6, 2:13] = 1
    skeleton = soft_skeleton(bar, torch.ones(1, 1, 9, 15, dtype=torch.bool), 3)[0, 0]
    assert skeleton[4, 3:12].tolist() == [1.0] * 9
    assert skeleton[[3, 5], 3:12].sum() == 0


def test_void_pixels_do_not_thin_a_skeleton() -> None:
    bar = torch.zeros(1, 1, 9, 15)
    bar[..., 2:5, :] = 1
    valid = torch.ones(1, 1, 9, 15, dtype=torch.bool)
    cut = soft_skeleton(bar[..., :10], valid[..., :10], 3)
    valid[..., 10:] = False
    assert torch.equal(soft_skeleton(bar, valid, 3)[..., :10], cut)


def test_cldice_sees_the_first_channel_and_a_gap_more_than_a_thin_rim() -> None:
    target = torch.zeros(1, 16, 32, dtype=torch.int64)
    target[:, 6:9, 2:30] = 1
    broken, thinned = target.clone(), target.clone()
    broken[:, :, 14:18], thinned[:, 6] = 0, 0
    loss = build_loss("cldice", 1)
    assert loss(perfect_logits(broken, 1), target) > 3 * loss(perfect_logits(thinned, 1), target)


def test_topology_fills_the_hole_and_joins_the_parts() -> None:
    """The gradient raises p at the one pixel that closes a hole, and at the gap that breaks a bar."""
    target = torch.zeros(1, 16, 16, dtype=torch.int64)
    target[:, 4:12, 2:14] = 1
    for gap in ((slice(7, 8), slice(7, 8)), (slice(4, 12), slice(7, 8))):
        logits = perfect_logits(target, 1) / 20
        logits[(0, 0, *gap)] = -1.0
        leaf = logits.clone().requires_grad_()
        build_loss("topology", 1)(leaf, target).backward()
        assert leaf.grad is not None
        assert leaf.grad[(0, 0, *gap)].min() < -1e-3
        outside = leaf.grad.clone()
        outside[(0, 0, *gap)] = 0
        assert outside.abs().sum() < leaf.grad[(0, 0, *gap)].abs().sum()


def test_topology_ignores_a_shift_and_works_patch_by_patch() -> None:
    target = torch.zeros(1, 32, 32, dtype=torch.int64)
    target[:, 4:12, 4:12] = 1
    loss = build_loss("topology", 1)
    assert loss(perfect_logits(target.roll(3, -1), 1), target) == pytest.approx(0, abs=1e-6)
    speck = perfect_logits(target, 1)
    speck[..., 20, 20] = 40  # one component too many, alone in its patch: born at 0, not at 1
    assert loss(speck, target) == pytest.approx(0.5, abs=1e-6)
    assert build_loss("topology", 1, options={"patch": 16})(speck, target) == pytest.approx(0.25, abs=1e-6)


def test_total_variation_does_not_look_at_the_truth_nor_across_void() -> None:
    logits, target = draw_batch(1, n=1)
    loss = build_loss("total_variation", 1, VOID)
    assert loss(logits, target) == loss(logits, 1 - target)
    split = torch.full((1, 1, 4, 5), -40.0)
    split[..., 3:] = 40
    border = torch.zeros(1, 4, 5, dtype=torch.int64)
    assert loss(split, border) == pytest.approx(4 / 20)
    border[..., 3] = VOID
    assert loss(split, border) == pytest.approx(0, abs=1e-6)
