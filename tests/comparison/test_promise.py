"""What more seeds promise: pairs that runs limit are decided by them, pairs that test images limit are not."""

import pytest

from losslab.comparison.promise import is_limited_by_images, predict_seeds_to_decide
from losslab.comparison.statistics import Estimate, VariancePart, VarianceParts
from losslab.comparison.verdicts import JudgedPair


def make_pair(gap: float, of_runs: float, of_images: float, residual: float = 0.0) -> JudgedPair:
    """Make a pair of three seeds on 100 images, judged alone, from the variance of one run and of one image."""
    runs = (VariancePart(of_runs, of_runs, 3),) * 2
    images = (VariancePart(of_images, of_images, 100, residual, 3 * residual),)
    estimate = Estimate(gap, gap, gap, 1.0, VarianceParts(runs, images)).adjust(1.0)
    return JudgedPair(better="a", worse="b", gap=gap, estimate=estimate, margin=0.01)


@pytest.mark.parametrize(
    ("pair", "is_limited", "is_predicted"),
    [
        (make_pair(0.02, 1e-4, 1e-4), False, True),  # will be real
        (make_pair(0.0, 1e-4, 1e-4), False, True),  # will be equivalent
        (make_pair(0.009, 1e-6, 1e-2), True, False),  # its images are too few
        (make_pair(0.009, 1e-6, 1e-2, residual=9.9e-3), False, True),  # what image and run do together shrinks
        (make_pair(0.009, 1e-3, 1e-2), False, False),  # images are few, but the mean may still move
    ],
)
def test_seeds_decide_what_images_do_not_limit(pair: JudgedPair, is_limited: bool, is_predicted: bool) -> None:
    assert not pair.is_decided and is_limited_by_images(pair) == is_limited
    assert (predict_seeds_to_decide(pair) is not None) == is_predicted


def test_clearer_pairs_promise_to_be_decided_sooner() -> None:
    needed = [predict_seeds_to_decide(make_pair(gap, 4e-4, 1e-4)) for gap in (0.04, 0.03, 0.02)]
    assert None not in needed and needed == sorted(needed, key=lambda number: number or 0) and len({*needed}) == 3


def test_pair_without_an_estimate_promises_nothing() -> None:
    pair = JudgedPair(better="a", worse="b", gap=0.1, estimate=None)
    assert is_limited_by_images(pair) and predict_seeds_to_decide(pair) is None
