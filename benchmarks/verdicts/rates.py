"""Rates of false claims, power and coverage of simulated studies, with a fixed number of seeds and with one that grows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from benchmarks.verdicts.judging import Counts, Mask, Question, SimulatedScores, add_seeds, judge_pairs, list_questions
from benchmarks.verdicts.processes import Process
from losslab.comparison.looks import ONE_LOOK, LookPlan
from losslab.comparison.statistics import ALPHA, Scores

BATCH = 500
"""Studies that are judged at once."""
DIFFERENCE = 2.0
"""True difference, in points, whose claims are counted as power."""
MARGIN = 1.0
"""Difference, in points, below which two cells are called equivalent."""
POINT = 0.01
GROWING = LookPlan(3, 12)

SPREADS: dict[str, tuple[float, ...]] = {
    "0": (0.0,),
    "0.5": (0.5,),
    "1.5": (1.5,),
    "0.3, one cell 2": (2.0, 0.3, 0.3, 0.3, 0.3, 0.3),
    "half 0.3, half 2": (0.3, 2.0),
    "0.1, one cell 2": (2.0, 0.1, 0.1, 0.1, 0.1, 0.1),
}
"""Name → standard deviation of a run's mean over seeds, in points, of each cell."""
GROUPS = {
    "12 of 5": (5,) * 12,
    "5 of 40": (40,) * 5,
    "12 of 1 to 30": (30, 20, 10, 8, 6, 5, 4, 4, 3, 2, 2, 1),
    "5 of 10 to 100": (100, 50, 25, 15, 10),
    "8 of 5 to 60": (60, 40, 30, 20, 15, 10, 5, 5),
}
"""Name → number of test images of each group."""
PROCESSES: dict[str, Process] = {
    **{f"seed sd {name}": Process(seed_sds=sds) for name, sds in SPREADS.items()},
    "effects add up (gauss), 0.5": Process(is_linear=True),
    "effects add up, 0.3, one cell 2": Process(seed_sds=SPREADS["0.3, one cell 2"], is_linear=True),
    "200 images, 0.5": Process(sizes=(1,) * 200),
    "15 images, 0.5": Process(sizes=(1,) * 15),
    "residual of 5 points, 0": Process(residual=5.0, seed_sds=(0.0,)),
    "heavy tails of seeds (t, 3), 1.5": Process(seed_tails=3, seed_sds=(1.5,)),
    "heavy tails of images (t, 3), 0.5": Process(image_tails=3),
    "1 run in 20 collapses, 0.5": Process(collapses=0.05),
    "1 run in 5 collapses, 0.5": Process(collapses=0.2),
    **{
        f"groups: {name}, correlation {correlation}, 0": Process(sizes=sizes, correlation=correlation, seed_sds=(0.0,))
        for name, sizes in GROUPS.items()
        for correlation in (0.3, 0.8)
    },
    "groups: 12 of 5, correlation 0.3, 0.5": Process(sizes=GROUPS["12 of 5"], correlation=0.3),
}
"""Name → how the scores of its studies come about; the number at the end is the standard deviation over seeds, in points."""


@dataclass(frozen=True)
class FixedRates:
    """Shares of studies, 0 to 1, whose number of seeds is fixed."""

    false: float
    """Of studies of equal cells: those with any claim."""
    covered: float
    """The same: those in which all intervals of differences hold."""
    power: float
    """Of true differences between the first cell and the others: those claimed."""


@dataclass(frozen=True)
class GrowingRates:
    """Shares of studies, 0 to 1, that add seeds until they are decided."""

    false: float
    covered: float
    power: float
    runs: float
    """Mean number of runs per cell where there is the difference."""
    runs_of_equal: float
    """The same where cells are equal."""


