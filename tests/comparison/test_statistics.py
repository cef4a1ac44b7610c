import math

import numpy as np
import pytest
from scipy import stats

from losslab.comparison.ranks import rank_cells
from losslab.comparison.statistics import (
    Estimate,
    Scores,
    VarianceFloor,
    compute_variance_floor,
    estimate_difference,
    estimate_images_only,
    estimate_mean,
    estimate_seeds_needed,
)


def draw_cells(seed: int, seeds: int, images: int, seed_sd: float = 0.5, true: float = 0.0) -> tuple[Scores, Scores]:
    """Draw two cells on the same images, in points."""
    rng = np.random.default_rng(seed)
    image = 75 + rng.normal(0, 12, images)
    cells = [
        image + rng.normal(0, 2, images) + rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, 2, (seeds, images))
        for _ in range(2)
    ]
    return cells[0] + true, cells[1]


def subtract(first: Scores, second: Scores) -> Estimate | None:
    """Estimate one cell less another."""
    return estimate_difference([[first]], [[second]])


def test_difference_by_hand() -> None:
    first, second = np.array([[1.0, 2, 3], [3, 4, 5]]), np.array([[1.0, 1, 2], [2, 3, 3]])
    estimate = subtract(first, second)
    assert estimate is not None
    runs = [2.0 / 2, 0.5 * (4 / 3 - 8 / 3) ** 2 / 2]
    images = np.var([2 - 1.5, 3 - 2, 4 - 2.5], ddof=1) / 3
    residual = (
        2 * (1 / 6**2 + 1 / 3**2 + 1 / 6**2) / 1 / 2
    )  # the first has none, the second 1/6, -1/3, 1/6 and their opposites
    variance = sum(runs) + images - residual / 2 / 3
    degrees = variance**2 / (runs[0] ** 2 / 1 + runs[1] ** 2 / 1 + images**2 / 2)
    assert estimate.mean == pytest.approx(3 - 2)
    assert estimate.spread.variance == pytest.approx(variance) and estimate.spread.degrees == pytest.approx(degrees)
    assert estimate.p == pytest.approx(2 * stats.t.sf(estimate.mean / math.sqrt(variance), degrees))
    assert estimate.high - estimate.mean == pytest.approx(stats.t.ppf(0.975, degrees) * math.sqrt(variance))
    assert estimate.low + estimate.high == pytest.approx(2 * estimate.mean)


def test_with_equal_nets_per_seed_it_is_the_paired_test_over_images() -> None:
    first, second = draw_cells(0, 1, 40)
    estimate = subtract(first.repeat(3, axis=0), second.repeat(3, axis=0))
    assert estimate is not None
    assert estimate.p == pytest.approx(stats.ttest_rel(first[0], second[0]).pvalue)
    alone = estimate_images_only([[first]], [[second]])
    assert alone is not None and alone.p == pytest.approx(estimate.p)


def test_with_equal_images_it_is_welchs_test_over_runs() -> None:
    runs = np.random.default_rng(1).normal(size=(2, 4))
    estimate = subtract(runs[0][:, None].repeat(9, axis=1), runs[1][:, None].repeat(9, axis=1))
    assert estimate is not None
    assert estimate.p == pytest.approx(stats.ttest_ind(*runs, equal_var=False).pvalue)


@pytest.mark.parametrize("seed_sd", [0, 0.5, 1.5])
def test_false_claims_stay_at_their_level_and_true_ones_are_made(seed_sd: float) -> None:
    """300 studies each; 7.5 % is what a test at its level of 5 % would pass in 39 of 40 such trials."""
    false = [subtract(*draw_cells(seed, 3, 60, seed_sd)) for seed in range(300)]
    assert np.mean([estimate is not None and estimate.p < 0.05 for estimate in false]) <= 0.075
    true = [subtract(*draw_cells(seed, 3, 60, seed_sd, true=8)) for seed in range(60)]
    assert np.mean([estimate is not None and estimate.p < 0.05 and estimate.mean > 0 for estimate in true]) > 0.9


def test_order_of_cells_turns_the_sign_alone() -> None:
    first, second = draw_cells(2, 3, 20)
    one, other = subtract(first, second), subtract(second, first)
    assert one is not None and other is not None
    assert (one.mean, one.p, one.low) == pytest.approx((-other.mean, other.p, -other.high))


@pytest.mark.parametrize("shape", [(1, 20), (3, 1)])
def test_one_seed_or_one_image_concludes_nothing(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).normal(size=shape)
    assert subtract(scores, scores + 1) is None and estimate_mean([[scores]]) is None


