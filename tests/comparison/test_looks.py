import numpy as np
import pytest

from benchmarks.verdicts.judging import SimulatedScores, add_seeds, judge_pairs, list_questions
from benchmarks.verdicts.processes import Process
from benchmarks.verdicts.rates import GROWING, measure_equivalence, measure_fixed, measure_growing
from losslab.comparison.looks import ONE_LOOK, LookPlan, predict_decision
from losslab.comparison.statistics import ALPHA, compute_variance_floor
from losslab.comparison.verdicts import SINGLE_IMAGES, IndependentUnits, JudgedPair, judge, judge_all

UNEQUAL = Process(sizes=(30, 20, 10, 8, 6, 5, 4, 4, 3, 2, 2, 1), correlation=0.3)


@pytest.mark.parametrize("process", [Process(), UNEQUAL], ids=["images", "groups"])
@pytest.mark.parametrize("plan", [ONE_LOOK, LookPlan(3, 8)], ids=["once", "growing"])
def test_simulated_studies_are_judged_as_real_ones_are(process: Process, plan: LookPlan) -> None:
    """Six cells with 3 to 6 seeds, as cells, losses and nets: means, errors, levels and predictions of each pair."""
    scores = process.share_by_group(process.draw(np.random.default_rng(0), 2, 6, 6, (3.0, 1.0)))
    seeds = np.array([[3, 3, 5, 4, 3, 5], [6, 6, 6, 6, 6, 6]])
    simulated = judge_pairs(SimulatedScores(scores, process.effective), seeds, list_questions(6), plan.last)
    for study, numbers in enumerate(seeds):
        cells = [scores[study, cell, :number] for cell, number in enumerate(numbers)]
        questions = {
            "cells": {str(place): [[cell]] for place, cell in enumerate(cells)},
            "losses": {str(place): [[cells[place], cells[place + 3]]] for place in range(3)},
            "nets": {"0": [cells[:3]], "1": [cells[3:]]},
        }
        units = SINGLE_IMAGES if process.effective is None else IndependentUnits("test group", [process.effective])
        floor = compute_variance_floor(cells)
        verdicts = judge_all(questions, floor=floor, units=units, looks=plan, margin=0.01)
        for question, judged, verdict in zip(list_questions(6), simulated, verdicts.values(), strict=True):
            levels, hopeless = judged.compute_level(plan), judged.find_hopeless(plan, 0.01)
            decided = judged.find_real(plan) | judged.find_equivalent(plan, 0.01)
            for place, (a, b) in enumerate(question.pairs):
                pair = next(pair for pair in verdict.pairs if {pair.better, pair.worse} == {str(a), str(b)})
                assert pair.estimate is not None
                assert pair.gap == pytest.approx(abs(judged.mean[study, place]))
                assert pair.estimate.spread.variance == pytest.approx(judged.error[study, place] ** 2)
                assert pair.estimate.spread.degrees == pytest.approx(judged.degrees[study, place])
                assert ALPHA * pair.share == pytest.approx(levels[study, place])
                assert pair.is_decided == decided[study, place]
                assert pair.is_hopeless == (hopeless[study, place] and not decided[study, place])


@pytest.mark.parametrize("spread", [(0.5,), (2.0, 0.3, 0.3), (0.3, 2.0)], ids=["alike", "one loud", "some loud"])
def test_false_claims_stay_below_the_level_whether_seeds_are_fixed_or_added(spread: tuple[float, ...]) -> None:
    """500 studies of equal cells: 7.2 % is what 5 % stays under in 98 of 100; who looks ten times at 5 % claims in far more."""
    process = Process(seed_sds=spread, is_linear=True)
    assert measure_fixed(process, 500, 3, 3).false <= 0.072
    growing = measure_growing(process, 500, 3)
    assert growing.false <= 0.072 and 1 - growing.covered <= 0.072
    known = SimulatedScores(process.draw(np.random.default_rng(0), 500, 3, 12))
    looks = [
        judge_pairs(known, np.full((500, 3), seeds), list_questions(3))[0].find_real(ONE_LOOK) for seeds in range(3, 13)
    ]
    assert np.any(looks, axis=(0, 2)).mean() > 0.072