def draw_batches(
    process: Process, studies: int, cells: int, seeds: int, number: int, differences: Scores | tuple[float, ...] = ()
) -> Iterator[SimulatedScores]:
    """Draw studies in batches; `number` makes them others than those of another call."""
    for batch in range(-(-studies // BATCH)):
        rng = np.random.default_rng([number, batch])
        scores = process.draw(rng, min(BATCH, studies - batch * BATCH), cells, seeds, differences)
        yield SimulatedScores(process.share_by_group(scores), process.effective)


def measure_fixed(process: Process, studies: int, cells: int, seeds: int) -> FixedRates:
    """Measure studies with so many seeds in each cell; with few effective groups nothing is ever claimed."""
    questions, may_claim = list_questions(cells), process.may_be_claimed

    def judge(known: SimulatedScores) -> tuple[Mask, Mask, Mask]:
        judged = judge_pairs(known, np.full(known.scores.shape[:2], seeds), questions)
        claims = [pairs.find_real(ONE_LOOK) & may_claim for pairs in judged]
        covered = [pairs.find_covered(ONE_LOOK, np.zeros(1)).all(axis=1) for pairs in judged]
        return np.any([each.any(axis=1) for each in claims], axis=0), np.all(covered, axis=0), claims[0]

    equal = [judge(known)[:2] for known in draw_batches(process, studies, cells, seeds, 1)]
    better = [judge(known)[2] for known in draw_batches(process, studies, cells, seeds, 2, (DIFFERENCE,))]
    false, covered = (np.concatenate(part).mean() for part in zip(*equal, strict=True))
    return FixedRates(float(false), float(covered), _average_first(questions[0], np.concatenate(better)))


def measure_growing(process: Process, studies: int, cells: int, plan: LookPlan = GROWING) -> GrowingRates:
    """Measure studies that add seeds until all is decided; a claim of equivalence of cells 2 points apart is false too."""
    questions, may_claim = list_questions(cells), process.may_be_claimed
    false, covered, power, runs, runs_of_equal = [], [], [], [], []
    for known in draw_batches(process, studies, cells, plan.last, 3):
        seeds = _grow(process, known, questions, plan)
        judged = judge_pairs(known, seeds, questions, plan.last)
        false.append(np.any([(pairs.find_real(plan) & may_claim).any(axis=1) for pairs in judged], axis=0))
        covered.append(np.all([pairs.find_covered(plan, np.zeros(1)).all(axis=1) for pairs in judged], axis=0))
        runs_of_equal.append(seeds.mean(axis=1))
    for known in draw_batches(process, studies, cells, plan.last, 4, (DIFFERENCE,)):
        seeds = _grow(process, known, questions, plan)
        power.append(judge_pairs(known, seeds, questions, plan.last)[0].find_real(plan) & may_claim)
        runs.append(seeds.mean(axis=1))
    return GrowingRates(
        float(np.concatenate(false).mean()),
        float(np.concatenate(covered).mean()),
        _average_first(questions[0], np.concatenate(power)),
        float(np.concatenate(runs).mean()),
        float(np.concatenate(runs_of_equal).mean()),
    )


def _grow(process: Process, known: SimulatedScores, questions: list[Question], plan: LookPlan) -> Counts:
    if not process.may_be_claimed:
        return np.full(known.scores.shape[:2], plan.first)
    return add_seeds(known, questions, plan, MARGIN * POINT)


def measure_other_tests(process: Process, studies: int, cells: int, seeds: int) -> dict[str, float]:
    """Measure the share of studies of equal cells in which common tests claim something, by name."""

    def test_images(a: Scores, b: Scores) -> Scores:
        return np.asarray(stats.ttest_rel(a.mean(axis=1), b.mean(axis=1), axis=1).pvalue)

    def test_seeds(a: Scores, b: Scores) -> Scores:
        return np.asarray(stats.ttest_ind(a.mean(axis=2), b.mean(axis=2), axis=1, equal_var=False).pvalue)

    tests: dict[str, Callable[[Scores, Scores], Scores]] = {
        "paired t over images": test_images,
        "Welch t over seeds": test_seeds,
    }
    pairs, claims = list(combinations(range(cells), 2)), dict[str, list[Mask]]()
    for known in draw_batches(process, studies, cells, seeds, 1):
        for name, test in tests.items():
            p = np.array([test(known.scores[:, a], known.scores[:, b]) for a, b in pairs])
            claims.setdefault(name, []).append(p.min(axis=0) < ALPHA / len(pairs))
    return {name: float(np.concatenate(each).mean()) for name, each in claims.items()}


@dataclass(frozen=True)
class EquivalenceRates:
    """Shares of pairs, or studies, 0 to 1, that are called equivalent, with all seeds of a plan, and growing."""

    true_fixed: float
    """Share of the pairs of equal cells, with as many seeds as the last look."""
    true_growing: float
    false_growing: float
    """Share of studies in which some pair whose difference is exactly the margin is called equivalent."""
    runs: float
    """Mean runs per cell of the growing studies of equal cells."""


def measure_equivalence(process: Process, studies: int, cells: int, plan: LookPlan = GROWING) -> EquivalenceRates:
    """Measure claims of equivalence where it is true, and where the first cell is better by exactly the margin."""
    question = list_questions(cells, cells)
    true_fixed, true_growing, false, runs = [], [], [], []
    for known in draw_batches(process, studies, cells, plan.last, 5):
        every = np.full(known.scores.shape[:2], plan.last)
        true_fixed.append(judge_pairs(known, every, question)[0].find_equivalent(ONE_LOOK, MARGIN * POINT))
        seeds = add_seeds(known, question, plan, MARGIN * POINT)
        true_growing.append(judge_pairs(known, seeds, question, plan.last)[0].find_equivalent(plan, MARGIN * POINT))
        runs.append(seeds.mean(axis=1))
    for known in draw_batches(process, studies, cells, plan.last, 6, (MARGIN,)):
        seeds = add_seeds(known, question, plan, MARGIN * POINT)
        claims = judge_pairs(known, seeds, question, plan.last)[0].find_equivalent(plan, MARGIN * POINT)
        false.append(claims[:, : cells - 1].any(axis=1))
    return EquivalenceRates(*(float(np.concatenate(part).mean()) for part in (true_fixed, true_growing, false, runs)))


@dataclass(frozen=True)
class Savings:
    """Runs of studies whose cells differ at random, growing and with fixed numbers of seeds."""

    decided: float
    """Share of pairs, 0 to 1, that the growing study decides."""
    runs: float
    """Mean runs per cell of the growing study."""
    equal_runs: float
    """Seeds per cell with which a fixed study decides as many; that of the last look where none decides as many."""
    most_decided: float
    """Share of pairs that a fixed study with all seeds of the last look decides."""


def measure_savings(process: Process, studies: int, cells: int, sd: float, plan: LookPlan = GROWING) -> Savings:
    """Measure studies whose cells' true means have a standard deviation of `sd` points."""
    questions = list_questions(cells)
    numbers = range(plan.first, plan.last + 1)
    decided, runs, fixed = [], [], {number: list[Mask]() for number in numbers}
    for batch in range(-(-studies // BATCH)):
        rng = np.random.default_rng([7, batch])
        differences = sd * rng.normal(size=(BATCH, cells))
        known = SimulatedScores(process.draw(rng, BATCH, cells, plan.last, differences))
        seeds = add_seeds(known, questions, plan, MARGIN * POINT)

        def find_decided(counts: Counts, looks: LookPlan, known: SimulatedScores = known) -> Mask:
            cell_pairs = judge_pairs(known, counts, questions, looks.last)[0]
            return np.asarray(cell_pairs.find_real(looks) | cell_pairs.find_equivalent(looks, MARGIN * POINT))

        decided.append(find_decided(seeds, plan))
        runs.append(seeds.mean(axis=1))
        for number in numbers:
            fixed[number].append(find_decided(np.full(seeds.shape, number), ONE_LOOK))
    share = float(np.concatenate(decided).mean())
    by_number = np.maximum.accumulate([np.concatenate(fixed[number]).mean() for number in numbers])
    equal = float(np.interp(share, by_number, list(numbers)))
    return Savings(share, float(np.concatenate(runs).mean()), equal, float(by_number[-1]))


def _average_first(question: Question, claims: Mask) -> float:
    """Average the claims `[studies, pairs]` over the pairs of the first label."""
    first = [place for place, pair in enumerate(question.pairs) if pair[0] == 0]
    return float(claims[:, first].mean())