def test_scores_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="19 and 20 images"):
        subtract(np.zeros((2, 20)), np.zeros((2, 19)))


def test_runs_that_never_differ_are_no_difference() -> None:
    estimate = subtract(np.ones((3, 5)), np.ones((3, 5)))
    assert estimate is not None and (estimate.mean, estimate.p) == (0, 1)
    sure = subtract(np.ones((3, 5)), np.zeros((3, 5)))
    assert sure is not None and (sure.low, sure.high, sure.p) == (1, 1, 0)


def compute_residual(scores: Scores) -> float:
    """Compute the mean square of what is left by a two-way analysis of variance without repetition."""
    seeds, images = scores.shape
    total, rows, columns = (
        ((scores - scores.mean()) ** 2).sum(),
        images * ((scores.mean(axis=1) - scores.mean()) ** 2).sum(),
        seeds * ((scores.mean(axis=0) - scores.mean()) ** 2).sum(),
    )
    return float((total - rows - columns) / (seeds - 1) / (images - 1))


def test_estimated_variance_is_the_true_one_where_image_and_run_together_are_all_there_is() -> None:
    """What image and run do together is in the variance of runs and in that of images, and counts once."""
    estimates = [subtract(*draw_noisy_cells(seed, 3)) for seed in range(400)]
    known = [estimate for estimate in estimates if estimate is not None]
    true = np.var([estimate.mean for estimate in known])
    assert np.mean([estimate.spread.variance for estimate in known]) == pytest.approx(true, rel=0.25)


def test_cells_that_are_averaged_share_the_images_and_not_the_seeds() -> None:
    """A loss on two nets: variances of runs come down with the number of nets, that of images is of the nets' mean."""
    nets, others = [draw_cells(seed, 3, 30)[0] for seed in (6, 7)], [draw_cells(seed, 3, 30)[1] for seed in (6, 7)]
    estimate = estimate_difference([nets], [others])
    assert estimate is not None
    runs = [net.mean(axis=1).var(ddof=1) / 3 / 4 for net in (*nets, *others)]
    images = (np.mean(nets, axis=0) - np.mean(others, axis=0)).mean(axis=0)
    residual = sum(compute_residual(cell) / 3 / 4 for cell in (*nets, *others))
    assert estimate.mean == pytest.approx(images.mean())
    assert estimate.spread.variance == pytest.approx(sum(runs) + (images.var(ddof=1) - residual) / 30)
    assert len(estimate.spread.runs) == 4 and estimate.spread.seeds == 3


def test_test_sets_are_averaged_each_with_images_of_its_own() -> None:
    one, other = draw_cells(8, 3, 30), draw_cells(9, 4, 50)
    estimate = estimate_difference([[one[0]], [other[0]]], [[one[1]], [other[1]]])
    alone = [subtract(*one), subtract(*other)]
    assert estimate is not None and alone[0] is not None and alone[1] is not None
    assert estimate.mean == pytest.approx((alone[0].mean + alone[1].mean) / 2)
    assert estimate.spread.variance == pytest.approx((alone[0].spread.variance + alone[1].spread.variance) / 4)


def test_runs_that_happen_to_agree_are_not_taken_for_sure() -> None:
    first, second = draw_cells(10, 3, 30, seed_sd=0.0)
    wild = draw_cells(11, 3, 30, seed_sd=5.0)[0]
    variances = sorted(cell.mean(axis=1).var(ddof=1) for cell in (first, second, wild))
    floor = compute_variance_floor([first, second, wild])
    assert (floor.median, floor.mean) == pytest.approx((variances[1] / 2, np.mean(variances[:2])))
    sure, careful = estimate_difference([[first]], [[second]]), estimate_difference([[first]], [[second]], floor)
    assert sure is not None and careful is not None
    assert [part.least for part in careful.spread.runs] == pytest.approx([variances[1] / 2] * 2)
    assert careful.spread.variance > sure.spread.variance and careful.p > sure.p
    assert careful.spread.degrees < sure.spread.degrees
    assert compute_variance_floor([first[:1]]) == VarianceFloor()


@pytest.mark.parametrize("share", [1.0, 0.5, 1 / 15])
def test_interval_excludes_zero_exactly_where_p_is_below_the_level(share: float) -> None:
    """Over differences so many that some lie on either side, of which the unadjusted interval would hold some apart."""
    estimates = [subtract(*draw_cells(seed, 3, 20, true=3)) for seed in range(60)]
    adjusted = [estimate.adjust(share) for estimate in estimates if estimate is not None]
    decided = [estimate.low > 0 or estimate.high < 0 for estimate in adjusted]
    assert decided == [estimate.p < 0.05 for estimate in adjusted] and 0 < sum(decided) < 60
    raw = estimates[0]
    assert raw is not None and adjusted[0].p == pytest.approx(min(raw.p / share, 1))


