"""Scores and regions of masks against made-up probabilities."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from losslab.suspects.regions import find_regions
from losslab.suspects.scores import (
    CheckedMask,
    compare_probabilities,
    compute_softmin,
    compute_trust,
    measure_thresholds,
    score_mask,
)

Labels = npt.NDArray[np.uint8]
RIGHT = np.zeros((16, 16), np.uint8)
RIGHT[4:10, 4:10] = 1


def predict(labels: Labels, sure: float = 0.95, classes: int = 2) -> npt.NDArray[np.float32]:
    """Build the probabilities of a net that finds these labels, and all others equally unlikely."""
    rest = (1 - sure) / (classes - 1)
    return np.where(np.arange(classes)[:, None, None] == labels, sure, rest).astype(np.float32)


def compare(given: Labels, probabilities: npt.NDArray[np.float32], threshold: float = 0.8) -> CheckedMask:
    return compare_probabilities(given, probabilities, np.full(len(probabilities), threshold, np.float32))


def check(given: Labels, sure: float = 0.95, threshold: float = 0.8) -> CheckedMask:
    return compare(given, predict(RIGHT, sure), threshold)


def spoil(kind: str) -> Labels:
    mask = RIGHT.copy()
    if kind == "shifted":
        return np.roll(mask, 4, axis=1)
    if kind == "missing":
        mask[:] = 0
    if kind == "swapped":
        mask = mask[::-1].T.copy()
    if kind == "sloppy":
        mask[2:12, 2:12] = 1
    return mask


def test_softmin_is_cleanlabs() -> None:
    """The numbers are of cleanlab 2.9.0's get_label_quality_scores on the same arrays."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([0.4, 0.4, 0.4], size=(2, 4, 4)).transpose(0, 3, 1, 2)
    labels = rng.integers(0, 3, (2, 4, 4))
    trust = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    cleanlab = {
        0.1: [0.02509667237491596, 0.031100720641161886],
        0.01: [0.002255225162453059, 0.004288334925115277],
        1.0: [0.2657423327715971, 0.2459726307429086],
    }
    for temperature, scores in cleanlab.items():
        assert [compute_softmin(each.ravel(), temperature) for each in trust] == pytest.approx(scores, rel=1e-12)
    checked = compare(labels[0].astype(np.uint8), probabilities[0].astype(np.float32))
    assert score_mask(checked, 0).softmin == pytest.approx(cleanlab[0.1][0], rel=1e-4)


@pytest.mark.parametrize("kind", ["shifted", "missing", "swapped", "sloppy"])
def test_wrong_mask_is_doubted_and_the_right_one_is_not(kind: str) -> None:
    right, wrong = score_mask(check(RIGHT), 0), score_mask(check(spoil(kind)), 0)
    assert right.doubt == 0 and 0.4 < wrong.doubt <= 1
    assert wrong.dice < right.dice == 1 and wrong.softmin < right.softmin


def test_where_the_net_is_less_sure_than_elsewhere_it_claims_nothing() -> None:
    assert score_mask(check(spoil("shifted"), sure=0.7), 0).doubt == 0
    assert score_mask(check(spoil("shifted"), sure=0.7, threshold=0.65), 0).doubt > 0.4


def test_thresholds_are_how_sure_a_net_is_where_masks_have_a_class() -> None:
    """By hand: pixels of class 0 have 0.9 and 0.5, the one of class 1 has 0.6, void has nothing, and no pixel is of class 2."""
    given = np.array([[0, 0], [1, 255]], np.uint8)
    first = np.array([[0.9, 0.5], [0.3, 0.1]], np.float32)
    second = np.array([[0.1, 0.3], [0.6, 0.1]], np.float32)
    probabilities = np.stack([first, second, 1 - first - second])
    assert measure_thresholds([(given, probabilities)], 3).tolist() == pytest.approx([0.7, 0.6, 0.5])
    rows = [(given[row : row + 1], probabilities[:, row : row + 1]) for row in range(2)]
    assert measure_thresholds(rows, 3).tolist() == pytest.approx([0.7, 0.6, 0.5])


def test_class_of_which_a_net_is_never_sure_can_be_claimed() -> None:
    """Two classes reach their thresholds in the last pixel: the more probable of them is claimed."""
    probabilities = np.array([[[0.5, 0.6, 0.55]], [[0.4, 0.3, 0.45]], [[0.1, 0.1, 0.0]]], np.float32)
    thresholds = np.array([0.54, 0.4, 0.3], np.float32)
    checked = compare_probabilities(np.array([[0, 1, 2]], np.uint8), probabilities, thresholds)
    assert checked.claimed.tolist() == [[1, 0, 0]] and checked.predicted.tolist() == [[0, 0, 0]]
    assert checked.contradicted.all()


def test_small_object_that_is_missing_is_doubted_as_much_as_a_large_one() -> None:
    for side in (12, 40):
        found, given = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
        found[:side, :side] = 1
        assert score_mask(compare(given, predict(found)), 0).doubt == 1


def test_few_wrong_pixels_in_an_empty_image_are_no_object() -> None:
    given = np.zeros((100, 100), np.uint8)
    given[0, 0] = 1
    assert score_mask(compare(given, predict(np.zeros_like(given))), 0).doubt == pytest.approx(0.01)


def test_void_counts_nowhere() -> None:
    """Void over all that is wrong leaves a right mask, and void everywhere leaves nothing to score."""
    given = spoil("missing")
    given[RIGHT == 1] = 255
    checked = check(given)
    assert score_mask(checked, 0).doubt == 0 and score_mask(checked, 0).dice == 1 and find_regions(checked) == []
    nothing = score_mask(check(np.full_like(RIGHT, 255)), 0)
    assert math.isnan(nothing.doubt) and math.isnan(nothing.softmin) and math.isnan(nothing.dice)


def test_trust_is_the_probability_of_the_given_class() -> None:
    probabilities = predict(RIGHT, 0.9, 3)
    trust = compute_trust(RIGHT, probabilities)
    np.testing.assert_allclose(trust, 0.9, rtol=1e-6)
    assert compute_trust(np.full_like(RIGHT, 255), probabilities).min() == 1


def test_regions_name_both_classes_and_their_box_the_largest_first() -> None:
    given = np.full((20, 20), 2, np.uint8)
    found = given.copy()
    found[2:6, 3:9] = 1
    found[10:20, 10:20] = 3
    first, second = find_regions(compare(given, predict(found, 0.9, 4)))
    assert (first.given, first.claimed, first.pixels) == (2, 3, 100)
    assert (second.left, second.top, second.width, second.height) == (3, 2, 6, 4)
    assert (second.given, second.claimed) == (2, 1) and second.confidence == pytest.approx(0.9)


def test_two_objects_are_two_regions_and_specks_are_none() -> None:
    found = np.zeros((20, 20), np.uint8)
    found[0:4, 0:4] = found[10:14, 10:14] = found[18, 18] = 1
    assert [region.pixels for region in find_regions(compare(np.zeros_like(found), predict(found)))] == [16, 16]
