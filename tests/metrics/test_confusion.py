from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score, matthews_corrcoef, precision_score, recall_score  # type: ignore[import-untyped]
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassJaccardIndex

from losslab.metrics import SegmentationMetrics


def random_labels(seed: int, n: int = 6, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, classes, (n, 8, 8), generator=generator) for _ in range(2))  # type: ignore[return-value]


def scores(
    prediction: Tensor, target: Tensor, classes: int = 4, ignore: int | None = None, batch: int = 6
) -> dict[str, Tensor]:
    metric = SegmentationMetrics(classes, ignore)
    for start in range(0, len(target), batch):
        metric.update(prediction[start : start + batch], target[start : start + batch])
    return metric.compute()


def is_identical(value: Tensor, other: Tensor) -> bool:
    return torch.equal(value.nan_to_num(-1), other.nan_to_num(-1))


def test_scores_by_hand() -> None:
    target = torch.tensor([[[0, 0, 1, 1]]])
    prediction = torch.tensor([[[0, 1, 1, 1]]])
    result = scores(prediction, target, classes=2)
    assert result["confusion"].tolist() == [[1, 1], [0, 2]]
    assert result["iou"].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert result["dice"].tolist() == pytest.approx([2 / 3, 4 / 5])
    assert result["recall"].tolist() == [0.5, 1.0]
    assert result["miou"] == pytest.approx(7 / 12)
    assert result["pixel_accuracy"] == 0.75
    assert result["mean_accuracy"] == 0.75
    assert result["support"].tolist() == [2, 2] and result["predicted"].tolist() == [1, 3]
    assert result["precision"].tolist() == pytest.approx([1, 2 / 3])
    assert result["fwiou"] == pytest.approx((2 * 1 / 2 + 2 * 2 / 3) / 4)


def test_agrees_with_torchmetrics() -> None:
    prediction, target = random_labels(0)
    target[0, :3] = 255
    result = scores(prediction, target, ignore=255)
    arguments: dict[str, Any] = {"num_classes": 4, "ignore_index": 255}
    assert torch.equal(result["confusion"], MulticlassConfusionMatrix(**arguments)(prediction, target))
    assert result["miou"].float() == pytest.approx(float(MulticlassJaccardIndex(**arguments)(prediction, target)))
    accuracy = MulticlassAccuracy(average="micro", **arguments)(prediction, target)
    assert result["pixel_accuracy"].float() == pytest.approx(float(accuracy))


@pytest.mark.parametrize("classes", [2, 4])
def test_agrees_with_scikit_learn(classes: int) -> None:
    """Also where a class is never predicted, and another is predicted only."""
    prediction, target = random_labels(3, classes=classes)
    if classes == 4:
        prediction[prediction == 2], target[target == 3] = 0, 0
    flat = target.flatten(), prediction.flatten()
    result = scores(prediction, target, classes=classes)
    names = {"mprecision": precision_score, "mean_accuracy": recall_score, "mdice": f1_score}
    for name, score in names.items():
        assert result[name] == pytest.approx(score(*flat, average="macro", zero_division=0)), name
    assert result["fwiou"] == pytest.approx(jaccard_score(*flat, average="weighted"))
    assert result["mcc"] == pytest.approx(matthews_corrcoef(*flat))
    assert result["precision"].tolist() == pytest.approx(precision_score(*flat, average=None, zero_division=0))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), batch=st.integers(1, 6), shift=st.integers(0, 5))
def test_batch_size_and_order_change_nothing(seed: int, batch: int, shift: int) -> None:
    prediction, target = random_labels(seed)
    one = scores(prediction, target, batch=6)
    other = scores(prediction.roll(shift, 0), target.roll(shift, 0), batch=batch)
    for name in one:
        assert is_identical(one[name], other[name]), name


