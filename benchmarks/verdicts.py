"""Rates of wrong verdicts: simulated studies whose truth is known, judged as `losslab compare` judges real ones.

`python -m benchmarks.verdicts [studies]` counts false claims in studies of equal cells (any claim in a study, after
correction), and how often a true difference of 2 points between two cells is claimed, beside what tests over images or seeds
alone do. It writes the table to reports/benchmarks/verdicts.md and its figure to docs/verdicts.svg.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy import stats
from tqdm import tqdm

from losslab.comparison.statistics import ALPHA, Blocks, Scores, compute_variance_floor
from losslab.comparison.verdicts import judge_all
from losslab.io.files import atomic_write, write_text

IMAGES, TRUE_DIFFERENCE = 60, 0.02
SEEDS = {"3": (3,), "5": (5,), "3 and 6": (3, 6)}
"""Name → number of seeds of each cell, repeated where there are more cells."""
LOSSES = 3
CELLS = (3, 6)
"""Numbers of cells: losses on one net, and losses on two nets, whose axes are judged too."""
SEED_SDS = {
    "0": (0.0,),
    "0.5": (0.5,),
    "1.5": (1.5,),
    "0.3, one cell 2": (2.0, 0.3, 0.3, 0.3, 0.3, 0.3),
    "half 0.3, half 2": (0.3, 2.0),
}
"""Name → standard deviation of a run's mean over seeds, in points, of each cell."""
SLOPE = 0.107
"""Slope of the mean score of such images by their logit, which converts points to logits."""
SimulatedStudy = dict[str, Scores]
SignificanceTest = Callable[[SimulatedStudy], bool]


def simulate_study(
    rng: np.random.Generator, cells: int, seeds: tuple[int, ...], seed_sds: tuple[float, ...], difference: float = 0.0
) -> SimulatedStudy:
    """Draw scores of 0 to 1, most of them high and some very low, as IoUs of images are; cells are equal but for the first.

    What image and net, and image and run, do together has a standard deviation of about 2 points.
    """
    image = 1.9 + rng.normal(0, 1, IMAGES)
    scores = {}
    for cell in range(cells):
        runs = seeds[cell % len(seeds)]
        by_cell = rng.normal(0, 0.02 / SLOPE, IMAGES)
        by_seed = rng.normal(0, 1, (runs, 1)) * seed_sds[cell % len(seed_sds)] / 100 / SLOPE
        by_run = by_seed + rng.normal(0, 0.02 / SLOPE, (runs, IMAGES))
        gain = difference / SLOPE if cell == 0 else 0.0
        scores[f"cell {cell}"] = 1 / (1 + np.exp(-(image + by_cell + by_run + gain)))
    return scores


def _claim_as_losslab(cells: SimulatedStudy) -> bool:
    """Find whether losslab claims anything about cells or, where they are losses on two nets, about losses or nets."""
    every = list(cells.values())
    questions: dict[str, dict[str, Blocks]] = {"cells": {name: [[scores]] for name, scores in cells.items()}}
    if len(cells) > LOSSES:
        nets = [every[:LOSSES], every[LOSSES:]]
        questions["loss"] = {str(loss): [[net[loss] for net in nets]] for loss in range(LOSSES)}
        questions["net"] = {str(place): [net] for place, net in enumerate(nets)}
    verdicts = judge_all(questions, floor=compute_variance_floor(every))
    return any(pair.is_real for verdict in verdicts.values() for pair in verdict.pairs)


def _claim_over_images(cells: SimulatedStudy) -> bool:
    return _is_any_significant(cells, lambda a, b: float(stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue))


def _claim_over_seeds(cells: SimulatedStudy) -> bool:
    return _is_any_significant(
        cells, lambda a, b: float(stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False).pvalue)
    )


def _is_any_significant(cells: SimulatedStudy, compute_p: Callable[[Scores, Scores], float]) -> bool:
    pairs = list(itertools.combinations(cells.values(), 2))
    return min(compute_p(first, second) for first, second in pairs) < ALPHA / len(pairs)