def test_equivalence_is_claimed_where_it_is_true_and_seldom_where_it_is_not() -> None:
    rates = measure_equivalence(Process(sizes=(1,) * 300, seed_sds=(0.3,), is_linear=True), 200, 2)
    assert rates.true_growing > 0.8 and rates.false_growing <= 0.08 and rates.runs < GROWING.last


def test_decided_and_hopeless_pairs_get_no_more_seeds() -> None:
    """Cells 10 points apart are decided at once; equal ones, with 15 images, are hopeless."""
    clear = SimulatedScores(Process(is_linear=True, seed_sds=(0.1,)).draw(np.random.default_rng(0), 50, 2, 12, (10.0,)))
    assert add_seeds(clear, list_questions(2), GROWING, 0.01).mean() < 4.5
    few = SimulatedScores(Process(sizes=(1,) * 15).draw(np.random.default_rng(0), 50, 2, 12))
    assert add_seeds(few, list_questions(2), GROWING, 0.01).mean() < 6


def test_looking_more_often_leaves_less_to_each_look() -> None:
    factors = [LookPlan(3, 12).compute_factor(3, seeds) for seeds in range(3, 13)]
    assert factors == sorted(factors) and factors[-1] < ONE_LOOK.compute_factor(3, 12)
    assert LookPlan(3, 6).compute_factor(3, 4) > LookPlan(3, 12).compute_factor(3, 4)
    assert ONE_LOOK.compute_factor(3, 3) < ONE_LOOK.compute_factor(3, 5)
    assert LookPlan(3, 12).compute_factor(3, 15) == LookPlan(3, 12).compute_factor(3, 12)


def test_predictions_are_what_happens() -> None:
    """Pairs with 4 of 12 seeds, whose chances are between 0.2 and 0.8, are decided in about as many cases."""
    process = Process(seed_sds=(0.8,), is_linear=True)
    rng = np.random.default_rng(0)
    known = SimulatedScores(process.draw(rng, 1500, 2, 12, 2 * rng.normal(size=(1500, 2))))
    early, late = (judge_pairs(known, np.full((1500, 2), seeds), list_questions(2), 12)[0] for seeds in (4, 12))
    degrees = early.degrees * 11 / 3
    of_images = np.maximum(early.error**2 - early.run_variance, 0)
    level = ALPHA * GROWING.compute_factor(2, 12)
    chance = predict_decision(early.mean, (of_images, early.run_variance, early.later), degrees, level, 0.01)[:, 0]
    decided = (late.find_real(GROWING) | late.find_equivalent(GROWING, 0.01))[:, 0]
    middling = (chance > 0.2) & (chance < 0.8)
    assert middling.sum() > 100
    assert decided[middling].mean() == pytest.approx(chance[middling].mean(), abs=0.12)
    assert decided[chance > 0.95].mean() > 0.9 and decided[chance < 0.1].mean() < 0.2


def draw_pair(difference: float, images: int = 400) -> JudgedPair:
    rng = np.random.default_rng(2)
    image = rng.normal(0.7, 0.1, images)
    cells = {
        name: [[mean + image + rng.normal(0, 0.0005, (5, 1)) + rng.normal(0, 0.01, (5, images))]]
        for name, mean in (("a", difference), ("b", 0.0))
    }
    (pair,) = judge(cells, margin=0.01).pairs
    return pair


def test_a_small_difference_may_be_real_and_equivalent() -> None:
    small, large = draw_pair(0.004), draw_pair(0.03)
    assert small.is_real and small.is_equivalent and small.is_decided
    assert large.is_real and not large.is_equivalent and large.chance == 1 and not large.is_hopeless


def test_equivalence_is_not_asked_without_a_margin_nor_claimed_of_few_images() -> None:
    rng = np.random.default_rng(0)
    cells = {name: [[rng.normal(0.7, 1e-5, (3, 4))]] for name in "ab"}
    assert not judge(cells, margin=0.01).pairs[0].is_equivalent
    assert not judge({name: [[rng.normal(0.7, 1e-5, (3, 40))]] for name in "ab"}).pairs[0].is_equivalent
