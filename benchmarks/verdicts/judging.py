"""Many simulated studies judged at once, by the formulas of `losslab.comparison`; a test holds both against each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import special

from losslab.comparison.looks import HOPELESS, LookPlan, predict_decision
from losslab.comparison.statistics import ALPHA, MEDIAN_SHARE, Scores, combine_variances

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int_]


@dataclass(frozen=True)
class Question:
    """What is compared: the cells, or the labels of an axis, each the mean of some cells."""

    labels: tuple[tuple[int, ...], ...]
    """Cells that each label averages."""

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(len(self.labels)), 2))

    def build_weights(self, cells: int) -> Scores:
        """Build the weight of each cell in the difference of each pair, `[pairs, cells]`."""
        weights = np.zeros((len(self.pairs), cells))
        for row, pair in zip(weights, self.pairs, strict=True):
            for sign, label in zip((1, -1), pair, strict=True):
                row[list(self.labels[label])] = sign / len(self.labels[label])
        return weights


def list_questions(cells: int, losses: int = 3) -> list[Question]:
    """List what losslab asks: about cells and, where they are losses on several nets, about losses and about nets."""
    nets = [tuple(range(first, first + losses)) for first in range(0, cells, losses)]
    questions = [Question(tuple((cell,) for cell in range(cells)))]
    if cells > losses:
        questions += [Question(tuple(zip(*nets, strict=True))), Question(tuple(nets))]
    return questions


@dataclass(frozen=True)
class SimulatedScores:
    """Scores of studies `[studies, cells, seeds, units]`, and what is known of them after any number of seeds."""

    scores: Scores
    effective: float | None = None

    @cached_property
    def _sums(self) -> tuple[Scores, Scores, Scores, Scores]:
        """Sums over the first seeds: of scores by unit, of means by run, of their squares, and of all squares."""
        runs = self.scores.mean(axis=3)
        squares = (self.scores**2).sum(axis=3)
        return self.scores.cumsum(axis=2), runs.cumsum(axis=2), (runs**2).cumsum(axis=2), squares.cumsum(axis=2)

    def summarize(self, seeds: Counts) -> tuple[Scores, Scores, Scores]:
        """Return means `[studies, cells, units]`, run variances and residual variances, after `seeds` `[studies, cells]`."""
        by_unit, runs, run_squares, squares = self._sums
        last, units = (seeds - 1)[..., None], self.scores.shape[3]
        means = np.take_along_axis(by_unit, last[..., None], 2)[:, :, 0] / seeds[..., None]
        total, run_square, square = (np.take_along_axis(part, last, 2)[..., 0] for part in (runs, run_squares, squares))
        of_runs = np.maximum(run_square - total**2 / seeds, 0)
        of_units = (means**2).sum(axis=2) * seeds - units * total**2 / seeds
        left = np.maximum(square - units * run_square - of_units, 0)
        return means, of_runs / (seeds - 1), left / (seeds - 1) / (units - 1)


@dataclass(frozen=True)
class JudgedPairs:
    """All pairs of one question, of all studies: arrays `[studies, pairs]`."""

    mean: Scores
    error: Scores
    degrees: Scores
    run_variance: Scores
    """Part of the variance of the mean that is of runs."""
    later: Scores
    """What that part will be at the last look."""
    seeds: Scores
    """Seeds of the cell that has the fewest."""
    share: float
    """Share of the level of each pair, before looks and few seeds lower it."""
    cells: int

    @property
    def p(self) -> Scores:
        """p-values, before any adjustment."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(2 * special.stdtr(self.degrees, -np.abs(self.mean) / self.error))

    def compute_level(self, plan: LookPlan) -> Scores:
        """Compute the level at which each pair is judged."""
        factors = np.array([plan.compute_factor(self.cells, seeds) for seeds in range(int(self.seeds.max()) + 1)])
        return np.asarray(ALPHA * self.share * factors[self.seeds.astype(int)])

    def find_real(self, plan: LookPlan) -> Mask:
        return np.asarray(self.p < self.compute_level(plan))

    def find_equivalent(self, plan: LookPlan, margin: float) -> Mask:
        reach = special.stdtrit(self.degrees, 1 - self.compute_level(plan)) * self.error
        return np.asarray(np.abs(self.mean) + reach < margin)

    def find_covered(self, plan: LookPlan, truth: Scores) -> Mask:
        """Find the intervals that hold the true differences `[pairs]` or `[studies, pairs]`."""
        reach = special.stdtrit(self.degrees, 1 - self.compute_level(plan) / 2) * self.error
        return np.asarray(np.abs(self.mean - truth) <= reach)

    def find_hopeless(self, plan: LookPlan, margin: float) -> Mask:
        degrees = self.degrees * np.maximum((plan.last - 1) / (self.seeds - 1), 1)
        of_images = np.maximum(self.error**2 - self.run_variance, 0)
        level = ALPHA * self.share * plan.compute_factor(self.cells, plan.last)
        chance = predict_decision(self.mean, (of_images, self.run_variance, self.later), degrees, level, margin)
        return np.asarray(chance < HOPELESS)