TESTS: dict[str, SignificanceTest] = {
    "losslab": _claim_as_losslab,
    "paired t over images": _claim_over_images,
    "Welch t over seeds": _claim_over_seeds,
}


@dataclass(frozen=True)
class ClaimRates:
    """Claims of one test on one kind of study, as shares of the studies."""

    seeds: str
    seed_sd: str
    test: str
    false: tuple[float, ...]
    """False claims, for each number of equal cells in CELLS."""
    power: float
    """Claims of a true difference of two cells."""


def measure_rates(studies: int, seeds: str, seed_sd: str) -> list[ClaimRates]:
    """Measure the rates of all tests on the same simulated studies."""
    rng = np.random.default_rng([list(SEEDS).index(seeds), list(SEED_SDS).index(seed_sd)])
    sds = SEED_SDS[seed_sd]
    equal = [[simulate_study(rng, cells, SEEDS[seeds], sds) for _ in range(studies)] for cells in CELLS]
    better = [simulate_study(rng, 2, SEEDS[seeds], sds, TRUE_DIFFERENCE) for _ in range(studies)]

    def compute_share(test: SignificanceTest, simulated: list[SimulatedStudy]) -> float:
        return float(np.mean([test(cells) for cells in simulated]))

    return [
        ClaimRates(
            seeds, seed_sd, name, tuple(compute_share(test, group) for group in equal), compute_share(test, better)
        )
        for name, test in TESTS.items()
    ]


def write_table(rates: list[ClaimRates], studies: int) -> Iterator[str]:
    """Yield the lines of the table as Markdown."""
    yield f"{studies} studies each, {IMAGES} test images; in % of the studies: a false claim among 3 equal cells / among 6, and"
    yield "their 3 losses and 2 nets / a true difference of 2 points between two cells is claimed."
    yield ""
    yield "| seeds | seed sd, points | " + " | ".join(TESTS) + " |"
    yield "|---|---|" + "---|" * len(TESTS)
    for (seeds, seed_sd), group in itertools.groupby(rates, lambda rate: (rate.seeds, rate.seed_sd)):
        columns = [
            f"{' / '.join(f'{100 * false:.1f}' for false in rate.false)} / {100 * rate.power:.0f}" for rate in group
        ]
        yield f"| {seeds} | {seed_sd} | {' | '.join(columns)} |"


def draw_rates(rates: list[ClaimRates], path: Path) -> None:
    """Draw false claims by number of seeds and their standard deviation, for each test; the same bytes each time."""
    with rc_context({"svg.hashsalt": "losslab", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots(1, len(SEEDS), sharey=True)
        for place, seeds in zip(axes, SEEDS, strict=True):
            for offset, test in enumerate(TESTS):
                rows = [rate for rate in rates if (rate.seeds, rate.test) == (seeds, test)]
                xs = np.arange(len(rows)) + 0.25 * (offset - 1)
                place.bar(xs, [100 * max(rate.false) for rate in rows], 0.23, label=test)
            place.axhline(100 * ALPHA, color="black", linewidth=0.8, linestyle="--")
            place.set(title=f"{seeds} seeds", xlabel="seed sd, points", xticks=range(len(SEED_SDS)), ylim=(0, 100))
            place.set_xticklabels([name.replace(", ", ",\n") for name in SEED_SDS], fontsize=7)
        axes[0].set_ylabel("studies with a false claim, %")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(TESTS), frameon=False)
        with atomic_write(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    kinds = list(itertools.product(SEEDS, SEED_SDS))
    rates = [rate for kind in tqdm(kinds, desc="studies", disable=None) for rate in measure_rates(studies, *kind)]
    lines = list(write_table(rates, studies))
    print("\n".join(lines))
    write_text(Path("reports/benchmarks/verdicts.md"), "\n".join(lines) + "\n")
    draw_rates(rates, Path("docs/verdicts.svg"))


if __name__ == "__main__":
    main()
