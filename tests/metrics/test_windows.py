"""Images given by windows have exactly the scores that they have in memory."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losslab.io.windows import ArrayWindows
from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.confusion import SegmentationMetrics
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.images import Labels
from losslab.metrics.strata import StratifiedErrors

METRICS: list[Any] = [SegmentationMetrics, ContourMetrics, StratifiedErrors]
CLASSES, VOID = 3, 255


@contextmanager
def strips_of(rows: int, width: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("losslab.io.windows.STRIP_PIXELS", rows * width)
        yield


def check_windows(prediction: Labels, truth: Labels, rows: int, kinds: Sequence[Any] = METRICS) -> None:
    """Compare the states of each metric, which hold all its counts and distances, bit by bit."""
    for kind in kinds:
        whole, windows = kind(CLASSES, VOID), kind(CLASSES, VOID)
        whole.update(torch.from_numpy(prediction)[None], torch.from_numpy(truth)[None])
        with strips_of(rows, truth.shape[1]):
            windows.update_windows(ArrayWindows(prediction), ArrayWindows(truth))
        for name, expected in whole.metric_state.items():
            states = zip(
                *(s if isinstance(s, list) else [s] for s in (expected, windows.metric_state[name])), strict=True
            )
            assert all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in states), (kind.__name__, name)


def draw_patches(rng: np.random.Generator, height: int, width: int) -> tuple[Labels, Labels]:
    """Patches of random sizes with their void, and a prediction that is shifted and has specks."""
    scale = int(rng.integers(1, 30))
    small = rng.integers(0, CLASSES, (height // scale + 1, width // scale + 1), dtype=np.uint8)
    small[rng.random(small.shape) < rng.choice([0, 0.2, 0.7])] = VOID
    truth = np.kron(small, np.ones((scale, scale), np.uint8))[:height, :width]
    prediction = np.roll(np.where(truth == VOID, 1, truth), rng.integers(-4, 5, 2), (0, 1)).astype(np.uint8)
    specks = rng.random(truth.shape) < 0.01
    prediction[specks] = rng.integers(0, CLASSES, int(specks.sum()))
    return prediction, np.ascontiguousarray(truth)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 150),
    width=st.integers(1, 90),
    rows=st.sampled_from([1, 2, 7, 33, 80]),
)
def test_random_images_have_the_same_scores_by_strips(seed: int, height: int, width: int, rows: int) -> None:
    check_windows(*draw_patches(np.random.default_rng(seed), height, width), rows)


@pytest.mark.parametrize("rows", [1, 3, 16, 59, 60])
def test_noise_has_the_same_scores_by_strips(rng: np.random.Generator, rows: int) -> None:
    prediction = rng.integers(0, CLASSES, (60, 40), dtype=np.uint8)
    truth = rng.choice(np.array([0, 1, 2, VOID], np.uint8), (60, 40))
    check_windows(prediction, truth, rows)


@pytest.mark.parametrize("rows", [1, 2, 5, 11])
def test_parts_that_join_after_many_seams_are_one_object(rows: int) -> None:
    """A spiral, a comb and a zigzag over corners."""
    truth = np.zeros((64, 160), np.uint8)
    left, top, right, bottom = 2, 2, 58, 62
    while right - left > 4 and bottom - top > 4:
        truth[top, left : right + 1] = truth[top : bottom + 1, right] = 1
        truth[bottom, left : right + 1] = truth[top + 4 : bottom + 1, left] = 1
        truth[top + 4, left : left + 5] = 1
        left, top, right, bottom = left + 4, top + 4, right - 4, bottom - 4
    truth[2:60, 70:100:3], truth[60, 70:98] = 2, 2
    for row in range(2, 62):
        truth[row, 120 + abs(row % 20 - 10)] = 1
    assert cv2.connectedComponents(np.asarray(truth == 1, np.uint8), connectivity=8)[0] == 3
    prediction = truth.copy()
    prediction[20:40] = 0
    check_windows(prediction, truth, rows)


@pytest.mark.parametrize("rows", [1, 20, 50])
def test_borders_in_void_wider_than_the_margin_are_the_same_by_strips(rng: np.random.Generator, rows: int) -> None:
    truth = np.full((260, 120), VOID, np.uint8)
    for _ in range(25):
        row, column = rng.integers(0, 255), rng.integers(0, 115)
        truth[row : row + 4, column : column + 3] = rng.integers(0, CLASSES)
    check_windows(np.zeros_like(truth), truth, rows, [StratifiedErrors])


def test_wide_bands_go_over_many_strips() -> None:
    """The band is 9 pixels wide."""
    truth = np.zeros((300, 330), np.uint8)
    truth[20:90, 30:200], truth[100:300, 100:330] = 1, 2
    prediction = np.roll(truth, (3, -5), (0, 1))
    for rows in (1, 4, 25, 299):
        check_windows(prediction, truth, rows, [ContourMetrics])


@pytest.mark.parametrize("kind", METRICS)
def test_images_in_memory_and_by_windows_are_counted_together(kind: Any, rng: np.random.Generator) -> None:
    images = [draw_patches(rng, 40, 30) for _ in range(3)]
    whole, mixed = kind(CLASSES, VOID), kind(CLASSES, VOID)
    for number, pair in enumerate(images):
        for metric in (whole, mixed):
            if metric is mixed and number == 1:
                metric.update_windows(*map(ArrayWindows, pair))
            else:
                metric.update(*(torch.from_numpy(labels)[None] for labels in pair))
    for name, value in whole.compute().items():
        assert torch.equal(value.nan_to_num(-1), mixed.compute()[name].nan_to_num(-1))


def end_with(label: int) -> Labels:
    labels = np.zeros((5, 4), np.uint8)
    labels[4, 1:] = label
    return labels


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (end_with(0)[:4], end_with(0), r"prediction must be \[5, 4\], as target, not \[4, 4\]"),
        (end_with(0), end_with(7), "target holds labels 0 to 7; 3 classes allow 0 to 2"),
        (end_with(3), end_with(0), "prediction holds labels 0 to 3; 3 classes allow 0 to 2"),
        (end_with(0).astype(np.float32), end_with(0), "prediction must be int64"),
    ],
)
def test_other_windows_are_refused_and_count_nothing(
    kind: Any, prediction: Labels, truth: Labels, message: str
) -> None:
    metric = kind(CLASSES, VOID)
    with strips_of(4, 4), pytest.raises(ValueError, match=message):
        metric.update_windows(ArrayWindows(prediction), ArrayWindows(truth))
    assert all(not len(state) if isinstance(state, list) else not state.any() for state in metric.metric_state.values())


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_calibration_counts_an_image_in_parts(rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = (3 * torch.randn(CLASSES, 9, 10, generator=generator)).softmax(dim=0)
    target = torch.randint(0, CLASSES, (9, 10), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.1] = VOID
    whole, parts = CalibrationMetrics(CLASSES, VOID), CalibrationMetrics(CLASSES, VOID)
    whole.update(probabilities[None], target[None])
    for start in range(0, 9, rows):
        parts.update(probabilities[None, :, start : start + rows], target[None, start : start + rows])
    assert torch.equal(whole.bins, parts.bins) and torch.equal(whole.levels, parts.levels)


@pytest.mark.parametrize("kind", METRICS)
def test_scores_follow_each_image_that_was_counted(kind: Any, rng: np.random.Generator) -> None:
    metric, labels = kind(CLASSES, VOID), [rng.integers(0, CLASSES, (9, 7), dtype=np.uint8) for _ in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.update_windows(ArrayWindows(labels[0]), ArrayWindows(labels[0]))
        first = metric.compute()
        metric.update_windows(ArrayWindows(labels[1]), ArrayWindows(labels[2]))
    name = next(iter(first))
    assert not torch.equal(first[name].nan_to_num(), metric.compute()[name].nan_to_num())
