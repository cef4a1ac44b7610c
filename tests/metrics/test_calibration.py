import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score, precision_score, recall_score  # type: ignore[import-untyped]
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError

from losslab.metrics.calibration import BIN_COUNT, THRESHOLDS, CalibrationMetrics, find_best_threshold


def random_probabilities(seed: int, classes: int = 3, n: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(n, classes, 9, 11, generator=generator)).softmax(dim=1)
    return probabilities, torch.randint(0, classes, (n, 9, 11), generator=generator)


def scores(probabilities: Tensor, target: Tensor, ignore: int | None = None) -> dict[str, Tensor]:
    metric = CalibrationMetrics(probabilities.shape[1], ignore)
    metric.update(probabilities, target)
    return metric.compute()


@pytest.mark.parametrize("classes", [2, 5])
def test_ece_agrees_with_torchmetrics(classes: int) -> None:
    probabilities, target = random_probabilities(0, classes)
    target[0, :3] = 255
    theirs = MulticlassCalibrationError(classes, n_bins=BIN_COUNT, norm="l1", ignore_index=255)(probabilities, target)
    assert scores(probabilities, target, 255)["ece"].float() == pytest.approx(float(theirs), abs=1e-6)


def test_reliability_curve_by_hand() -> None:
    probabilities = torch.tensor([0.1, 0.9, 0.3, 0.7, 0.95, 0.05]).view(3, 2).T.reshape(1, 2, 1, 3)
    result = scores(probabilities, torch.tensor([[[1, 0, 0]]]))
    assert result["pixels"].tolist() == [0] * 10 + [1] + [0, 0, 1, 1]
    assert result["confidence"][[10, 13, 14]].tolist() == pytest.approx([0.7, 0.9, 0.95])
    assert result["accuracy"][[10, 13, 14]].tolist() == [0, 1, 1] and result["accuracy"][0].isnan()
    assert result["ece"] == pytest.approx((0.7 + 0.1 + 0.05) / 3)


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_sweep_is_that_of_thresholding_every_pixel(seed: int) -> None:
    probabilities, target = random_probabilities(seed)
    result = scores(probabilities, target)
    for place in (0, 49, 98):
        above = (probabilities.double() > THRESHOLDS[place]).movedim(1, 0).flatten(1)
        for label in range(3):
            pair = (target == label).flatten(), above[label]
            for name, score in (("precision", precision_score), ("recall", recall_score)):
                expected = score(*pair, zero_division=0)
                assert result[name][label, place] == pytest.approx(expected, nan_ok=True), (name, label, place)
            assert result["iou"][label, place] == pytest.approx(jaccard_score(*pair))


def test_class_that_truth_or_prediction_lacks_scores_as_label_maps_do() -> None:
    """0 where one of them has it, NaN where neither does."""
    probabilities = torch.tensor([0.9, 0.1, 0.0]).view(1, 3, 1, 1)
    result = scores(probabilities, torch.tensor([[[1]]]))
    for name in ("precision", "recall", "iou", "dice"):
        assert result[name][:2, 49].tolist() == [0, 0] and result[name][2, 49].isnan(), name


def test_one_half_is_where_two_classes_part() -> None:
    probabilities, target = random_probabilities(3, classes=2)
    result, guess = scores(probabilities, target), probabilities.argmax(dim=1)
    assert result["tp"][1, 49] == ((guess == 1) & (target == 1)).sum()
    assert result["tn"][1, 49] == ((guess == 0) & (target == 0)).sum()


def test_certain_pixels_are_counted() -> None:
    probabilities = torch.tensor([[1.0, 0.0]]).view(1, 2, 1, 1)
    result = scores(probabilities, torch.zeros(1, 1, 1, dtype=torch.int64))
    assert result["ece"] == 0 and result["pixels"][BIN_COUNT - 1] == 1
    assert result["tp"][0].tolist() == [1] * 99 and result["tn"][1].tolist() == [1] * 99


def test_void_counts_nowhere() -> None:
    probabilities, target = random_probabilities(1)
    void = target.clone()
    void[:, :4] = 255
    expected = scores(probabilities[:, :, 4:], target[:, 4:])
    for name, values in scores(probabilities, void, 255).items():
        assert torch.equal(values.nan_to_num(-1), expected[name].nan_to_num(-1)), name


@pytest.mark.parametrize(
    ("iou", "expected"),
    [({10: 0.5, 60: 0.7}, 60), ({30: 0.7, 45: 0.7, 60: 0.7}, 45), ({}, None), ({44: 0.2, 54: 0.2}, 44)],
)
def test_best_threshold_is_the_nearest_to_one_half_of_the_best(iou: dict[int, float], expected: int | None) -> None:
    assert find_best_threshold([iou.get(place, np.nan) for place in range(99)]) == expected


@pytest.mark.parametrize(
    "probabilities", [torch.zeros(1, 4, 2, 2), torch.zeros(1, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.int64)]
)
def test_ill_probabilities_are_refused(probabilities: Tensor) -> None:
    with pytest.raises(ValueError, match=r"probabilities must be float \[N, 3, H, W\]"):
        CalibrationMetrics(3).update(probabilities, torch.zeros(1, 2, 2, dtype=torch.int64))
