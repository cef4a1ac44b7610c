import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from torch import Tensor

from losslab.metrics.contours import ContourMetrics
from losslab.metrics.images import Labels

CLASSES = 3


def blobs(seed: int, n: int = 1, height: int = 40, width: int = 56) -> tuple[Tensor, Tensor]:
    """Predictions and truths `[N, H, W]` of patches that mostly agree."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(n):
        small = rng.integers(0, CLASSES, (5, 7), dtype=np.uint8)
        truth = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
        guess = np.roll(truth, rng.integers(-4, 5, 2), (0, 1))
        guess[rng.random(guess.shape) < 0.01] = 1
        pairs.append((guess, truth))
    return tuple(torch.from_numpy(np.stack(images)).long() for images in zip(*pairs, strict=True))  # type: ignore[return-value]


def scores(prediction: Tensor, target: Tensor, ignore: int | None = None) -> dict[str, Tensor]:
    metric = ContourMetrics(CLASSES, ignore, tolerances=[1, 3])
    metric.update(prediction, target)
    return metric.compute()


def one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels, CLASSES).permute(0, 3, 1, 2)


def paper_boundary(mask: Labels) -> Labels:
    """mask_to_boundary of bowenc0221/boundary-iou-api, from Cheng et al.'s own description."""
    height, width = mask.shape
    dilation = max(1, round(0.02 * np.sqrt(height**2 + width**2)))
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=dilation)
    return mask - np.asarray(eroded[1:-1, 1:-1])


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_one_image_agrees_with_monai(seed: int) -> None:
    prediction, target = blobs(seed)
    result = scores(prediction, target)
    pair = one_hot(prediction), one_hot(target)
    for place, pixels in enumerate((1, 3)):
        theirs = compute_surface_dice(*pair, [pixels] * CLASSES, include_background=True)[0]
        assert torch.allclose(result["surface_dice"][place].float(), theirs.float(), equal_nan=True)
    theirs = compute_hausdorff_distance(*pair, include_background=True, percentile=95)[0]
    theirs[theirs.isinf()] = torch.nan
    assert torch.allclose(result["hd95"].float(), theirs.float(), atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("shape", [(40, 56), (120, 200)])
def test_boundary_iou_agrees_with_the_papers_code_over_a_data_set(shape: tuple[int, int]) -> None:
    prediction, target = blobs(1, 4, *shape)
    result = scores(prediction, target)["boundary_iou"]
    for label in range(CLASSES):
        both = either = 0
        for guess, truth in zip(prediction.numpy(), target.numpy(), strict=True):
            first, second = (paper_boundary((labels == label).astype(np.uint8)) for labels in (guess, truth))
            both, either = both + (first & second).sum(), either + (first | second).sum()
        assert result[label] == pytest.approx(both / either)


def test_surface_dice_is_of_the_contours_of_all_images_together() -> None:
    """A small object, missed, costs its own contour, not an image's share."""
    prediction, target = torch.zeros(2, 1, 30, 30, dtype=torch.int64)[0], torch.zeros(2, 30, 30, dtype=torch.int64)
    target[0, 5:25, 5:25] = 1
    target[1, 5:7, 5:7] = 1
    prediction = target.clone()
    prediction[1] = 0
    assert scores(prediction, target)["surface_dice"][0, 1] == pytest.approx(2 * 76 / (2 * 76 + 4))


def test_hd95_is_the_mean_over_images_that_have_the_class() -> None:
    """The third image's object is missed: it counts the diagonal, the worst that there can be."""
    target = torch.zeros(4, 20, 20, dtype=torch.int64)
    target[:3, 5, 5] = 1
    prediction = torch.zeros_like(target)
    prediction[0, 5, 8] = prediction[1, 6, 5] = 1
    result = scores(prediction, target)
    assert result["hd95"][1] == pytest.approx((3 + 1 + math.hypot(20, 20)) / 3)
    assert result["hd95_images"].tolist() == [4, 3, 0]
    assert (
        result["boundary_iou"][2].isnan() and result["surface_dice"][:, 2].isnan().all() and result["hd95"][2].isnan()
    )


def test_a_class_that_one_side_has_alone_has_the_worst_scores() -> None:
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    prediction = target.clone()
    prediction[0, 3:8, 3:8] = 2
    result = scores(prediction, target)
    assert result["boundary_iou"][2] == 0 and result["surface_dice"][:, 2].tolist() == [0, 0]
    assert result["hd95"][2] == pytest.approx(math.hypot(20, 20))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_missing_an_object_is_never_better_than_finding_any_pixel_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, found = np.zeros((1, 24, 24), np.int64), np.zeros((1, 24, 24), np.int64)
    top, left = rng.integers(0, 20, 2)
    target[0, top : top + 4, left : left + 4] = 1
    found[0, top, left] = 1
    found[rng.random(found.shape) < rng.random()] = 1
    missed, hit = (
        measure_images(torch.from_numpy(guess), torch.from_numpy(target)) for guess in (np.zeros_like(found), found)
    )
    assert missed["class_hd95"][0, 1] > hit["class_hd95"][0, 1] and missed["overlap"][0, 1] == 0
    none, false = np.zeros_like(target), (rng.random(found.shape) < 0.1).astype(np.int64)
    right, wrong = (measure_images(torch.from_numpy(guess), torch.from_numpy(none)) for guess in (none, false))
    assert not wrong["hd95"][0] < right["hd95"][0] and not wrong["boundary_iou"][0] > right["boundary_iou"][0]


def measure_images(prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
    metric = ContourMetrics(CLASSES)
    metric.update(prediction, target)
    return metric.compute_per_image()


def test_padding_with_void_changes_nothing() -> None:
    prediction, target = blobs(3)
    edges = (20, 30, 40, 0)
    guess, truth = torch.nn.functional.pad(prediction, edges), torch.nn.functional.pad(target, edges, value=255)
    alone, beside = scores(prediction, target), scores(guess, truth, ignore=255)
    assert all(alone[name].equal(beside[name]) for name in alone)


def test_void_is_in_no_class() -> None:
    """MONAI is given masks from which it was taken."""
    prediction, target = blobs(7)
    void = target.clone()
    void[:, 10:20, 5:30] = 255
    result = scores(prediction, void, ignore=255)
    known = (void != 255)[:, None]
    pair = one_hot(prediction) * known, one_hot(target) * known
    theirs = compute_surface_dice(*pair, [1] * CLASSES, include_background=True)[0]
    assert torch.allclose(result["surface_dice"][0].float(), theirs.float())
    theirs = compute_hausdorff_distance(*pair, include_background=True, percentile=95)[0]
    assert torch.allclose(result["hd95"].float(), theirs.float(), atol=1e-4)


def test_a_border_anywhere_in_void_is_right() -> None:
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    target[..., 8:12], target[..., 12:] = 255, 1
    for column in (8, 10, 12):
        prediction = torch.zeros_like(target)
        prediction[..., column:] = 1
        result = scores(prediction, target, ignore=255)
        assert result["boundary_iou"][:2].tolist() == [1, 1] and result["hd95"][:2].tolist() == [0, 0]


def test_values_of_each_image_are_means_over_its_classes() -> None:
    prediction, target = blobs(4, 3)
    metric = ContourMetrics(CLASSES)
    metric.update(prediction, target)
    per_image = metric.compute_per_image()
    for index, (boundary, hd95) in enumerate(zip(per_image["boundary_iou"], per_image["hd95"], strict=True)):
        alone = scores(prediction[index : index + 1], target[index : index + 1])
        assert boundary == pytest.approx(float(alone["boundary_iou"].nanmean()))
        assert hd95 == pytest.approx(float(alone["hd95"].nanmean()))