def judge_pairs(
    known: SimulatedScores, seeds: Counts, questions: Sequence[Question], last: int = 0
) -> list[JudgedPairs]:
    """Judge all pairs of all questions after `seeds` `[studies, cells]`, the last look being at `last`."""
    by_unit, of_runs, residual = known.summarize(seeds)
    units, cells = by_unit.shape[2], by_unit.shape[1]
    freedom = max((units if known.effective is None else known.effective) - 1, 1)
    floor = MEDIAN_SHARE * np.median(of_runs, axis=1)
    careful = np.sort(of_runs, axis=1)[:, :-1].mean(axis=1)
    judged = []
    for question in questions:
        columns: list[list[Scores]] = []
        for row in question.build_weights(cells):
            used = np.flatnonzero(row)
            squared, count = row[used, None] ** 2, seeds[:, used].T.astype(np.float64)
            difference = np.einsum("scu,c->su", by_unit[:, used], row[used])
            found, least = squared * of_runs[:, used].T, squared * floor
            counted = squared * np.maximum(careful, residual[:, used].T / units)
            left = (squared * residual[:, used].T / count).sum(axis=0)
            images = [difference.var(axis=1, ddof=1), left, np.full(len(left), units), np.full(len(left), freedom)]
            variance, freed = combine_variances([found, least, counted, count], [part[None] for part in images])
            taken = np.maximum(found, least)
            columns.append(
                [
                    difference.mean(axis=1),
                    np.sqrt(variance),
                    freed if known.effective is None else np.minimum(freed, freedom),
                    (taken / count).sum(axis=0),
                    (taken / np.maximum(count, last)).sum(axis=0),
                    count.min(axis=0),
                ]
            )
        mean, error, degrees, now, later, fewest = (np.array(part).T for part in zip(*columns, strict=True))
        share = 1 / len(columns) / len(questions)
        judged.append(JudgedPairs(mean, error, degrees, now, later, fewest, share, cells))
    return judged


def add_seeds(known: SimulatedScores, questions: Sequence[Question], plan: LookPlan, margin: float) -> Counts:
    """Add seeds as `losslab study run --until-decided` does; return the numbers `[studies, cells]` there are in the end.

    At each look all cells of pairs that are open, and not hopeless, get one more seed.
    """
    seeds = np.full(known.scores.shape[:2], plan.first)
    for look in range(plan.first, plan.last):
        wanted = np.zeros(seeds.shape, dtype=bool)
        for question, judged in zip(questions, judge_pairs(known, seeds, questions, plan.last), strict=True):
            done = judged.find_real(plan) | judged.find_equivalent(plan, margin) | judged.find_hopeless(plan, margin)
            uses = question.build_weights(known.scores.shape[1]) != 0
            wanted |= (~done).astype(int) @ uses.astype(int) > 0
        seeds = np.where(wanted & (seeds <= look), seeds + 1, seeds)
    return seeds
