from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


def test_scores_by_hand() -> None:
    target = torch.tensor([[[0, 0, 1, 1]]])
    prediction = torch.tensor([[[0, 1, 1, 1]]])
    result = scores(prediction, target, classes=2)
    assert result["confusion"].tolist() == [[1, 1], [0, 2]]
    assert result["iou"].tolist() == pytest.approx([1 / 2, 2 / 3])
    assert result["dice"].tolist() == pytest.approx([2 / 3, 4 / 5])
    assert result["accuracy"].tolist() == [0.5, 1.0]
    assert result["miou"] == pytest.approx(7 / 12)
    assert result["pixel_accuracy"] == 0.75
    assert result["mean_accuracy"] == 0.75
    assert result["support"].tolist() == [2, 2]


def test_agrees_with_torchmetrics() -> None:
    prediction, target = random_labels(0)
    target[0, :3] = 255
    result = scores(prediction, target, ignore=255)
    arguments: dict[str, Any] = {"num_classes": 4, "ignore_index": 255}
    assert torch.equal(result["confusion"], MulticlassConfusionMatrix(**arguments)(prediction, target))
    assert result["miou"].float() == pytest.approx(float(MulticlassJaccardIndex(**arguments)(prediction, target)))
    accuracy = MulticlassAccuracy(average="micro", **arguments)(prediction, target)
    assert result["pixel_accuracy"].float() == pytest.approx(float(accuracy))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), batch=st.integers(1, 6), shift=st.integers(0, 5))
def test_batch_size_and_order_change_nothing(seed: int, batch: int, shift: int) -> None:
    prediction, target = random_labels(seed)
    one = scores(prediction, target, batch=6)
    other = scores(prediction.roll(shift, 0), target.roll(shift, 0), batch=batch)
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=1e-12, equal_nan=True)
    for name in ("miou", "mdice", "pixel_accuracy", "confusion"):
        assert torch.equal(one[name], other[name])


def test_absent_class_is_nan_and_out_of_the_mean_but_a_false_positive_scores_zero() -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    prediction = torch.tensor([[[0, 0], [0, 1]]])
    result = scores(prediction, target, classes=3)
    assert result["iou"][1] == 0
    assert result["iou"][2].isnan() and result["dice"][2].isnan()
    assert result["miou"] == pytest.approx((3 / 4 + 0) / 2)


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
        assert torch.equal(value, expected[name])


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
