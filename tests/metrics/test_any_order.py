"""What all metrics promise: the same bits, however images come, in whatever batches, in as many processes."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric

from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.confusion import SegmentationMetrics
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.strata import StratifiedErrors

METRICS: list[Callable[..., Metric]] = [SegmentationMetrics, ContourMetrics, CalibrationMetrics, StratifiedErrors]
CLASSES, VOID = 3, 255


def images(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, predictions and truths of five images."""
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(5, CLASSES, 8, 10, generator=generator)).softmax(dim=1)
    target = torch.randint(0, CLASSES, (5, 8, 10), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.1] = VOID
    return probabilities, probabilities.argmax(dim=1), target


def build_metric(kind: Callable[..., Metric], seed: int, batches: Sequence[Sequence[int]]) -> Metric:
    metric = kind(CLASSES, VOID)
    probabilities, prediction, target = images(seed)
    scored = probabilities if kind is CalibrationMetrics else prediction
    for batch in batches:
        metric.update(scored[list(batch)], target[list(batch)])
    return metric


def bits(metric: Metric) -> dict[str, Any]:
    return {name: value.nan_to_num(-1).tolist() for name, value in metric.compute().items()}


@pytest.mark.parametrize("kind", METRICS)
@settings(max_examples=10)
@given(order=st.permutations(range(5)), cuts=st.sets(st.integers(1, 4)), seed=st.integers(0, 99))
def test_batches_and_order_change_no_bit(
    kind: Callable[..., Metric], order: list[int], cuts: set[int], seed: int
) -> None:
    ends = [0, *sorted(cuts), 5]
    batches = [order[start:end] for start, end in itertools.pairwise(ends)]
    assert bits(build_metric(kind, seed, batches)) == bits(build_metric(kind, seed, [range(5)]))


@pytest.mark.parametrize("kind", METRICS)
@settings(max_examples=10)
@given(owners=st.lists(st.integers(0, 2), min_size=5, max_size=5), seed=st.integers(0, 99))
def test_processes_change_no_bit(kind: Callable[..., Metric], owners: list[int], seed: int) -> None:
    """The states of three processes, of which some may have seen no image, merged as torchmetrics does."""
    shares = [[index for index in range(5) if owners[index] == rank] for rank in range(3)]
    first, *others = [build_metric(kind, seed, [share] if share else []) for share in shares]
    for other in others:
        first.merge_state(other)
    assert bits(first) == bits(build_metric(kind, seed, [range(5)]))


@pytest.mark.parametrize("kind", METRICS)
def test_images_of_different_sizes_are_counted(kind: Callable[..., Metric]) -> None:
    probabilities, prediction, target = images(0)
    scored = probabilities if kind is CalibrationMetrics else prediction
    together, alone = kind(CLASSES, VOID), kind(CLASSES, VOID)
    parts = [(scored[0, ..., :7], target[0, ..., :7]), (scored[1], target[1])]
    together.update(*map(list, zip(*parts, strict=True)))
    for some, truth in parts:
        alone.update(some[None], truth[None])
    assert bits(together) == bits(alone)


@pytest.mark.parametrize("kind", METRICS)
def test_no_more_than_a_few_numbers_are_kept_of_an_image(kind: Callable[..., Metric]) -> None:
    sizes = [
        sum(
            part.numel()
            for state in metric.metric_state.values()
            for part in (state if isinstance(state, list) else [state])
        )
        for metric in (build_metric(kind, 0, [range(5)] * count) for count in (1, 2))
    ]
    assert sizes[1] - sizes[0] <= 5 * (3 * CLASSES + 1)


def test_few_tensors_are_held_however_many_images_come() -> None:
    """Thousands of small ones among the blocks of batches would hold gigabytes of memory."""
    target = torch.arange(CLASSES)[:, None, None].expand(CLASSES, 4, 4)
    for metric in (SegmentationMetrics(CLASSES), ContourMetrics(CLASSES)):
        for index in range(300):
            metric.update(target[index % CLASSES, None], target[index % CLASSES, None])
        states = {name: state for name, state in metric.metric_state.items() if isinstance(state, list)}
        assert states and all(len(state) <= 9 and sum(map(len, state)) == 300 for state in states.values())
        per_image = metric.compute_per_image()
        kept = per_image["support"] if "support" in per_image else per_image["band"]
        assert [int(image.argmax()) for image in kept] == [index % CLASSES for index in range(300)]
