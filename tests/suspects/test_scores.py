"""Scores and regions of masks against made-up probabilities."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from losslab.suspects.checking import compare_mask
from losslab.suspects.regions import find_regions
from losslab.suspects.scores import CheckedMask, compare_probabilities, compute_softmin, score_mask

Labels = npt.NDArray[np.uint8]
RIGHT = np.zeros((16, 16), np.uint8)
RIGHT[4:10, 4:10] = 1


def predict(labels: Labels, sure: float = 0.95, classes: int = 2) -> npt.NDArray[np.float32]:
    """Build the probabilities of a net that finds these labels, and all others equally unlikely."""
    rest = (1 - sure) / (classes - 1)
    return np.where(np.arange(classes)[:, None, None] == labels, sure, rest).astype(np.float32)


def check(given: Labels, sure: float = 0.95, classes: int = 2) -> CheckedMask:
    return compare_probabilities(given, predict(RIGHT, sure, classes))


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
    checked = compare_probabilities(labels[0].astype(np.uint8), probabilities[0].astype(np.float32))
    assert score_mask(checked, 0).softmin == pytest.approx(cleanlab[0.1][0], rel=1e-4)


@pytest.mark.parametrize("kind", ["shifted", "missing", "swapped", "sloppy"])
def test_wrong_mask_surprises_and_the_right_one_does_not(kind: str) -> None:
    right, wrong = score_mask(check(RIGHT), 0), score_mask(check(spoil(kind)), 0)
    assert right.surprise < 0 < 0.5 < wrong.surprise
    assert (
        wrong.dice < right.dice == 1 and wrong.softmin < right.softmin and wrong.contradicted > right.contradicted == 0
    )


def test_where_the_net_is_unsure_nothing_surprises_it() -> None:
    """Twice the same mask: contradicted by a net that is sure, and by one for which both classes are about as likely."""
    sure, unsure = (score_mask(check(spoil("shifted"), each), 0) for each in (0.95, 0.55))
    assert unsure.surprise < 0.15 < sure.surprise and unsure.contradicted == 0


def test_expected_surprise_of_a_calibrated_net_is_nothing() -> None:
    rng = np.random.default_rng(0)
    foreground = rng.uniform(0.1, 0.9, (400, 400)).astype(np.float32)
    drawn = (rng.uniform(size=foreground.shape) < foreground).astype(np.uint8)
    checked = compare_probabilities(drawn, np.stack([1 - foreground, foreground]))
    assert checked.surprise.mean() == pytest.approx(0, abs=0.01)


def test_small_object_that_is_missing_surprises_as_much_as_a_large_one() -> None:
    surprises = []
    for side in (12, 40):
        found, given = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
        found[:side, :side] = 1
        surprises.append(score_mask(compare_probabilities(given, predict(found, 0.999)), 0).surprise)
    assert surprises[0] == pytest.approx(surprises[1], rel=0.3)


def test_few_wrong_pixels_in_an_empty_image_are_no_object() -> None:
    given = np.zeros((100, 100), np.uint8)
    given[0, 0] = 1
    assert score_mask(compare_probabilities(given, predict(np.zeros_like(given), 0.999)), 0).surprise < 0.1


def test_void_counts_nowhere() -> None:
    """Void over all that is wrong leaves a right mask, and void everywhere leaves nothing to score."""
    given = spoil("missing")
    given[RIGHT == 1] = 255
    checked = check(given)
    assert score_mask(checked, 0).surprise < 0 and score_mask(checked, 0).dice == 1 and find_regions(checked) == []
    nothing = score_mask(check(np.full_like(RIGHT, 255)), 0)
    assert math.isnan(nothing.surprise) and math.isnan(nothing.softmin) and math.isnan(nothing.dice)


def test_one_logit_is_that_of_the_second_class() -> None:
    logit = torch.from_numpy(np.where(RIGHT == 1, 3.0, -3.0).astype(np.float32))[None, None]
    checked = compare_mask(RIGHT, [(0, logit[:, :, :7]), (7, logit[:, :, 7:])])
    np.testing.assert_array_equal(checked.predicted, RIGHT)
    np.testing.assert_allclose(checked.trust, 1 / (1 + math.exp(-3)), rtol=1e-5)


def test_regions_name_both_classes_and_their_box_the_heaviest_first() -> None:
    given = np.full((20, 20), 2, np.uint8)
    found = given.copy()
    found[2:6, 3:9] = 1
    found[10:20, 10:20] = 3
    first, second = find_regions(compare_probabilities(given, predict(found, 0.9, 4)))
    assert (first.given, first.predicted, first.pixels) == (2, 3, 100) and first.weight > second.weight
    assert (second.left, second.top, second.width, second.height) == (3, 2, 6, 4)
    assert second.confidence == pytest.approx(0.9) and second.weight == pytest.approx(24 * (0.9 - 0.1 / 3), rel=1e-4)


def test_two_objects_are_two_regions_and_specks_are_none() -> None:
    found = np.zeros((20, 20), np.uint8)
    found[0:4, 0:4] = found[10:14, 10:14] = found[18, 18] = 1
    assert [region.pixels for region in find_regions(compare_probabilities(np.zeros_like(found), predict(found)))] == [
        16,
        16,
    ]
