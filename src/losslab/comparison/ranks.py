"""Ranks of cells over several test sets, and the test that they are all the same."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from losslab.comparison.statistics import ALPHA, Scores


@dataclass(frozen=True)
class FriedmanTest:
    """Friedman's test over blocks, and the distance of mean ranks from which Nemenyi's test tells cells apart."""

    mean_ranks: list[float]
    """Mean rank of each cell; 1 is best."""
    p: float
    critical_difference: float
    blocks: int


def rank_cells(table: Scores, alpha: float = ALPHA) -> FriedmanTest:
    """Compute Friedman's test and Nemenyi's critical difference (Demšar, JMLR 7, 2006).

    The table is of scores `[blocks, cells]`, the higher the better, blocks being datasets or folds; `alpha` is the level
    of Nemenyi's test, 0 to 1. ValueError: fewer than 3 cells or 2 blocks.

    >>> test = rank_cells(np.array([[0.9, 0.8, 0.7], [0.8, 0.6, 0.7], [0.9, 0.8, 0.5], [0.7, 0.6, 0.5]]))
    >>> test.mean_ranks, round(test.p, 3), round(test.critical_difference, 2)
    ([1.0, 2.25, 2.75], 0.039, 1.66)
    """
    blocks, cells = table.shape
    if cells < 3 or blocks < 2:
        raise ValueError(f"{cells} cells on {blocks} blocks; Friedman's test needs 3 and 2")
    ranks = stats.rankdata(-table, axis=1)
    p = 1.0 if (ranks == ranks[:, :1]).all() else float(stats.friedmanchisquare(*table.T).pvalue)
    distance = stats.studentized_range.ppf(1 - alpha, cells, np.inf) / math.sqrt(2)
    critical = float(distance * math.sqrt(cells * (cells + 1) / (6 * blocks)))
    return FriedmanTest(ranks.mean(axis=0).tolist(), p, critical, blocks)