def test_one_collapsed_run_takes_no_power_from_other_pairs() -> None:
    """Six cells, of which the last has a run that lost half of its score."""
    cells = [draw_cells(seed, 3, 60, seed_sd=0.5)[0] for seed in range(6)]
    before = compute_variance_floor(cells)
    cells[5][0] /= 2
    after = compute_variance_floor(cells)
    assert after.median < 1.5 * before.median and after.mean < 2 * before.mean


def test_fewer_seeds_show_a_larger_difference() -> None:
    estimate = subtract(*draw_cells(4, 3, 200, seed_sd=1.0))
    assert estimate is not None
    (low, high), (less, _) = (estimate_seeds_needed(estimate, difference) for difference in (1.5, 3.0))
    assert low is not None and less is not None and 2 <= less < low and (high is None or high > low)


def draw_noisy_cells(seed: int, seeds: int, true: float = 0.0) -> tuple[Scores, Scores]:
    """Draw two cells of 60 images that differ by what image and run do together, 6 points, and by nothing else."""
    rng = np.random.default_rng(seed)
    image = 75 + rng.normal(0, 12, 60)
    return image + true + rng.normal(0, 6, (seeds, 60)), image + rng.normal(0, 6, (seeds, 60))


def test_seeds_needed_are_those_that_a_simulation_needs() -> None:
    """Where image and run together are all there is, 10 seeds show 1 point in 8 of 10 studies: ranges of 3 hold that."""
    studies = [subtract(*draw_noisy_cells(seed, 10, true=1)) for seed in range(200)]
    assert np.mean([estimate is not None and estimate.p < 0.05 for estimate in studies]) == pytest.approx(0.8, abs=0.12)
    ranges = [
        estimate_seeds_needed(estimate, 1.0)
        for estimate in (subtract(*draw_noisy_cells(seed, 3)) for seed in range(60))
        if estimate is not None
    ]
    assert all(low is not None for low, _ in ranges)
    assert np.mean([low is not None and low <= 10 and (high is None or high >= 10) for low, high in ranges]) >= 0.8


def test_too_few_images_are_made_up_for_by_no_number_of_seeds() -> None:
    estimate = subtract(*draw_cells(5, 10, 5))
    assert estimate is not None and estimate_seeds_needed(estimate, difference=0.1) == (None, None)


def test_friedman_agrees_with_scipy_and_nemenyi_with_demsars_table() -> None:
    table = np.random.default_rng(0).normal(size=(8, 4)) + np.arange(4)
    test = rank_cells(table)
    assert test.p == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)
    assert test.mean_ranks[3] == min(test.mean_ranks)
    assert test.critical_difference == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 8)), abs=2e-3)  # q of his table 5


def test_ties_everywhere_are_no_difference() -> None:
    assert rank_cells(np.ones((4, 3))).p == 1


def test_two_cells_have_no_ranking() -> None:
    with pytest.raises(ValueError, match="2 cells on 5 blocks"):
        rank_cells(np.zeros((5, 2)))


def test_groups_of_unequal_size_leave_fewer_degrees_of_freedom_than_their_number() -> None:
    """At most their effective number less one, in all: the variance of a few groups may happen to be estimated too small."""
    first, second = draw_cells(12, 3, 12)
    plain = subtract(first, second)
    equal, unequal, lone = (
        estimate_difference([[first]], [[second]], effective=[number]) for number in (12.0, 4.5, 1.2)
    )
    assert plain is not None and equal is not None and unequal is not None and lone is not None
    assert {one.mean for one in (plain, equal, unequal, lone)} == {plain.mean}
    assert equal.spread.degrees == min(plain.spread.degrees, 11) and unequal.spread.degrees <= 3.5
    assert lone.spread.degrees == 1
    assert [one.spread.images[0].degrees for one in (plain, unequal, lone)] == [11, 3.5, 1]
    assert plain.high < unequal.high < lone.high and plain.p < unequal.p < lone.p
    (low, high), (more, most) = (estimate_seeds_needed(one, 2.0) for one in (plain, unequal))
    assert low is not None and (more or 9999) >= low and (most or 9999) >= (high or 9999)
