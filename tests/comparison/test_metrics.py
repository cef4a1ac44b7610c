import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from losslab.comparison.metrics import PER_IMAGE_COLUMNS, compute_pooled_score, compute_shares, list_metrics
from losslab.evaluation.label_store import LabelMapStore
from losslab.evaluation.scoring import SplitDetails, SplitResult
from losslab.evaluation.tables import write_tables
from losslab.evaluation.targets import Targets
from losslab.io.files import read_csv
from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.confusion import SegmentationMetrics
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.strata import StratifiedErrors

CLASSES = ["sky", "road", "car"]


def draw_rows(seed: int, images: int = 30) -> tuple[list[dict[str, str]], dict[str, torch.Tensor]]:
    """Draw rows of per_image.csv of random label maps, with the scores that evaluate gives them."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 3, (images, 6, 6), generator=generator)
    noise = torch.randint(0, 3, target.shape, generator=generator)
    keep = torch.rand(target.shape, generator=generator) < torch.rand(images, 1, 1, generator=generator)
    prediction = torch.where(keep, target, noise)
    metrics = SegmentationMetrics(3)
    metrics.update(prediction, target)
    per_image = metrics.compute_per_image()
    rows = []
    for image in range(images):
        row = {"iou": "0.5"}
        for label, name in enumerate(CLASSES):
            row |= {f"overlap_{name}": "", f"band_{name}": "", f"hd95_{name}": ""}
            row[f"hit_{name}"] = str(int(per_image["hit"][image, label]))
            row[f"truth_{name}"] = str(int(per_image["support"][image, label]))
            row[f"predicted_{name}"] = str(int(per_image["predicted"][image, label]))
        rows.append(row)
    return rows, metrics.compute()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    true=st.sets(st.integers(0, 3), min_size=1),
    predicted=st.sets(st.integers(0, 3), min_size=1),
    images=st.integers(2, 5),
)
def test_every_metric_is_that_of_scores_json(
    tmp_path: Path, seed: int, true: set[int], predicted: set[int], images: int
) -> None:
    """Of random label maps with classes that are never true, and classes that are never predicted."""
    rng = np.random.default_rng(seed)
    target = np.kron(rng.choice(sorted(true), (images, 3, 3)), np.ones((4, 4), int))
    guess = np.where(rng.random(target.shape) < 0.7, target, -1)
    guess = np.where(np.isin(guess, sorted(predicted)), guess, rng.choice(sorted(predicted), target.shape))
    classes = ["sky", "road", "car", "pole"]
    write_random_tables(tmp_path, classes, torch.from_numpy(guess), torch.from_numpy(target))
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["val"]
    by_class = {row["class"]: row for row in read_csv(tmp_path / "per_class.csv")}
    rows = read_csv(tmp_path / "per_image.csv")
    checked = 0
    for key, metric in list_metrics(scores, classes).items():
        kind, _, name = key.partition("_")
        told = by_class[name][kind] if name in classes else scores[key]
        wanted = float("nan" if told in ("", None) else told)
        if not metric.has_images:
            continue
        assert np.isnan(wanted) or metric.limits[0] <= wanted <= metric.limits[1], key
        if key not in PER_IMAGE_COLUMNS:
            assert compute_pooled_score(rows, classes, key) == pytest.approx(wanted, abs=2e-6, nan_ok=True), key
        shares = compute_shares(rows, classes, key)
        if not np.isnan(shares).any():
            assert shares.mean() == pytest.approx(wanted, abs=2e-6), key
            checked += 1
    assert checked >= 3


def write_random_tables(folder: Path, classes: list[str], guess: torch.Tensor, target: torch.Tensor) -> None:
    """Write the tables of evaluate for label maps `[N, H, W]`, as if they were predicted on val."""
    number = len(classes)
    details = SplitDetails(
        ContourMetrics(number), CalibrationMetrics(number), StratifiedErrors(number), LabelMapStore(), {}
    )
    pixels, targets = SegmentationMetrics(number), cast(Targets, None)
    result = SplitResult(classes, [f"{image}" for image in range(len(target))], targets, pixels, details)
    for metric in (pixels, details.contours, details.strata):
        metric.update(guess, target)
    details.calibration.update(torch.nn.functional.one_hot(guess, number).permute(0, 3, 1, 2).float(), target)
    write_tables({"val": result}, folder)


@pytest.mark.parametrize(
    ("confusion", "metric", "wanted"),
    [
        ([[50, 5, 0], [3, 40, 0], [6, 4, 0]], "mprecision", 0.554595),
        ([[50, 5, 3], [3, 40, 2], [0, 0, 0]], "mean_accuracy", (50 / 58 + 40 / 45) / 3),
    ],
)
def test_class_on_one_side_alone_scores_zero(confusion: list[list[int]], metric: str, wanted: float) -> None:
    counts = np.array(confusion)
    row = dict.fromkeys((f"{kind}_{name}" for kind in ("overlap", "band", "hd95") for name in CLASSES), "")
    for label, name in enumerate(CLASSES):
        row |= {f"hit_{name}": str(counts[label, label]), f"truth_{name}": str(counts[label].sum())}
        row |= {f"predicted_{name}": str(counts[:, label].sum())}
    assert compute_pooled_score([row], CLASSES, metric) == pytest.approx(wanted, abs=1e-6)


def test_score_that_is_a_mean_is_taken_as_it_is() -> None:
    rows, _ = draw_rows(2)
    assert (compute_shares(rows, CLASSES, "miou_per_image") == 0.5).all()
    with pytest.raises(KeyError, match="beauty"):
        compute_shares(rows, CLASSES, "beauty")


def test_spread_of_the_shares_tells_how_the_score_would_vary_over_test_sets() -> None:
    """Against the score's standard deviation over 150 drawn test sets: the jackknife's error of 30 images is within a fifth."""
    scores, errors = [], []
    for seed in range(150):
        rows, evaluated = draw_rows(seed)
        scores.append(float(evaluated["miou"]))
        errors.append(compute_shares(rows, CLASSES, "miou").std(ddof=1) / np.sqrt(len(rows)))
    assert np.mean(errors) == pytest.approx(np.std(scores, ddof=1), rel=0.2)


def test_image_without_a_class_has_no_effect_on_its_score() -> None:
    rows, _ = draw_rows(3)
    empty = {**rows[0], "hit_car": "0", "truth_car": "0", "predicted_car": "0"}
    with_empty, without = compute_shares([*rows, empty], CLASSES, "iou_car"), compute_shares(rows, CLASSES, "iou_car")
    assert with_empty.mean() == pytest.approx(without.mean())
    assert with_empty[-1] == pytest.approx(with_empty.mean(), abs=0.01)


def test_every_score_of_evaluate_can_be_compared_by() -> None:
    scores = {"miou": 0.5, "hd95": 3.0, "ece": 0.1, "surface_dice_1": 0.9, "classes_scored": 3, "iou": {"sky": 0.5}}
    metrics = list_metrics(scores, CLASSES)
    assert {"miou", "hd95", "ece", "surface_dice_1", "iou_sky", "recall_car"} <= metrics.keys()
    assert not {"classes_scored", "iou"} & metrics.keys()
    assert [key for key, metric in metrics.items() if not metric.higher_is_better] == ["hd95", "ece"]
    assert (metrics["hd95"].unit, metrics["miou"].unit) == ("pixels", "points")
    assert (metrics["hd95"].limits, metrics["miou"].limits) == ((0, np.inf), (0, 1))
    assert not metrics["ece"].has_images and not metrics["surface_dice_1"].has_images and metrics["iou_sky"].has_images


def test_metrics_that_single_images_have_can_be_shared_out() -> None:
    rows, _ = draw_rows(4)
    rows = [row | dict.fromkeys(("hd95_sky", "hd95_road", "hd95_car"), "1.5") for row in rows]
    for key, metric in list_metrics({"miou": 0.5, "mcc": 0.5, "hd95": 1.5, "boundary_iou": None}, CLASSES).items():
        if metric.has_images:
            assert compute_shares(rows, CLASSES, key).shape == (30,)
    assert np.isnan(compute_shares(rows, CLASSES, "boundary_iou")).all()


def test_class_of_one_image_alone_has_no_shares() -> None:
    """Without that image there is no score, so nothing is known of how it varies."""
    rows, _ = draw_rows(5)
    none = dict.fromkeys(("hit_car", "truth_car", "predicted_car"), "0")
    alone = [rows[0], *(row | none for row in rows[1:])]
    assert np.isnan(compute_shares(alone, CLASSES, "iou_car")).all()
    assert not np.isnan(compute_shares(alone, CLASSES, "miou")).any()
    assert compute_pooled_score(alone, CLASSES, "iou_car") == pytest.approx(
        float(compute_shares(rows[:1] * 2, CLASSES, "iou_car").mean())
    )


@pytest.mark.parametrize("metric", ["miou", "mcc", "iou_car", "miou_per_image"])
def test_shares_of_groups_average_to_the_score_and_those_of_single_images_are_the_images_own(metric: str) -> None:
    rows, _ = draw_rows(6)
    rows = [row | {"iou": str(place / 30)} for place, row in enumerate(rows)]
    alone = compute_shares(rows, CLASSES, metric)
    sizes = [12, 8, 5, 3, 2]
    groups = [f"patient {number}" for number, size in enumerate(sizes) for _ in range(size)]
    grouped = compute_shares(rows, CLASSES, metric, groups)
    assert grouped.shape == (5,) and grouped.mean() == pytest.approx(alone.mean())
    singles = compute_shares(rows, CLASSES, metric, [f"{place:02}" for place in range(30)])
    assert singles == pytest.approx(alone)
    order = np.random.default_rng(0).permutation(30)
    shuffled = compute_shares([rows[place] for place in order], CLASSES, metric, [groups[place] for place in order])
    assert shuffled == pytest.approx(grouped)


def test_spread_of_the_groups_shares_tells_how_a_pooled_score_varies_over_test_sets() -> None:
    """Patients of 2 to 4 alike images each: against 150 drawn test sets, by groups within a fifth, by images far too small."""
    scores, by_groups, by_images = [], [], []
    groups = [f"{patient:02}" for patient in range(12) for _ in range(2 + patient % 3)]
    for seed in range(150):
        rows, _ = draw_rows(seed, 12)
        rows = [rows[int(group)] for group in groups]
        scores.append(compute_pooled_score(rows, CLASSES, "miou"))
        shares = compute_shares(rows, CLASSES, "miou", groups)
        by_groups.append(shares.std(ddof=1) / np.sqrt(len(shares)))
        by_images.append(compute_shares(rows, CLASSES, "miou").std(ddof=1) / np.sqrt(len(rows)))
    assert np.mean(by_groups) == pytest.approx(np.std(scores, ddof=1), rel=0.2)
    assert np.mean(by_images) < 0.7 * np.std(scores, ddof=1)


def test_one_group_alone_has_no_shares() -> None:
    rows, _ = draw_rows(7)
    for metric in ("miou", "miou_per_image"):
        assert np.isnan(compute_shares(rows, CLASSES, metric, ["a"] * len(rows))).all()
