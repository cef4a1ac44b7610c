"""How many test images would show a difference, and what is said where two are equivalent."""

from dataclasses import replace

import numpy as np
import pytest

from losslab.comparison.outlook import estimate_images_needed
from losslab.comparison.sentences import write_sentence
from losslab.comparison.statistics import Estimate, VariancePart, VarianceParts
from losslab.comparison.verdicts import JudgedPair, judge


def make_estimate(run_variance: float, image_variance: float, seeds: int = 5, images: int = 50) -> Estimate:
    runs = (VariancePart(run_variance, seeds),) * 2
    return Estimate(0.0, -0.1, 0.1, 1.0, VarianceParts(runs, (VariancePart(image_variance, images),)))


def test_smaller_differences_take_more_images() -> None:
    estimate = make_estimate(1e-7, 1e-2)
    numbers = [estimate_images_needed(estimate, difference) for difference in (0.04, 0.02, 0.01)]
    assert all(numbers) and numbers == sorted(numbers, key=lambda number: number or 0)
    # (z(0.975) + z(0.8))² · s² / difference², where images alone vary
    assert numbers[2] == pytest.approx(7.85 * 1e-2 / 0.01**2, rel=0.05)


def test_no_number_of_images_makes_up_for_seeds_that_spread() -> None:
    assert estimate_images_needed(make_estimate(1e-3, 1e-2), 0.01) is None


def test_what_image_and_run_do_together_shrinks_with_images() -> None:
    estimate = make_estimate(1e-4, 1e-3)
    (images,) = estimate.spread.images
    together = replace(images, residual=1e-3, residual_of_one=2 * 50 * 1e-4)
    mixed = replace(estimate, spread=replace(estimate.spread, images=(together,)))
    assert estimate_images_needed(estimate, 0.01) is None
    assert 50 < (estimate_images_needed(mixed, 0.01) or 0) < 1000


def test_enough_images_are_no_more_than_there_are() -> None:
    assert estimate_images_needed(make_estimate(1e-7, 1e-6), 0.01) == 50


def test_so_many_images_show_the_difference_in_about_eight_of_ten_studies() -> None:
    rng = np.random.default_rng(0)

    def draw(images: int, gap: float) -> JudgedPair:
        cells = {}
        for name, mean in (("a", 0.8 + gap), ("b", 0.8)):
            own = rng.normal(0, 0.05, images)
            cells[name] = [[mean + own + rng.normal(0, 0.001, (3, 1)) + rng.normal(0, 0.001, (3, images))]]
        (pair,) = judge(cells).pairs
        return pair

    needed = [draw(100, 0.0).units_to_see_a_point for _ in range(15)]
    typical = int(np.median([number for number in needed if number is not None]))
    seen = np.mean([draw(typical, 0.01).is_real for _ in range(150)])
    assert 0.68 < seen < 0.92


def test_equivalent_pair_is_a_verdict_of_its_own() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(0.8, 0.1, 200)
    cells = {
        name: [[image + gain + rng.normal(0, 0.0005, (5, 1)) + rng.normal(0, 0.002, (5, 200))]]
        for name, gain in (("dice", 0.0), ("bce", 0.0), ("focal", -0.005))
    }
    sentences = [write_sentence(pair) for pair in judge(cells, margin=0.01).pairs]
    assert sum(" are equivalent within 1 point: 0." in sentence for sentence in sentences) == 1
    real = [sentence for sentence in sentences if " beats focal by 0." in sentence]
    assert len(real) == 2
    assert all(one.endswith("5 seeds, 200 test images), which is less than 1 point.") for one in real)
    assert not any("equivalent" in write_sentence(pair) for pair in judge(cells).pairs)
