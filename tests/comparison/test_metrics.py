import numpy as np
import pytest
import torch

from losslab.comparison.metrics import compute_pooled_score, compute_shares, list_metrics
from losslab.metrics.confusion import SegmentationMetrics

CLASSES = ["sky", "road", "car"]


def rows_of(seed: int, images: int = 30) -> tuple[list[dict[str, str]], dict[str, torch.Tensor]]:
    """Rows of per_image.csv of random label maps, and the scores that evaluate gives them."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (images, 6, 6), generator=generator)
    noise = torch.randint(0, 3, target.shape, generator=generator)
    keep = torch.rand(target.shape, generator=generator) < torch.rand(images, 1, 1, generator=generator)
    prediction = torch.where(keep, target, noise)
    metrics = SegmentationMetrics(3)
    metrics.update(prediction, target)
    found = metrics.compute_per_image()
    rows = []
    for image in range(images):
        row = {"iou": "0.5"}
        for label, name in enumerate(CLASSES):
            row[f"hit_{name}"] = str(int(found["hit"][image, label]))
            row[f"truth_{name}"] = str(int(found["support"][image, label]))
            row[f"predicted_{name}"] = str(int(found["predicted"][image, label]))
        rows.append(row)
    return rows, metrics.compute()


@pytest.mark.parametrize("metric", ["miou", "mdice", "mean_accuracy", "pixel_accuracy", "fwiou", "mcc", "mprecision"])
def test_shares_of_the_images_have_the_score_as_their_mean(metric: str) -> None:
    rows, scores = rows_of(0)
    assert compute_shares(rows, CLASSES, metric).mean() == pytest.approx(float(scores[metric]))


def test_class_scores_are_those_of_all_pixels() -> None:
    rows, scores = rows_of(1)
    assert compute_shares(rows, CLASSES, "iou_road").mean() == pytest.approx(float(scores["iou"][1]))
    assert compute_shares(rows, CLASSES, "dice_car").mean() == pytest.approx(float(scores["dice"][2]))


def test_score_that_is_a_mean_is_taken_as_it_is() -> None:
    rows, _ = rows_of(2)
    assert (compute_shares(rows, CLASSES, "miou_per_image") == 0.5).all()
    with pytest.raises(KeyError, match="beauty"):
        compute_shares(rows, CLASSES, "beauty")


def test_spread_of_the_shares_tells_how_the_score_would_vary_over_test_sets() -> None:
    """Against the score's standard deviation over 150 drawn test sets: the jackknife's error of 30 images is within a fifth."""
    scores, errors = [], []
    for seed in range(150):
        rows, found = rows_of(seed)
        scores.append(float(found["miou"]))
        errors.append(compute_shares(rows, CLASSES, "miou").std(ddof=1) / np.sqrt(len(rows)))
    assert np.mean(errors) == pytest.approx(np.std(scores, ddof=1), rel=0.2)


def test_image_without_a_class_has_no_effect_on_its_score() -> None:
    rows, _ = rows_of(3)
    empty = {**rows[0], "hit_car": "0", "truth_car": "0", "predicted_car": "0"}
    with_empty, without = compute_shares([*rows, empty], CLASSES, "iou_car"), compute_shares(rows, CLASSES, "iou_car")
    assert with_empty.mean() == pytest.approx(without.mean())
    assert with_empty[-1] == pytest.approx(with_empty.mean(), abs=0.01)


def test_every_score_of_evaluate_can_be_compared_by() -> None:
    scores = {"miou": 0.5, "hd95": 3.0, "ece": 0.1, "surface_dice_1": 0.9, "classes_scored": 3, "iou": {"sky": 0.5}}
    found = list_metrics(scores, CLASSES)
    assert {"miou", "hd95", "ece", "surface_dice_1", "iou_sky", "recall_car"} <= found.keys()
    assert not {"classes_scored", "iou"} & found.keys()
    assert [key for key, metric in found.items() if not metric.higher_is_better] == ["hd95", "ece"]
    assert (found["hd95"].unit, found["miou"].unit) == ("pixels", "points")
    assert not found["ece"].has_images and not found["surface_dice_1"].has_images and found["iou_sky"].has_images


def test_metrics_that_single_images_have_can_be_shared_out() -> None:
    rows, _ = rows_of(4)
    rows = [row | {"hd95": "1.5", "boundary_iou": ""} for row in rows]
    for key, metric in list_metrics({"miou": 0.5, "mcc": 0.5, "hd95": 1.5, "boundary_iou": None}, CLASSES).items():
        if metric.has_images:
            assert compute_shares(rows, CLASSES, key).shape == (30,)
    assert np.isnan(compute_shares(rows, CLASSES, "boundary_iou")).all()


def test_class_of_one_image_alone_has_no_shares() -> None:
    """Without that image there is no score, so nothing is known of how it varies."""
    rows, _ = rows_of(5)
    none = dict.fromkeys(("hit_car", "truth_car", "predicted_car"), "0")
    alone = [rows[0], *(row | none for row in rows[1:])]
    assert np.isnan(compute_shares(alone, CLASSES, "iou_car")).all()
    assert not np.isnan(compute_shares(alone, CLASSES, "miou")).any()
    assert compute_pooled_score(alone, CLASSES, "iou_car") == pytest.approx(
        float(compute_shares(rows[:1] * 2, CLASSES, "iou_car").mean())
    )