def test_absent_class_is_nan_and_out_of_the_mean_but_a_false_positive_scores_zero() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    prediction = torch.tensor([[[0, 0], [0, 1]]])
    result = scores(prediction, target, classes=3)
    assert result["iou"][1] == 0
    assert result["iou"][2].isnan() and result["dice"][2].isnan()
    assert result["miou"] == pytest.approx((3 / 4 + 0) / 2)
    assert result["classes_scored"] == 2 and result["images"].tolist() == [1, 0, 0]
    assert result["recall"][1] == 0 and result["recall"][2].isnan()


def test_correlation_with_but_one_class_is_undefined() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    assert scores(torch.tensor([[[0, 0], [0, 1]]]), target, classes=2)["mcc"].isnan()


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        ([1] * 20, [1] * 11 + [0] * 9, 0.1),  # an IoU of exactly 0.55, which floats round up to 0.2
        ([1] * 20, [1] * 12 + [0] * 8, 0.2),
        ([1] * 20, [1] * 19 + [0], 0.9),
        ([1] * 20, [1] * 10 + [0] * 10, 0.0),
        ([1] * 20, [1] * 20, 1.0),
        ([0] * 20, [0] * 20, 1.0),  # no foreground, and none found
        ([0] * 20, [0] * 19 + [1], 0.0),
        ([1] * 20, [0] * 20, 0.0),
    ],
)
def test_seed_score(truth: list[int], prediction: list[int], expected: float) -> None:
    pair = torch.tensor([[prediction]]), torch.tensor([[truth]])
    assert scores(*pair, classes=1)["seed_score"] == pytest.approx(expected)


def test_seed_score_is_that_of_the_seed() -> None:
    """Its own lines, in float32: equal but where 20·IoU is a whole number, which it may round up."""
    prediction, target = random_labels(5, n=40, classes=2)
    prediction = torch.where(
        torch.rand(prediction.shape, generator=torch.Generator().manual_seed(1)) < 0.7, target, prediction
    )
    intersection = (prediction & target).float().sum((1, 2))
    union = (prediction | target).float().sum((1, 2))
    iou = (intersection + 1e-8) / (union + 1e-8)
    theirs = torch.clamp(20 * (iou - 0.5), 0, 10).ceil() / 10
    metric = SegmentationMetrics(1)
    metric.update(prediction, target)
    clear = (20 * intersection) % union != 0
    assert torch.allclose(metric.compute_per_image()["seed_score"][clear].float(), theirs[clear])
    assert clear.sum() > 30 and len(set(theirs[clear].tolist())) > 3


def test_miou_per_image_is_the_mean_over_images() -> None:
    target = torch.tensor([[[0, 0]], [[0, 1]]])
    prediction = torch.tensor([[[0, 0]], [[1, 0]]])
    assert scores(prediction, target, classes=2)["miou_per_image"] == pytest.approx(0.5)


def test_void_pixels_count_nowhere() -> None:
    prediction, target = random_labels(1)
    void = target.clone()
    void[:, :4] = 255
    expected = scores(prediction[:, 4:], target[:, 4:])
    for name, value in scores(prediction, void, ignore=255).items():
        assert is_identical(value, expected[name])


def test_one_logit_means_two_classes() -> None:
    assert SegmentationMetrics(1).num_labels == 2


def test_without_images_scores_are_nan() -> None:
    assert SegmentationMetrics(3).compute()["miou"].isnan()


@pytest.mark.parametrize(
    ("prediction", "target", "complaint"),
    [
        (
            torch.zeros(2, 3, 3),
            torch.zeros(2, 3, 3, dtype=torch.int64),
            r"prediction must be int64 \[2, 3, 3\], not float32",
        ),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64), r"\[N, H, W\]"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), torch.zeros(2, 3, 3, dtype=torch.int64), "prediction must be"),
        (
            torch.full((2, 3, 3), 4),
            torch.zeros(2, 3, 3, dtype=torch.int64),
            "prediction holds labels 4 to 4; 4 classes",
        ),
        (torch.zeros(2, 3, 3, dtype=torch.int64), torch.full((2, 3, 3), 255), "target holds labels 255"),
    ],
)
def test_ill_labels_are_refused(prediction: Tensor, target: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SegmentationMetrics(4).update(prediction, target)
