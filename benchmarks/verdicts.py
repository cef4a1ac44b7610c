"""Rates of wrong verdicts: simulated studies whose truth is known, judged as `losslab compare` judges real ones.

`python -m benchmarks.verdicts [studies]` counts false claims in studies of equal cells (any claim in a study, after
correction), and how often a true difference of 2 points between two cells is claimed, beside what tests over images or seeds
alone do; then the same where test images are of groups, such as patients or videos. It writes the tables to
reports/benchmarks/verdicts.md and the figure of the first to docs/pictures/verdicts.svg.
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

from losslab.comparison.metrics import compute_effective_number, share_mean
from losslab.comparison.statistics import ALPHA, Blocks, Scores, compute_variance_floor
from losslab.comparison.verdicts import SINGLE_IMAGES, IndependentUnits, judge_all
from losslab.io.files import atomic_write, write_text

TRUE_DIFFERENCE = 0.02
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


@dataclass(frozen=True)
class SimulatedTestSet:
    """Test images, of which those of one group are alike."""

    sizes: tuple[int, ...]
    """Number of images of each group."""
    correlation: float = 0.0
    """Correlation of two images of a group, 0 to 1, in all that an image adds to a score."""

    @property
    def groups(self) -> list[str]:
        """Group of each image."""
        return [f"{number:03}" for number, size in enumerate(self.sizes) for _ in range(size)]

    def draw(self, rng: np.random.Generator, *shape: int) -> Scores:
        """Draw standard normal numbers `[*shape, images]`, correlated within groups."""
        single = rng.normal(0, 1, (*shape, sum(self.sizes)))
        if not self.correlation:
            return single
        shared = np.repeat(rng.normal(0, 1, (*shape, len(self.sizes))), self.sizes, axis=-1)
        return np.asarray(np.sqrt(self.correlation) * shared + np.sqrt(1 - self.correlation) * single)


INDEPENDENT = SimulatedTestSet((1,) * 60)
GROUPED = {
    f"{name}, {correlation}": SimulatedTestSet(sizes, correlation)
    for name, sizes in {
        "12 of 5": (5,) * 12,
        "5 of 40": (40,) * 5,
        "12 of 1 to 30": (30, 20, 10, 8, 6, 5, 4, 4, 3, 2, 2, 1),
        "5 of 10 to 100": (100, 50, 25, 15, 10),
        "8 of 5 to 60": (60, 40, 30, 20, 15, 10, 5, 5),
    }.items()
    for correlation in (0.3, 0.8)
}
"""Name → test images in groups: their number, their sizes, and the correlation of two images of a group."""
GROUPED_SEEDS = (3, 10)


def simulate_study(
    rng: np.random.Generator,
    cells: int,
    seeds: tuple[int, ...],
    seed_sds: tuple[float, ...],
    difference: float = 0.0,
    test_set: SimulatedTestSet = INDEPENDENT,
) -> SimulatedStudy:
    """Draw scores of 0 to 1, most of them high and some very low, as IoUs of images are; cells are equal but for the first.

    What image and net, and image and run, do together has a standard deviation of about 2 points.
    """
    image = 1.9 + test_set.draw(rng)
    scores = {}
    for cell in range(cells):
        runs = seeds[cell % len(seeds)]
        by_cell = 0.02 / SLOPE * test_set.draw(rng)
        by_seed = rng.normal(0, 1, (runs, 1)) * seed_sds[cell % len(seed_sds)] / 100 / SLOPE
        by_run = by_seed + 0.02 / SLOPE * test_set.draw(rng, runs)
        gain = difference / SLOPE if cell == 0 else 0.0
        scores[f"cell {cell}"] = 1 / (1 + np.exp(-(image + by_cell + by_run + gain)))
    return scores


def _claim_as_losslab(cells: SimulatedStudy, units: IndependentUnits = SINGLE_IMAGES) -> bool:
    """Find whether losslab claims anything about cells or, where they are losses on two nets, about losses or nets."""
    every = list(cells.values())
    questions: dict[str, dict[str, Blocks]] = {"cells": {name: [[scores]] for name, scores in cells.items()}}
    if len(cells) > LOSSES:
        nets = [every[:LOSSES], every[LOSSES:]]
        questions["loss"] = {str(loss): [[net[loss] for net in nets]] for loss in range(LOSSES)}
        questions["net"] = {str(place): [net] for place, net in enumerate(nets)}
    verdicts = judge_all(questions, floor=compute_variance_floor(every), units=units)
    return any(pair.is_real for verdict in verdicts.values() for pair in verdict.pairs)


def _claim_by_groups(cells: SimulatedStudy, test_set: SimulatedTestSet) -> bool:
    """Find whether losslab claims anything where it knows the groups."""
    shares = {name: share_mean(scores.T, test_set.groups).T for name, scores in cells.items()}
    return _claim_as_losslab(shares, IndependentUnits("test group", [compute_effective_number(test_set.groups)]))


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
    """Name of the standard deviation of runs, or of the groups of test images."""
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


def measure_grouped_rates(studies: int, name: str, seeds: int) -> list[ClaimRates]:
    """Measure the rates of losslab's test where test images are of groups: as it knows them, and as if it did not."""
    rng, test_set = np.random.default_rng([list(GROUPED).index(name), seeds]), GROUPED[name]
    equal = [[simulate_study(rng, cells, (seeds,), (0.0,), 0.0, test_set) for _ in range(studies)] for cells in CELLS]
    better = [simulate_study(rng, 2, (seeds,), (0.0,), TRUE_DIFFERENCE, test_set) for _ in range(studies)]
    tests: dict[str, SignificanceTest] = {
        "groups": lambda cells: _claim_by_groups(cells, test_set),
        "images": _claim_as_losslab,
    }
    return [
        ClaimRates(
            str(seeds),
            name,
            kind,
            tuple(float(np.mean([test(cells) for cells in group])) for group in equal),
            float(np.mean([test(cells) for cells in better])),
        )
        for kind, test in tests.items()
    ]


def write_grouped_table(rates: list[ClaimRates], studies: int) -> Iterator[str]:
    """Yield the lines of the table of grouped test images as Markdown."""
    yield f"{studies} studies each, whose seeds do not vary; numbers as above."
    yield ""
    yield "| groups of images, correlation | seeds | by groups | by images |"
    yield "|---|---|---|---|"
    for (name, seeds), group in itertools.groupby(rates, lambda rate: (rate.seed_sd, rate.seeds)):
        yield f"| {name} | {seeds} | {' | '.join(map(_format_rates, group))} |"


def _format_rates(rate: ClaimRates) -> str:
    return f"{' / '.join(f'{100 * false:.1f}' for false in rate.false)} / {100 * rate.power:.0f}"


def write_table(rates: list[ClaimRates], studies: int) -> Iterator[str]:
    """Yield the lines of the table as Markdown."""
    images = len(INDEPENDENT.sizes)
    yield f"{studies} studies each, {images} test images; in % of the studies: a false claim among 3 equal cells / among 6, and"
    yield "their 3 losses and 2 nets / a true difference of 2 points between two cells is claimed."
    yield ""
    yield "| seeds | seed sd, points | " + " | ".join(TESTS) + " |"
    yield "|---|---|" + "---|" * len(TESTS)
    for (seeds, seed_sd), group in itertools.groupby(rates, lambda rate: (rate.seeds, rate.seed_sd)):
        yield f"| {seeds} | {seed_sd} | {' | '.join(map(_format_rates, group))} |"


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
    in_groups = list(itertools.product(GROUPED, GROUPED_SEEDS))
    grouped = [
        rate for kind in tqdm(in_groups, desc="groups", disable=None) for rate in measure_grouped_rates(studies, *kind)
    ]
    lines = [*write_table(rates, studies), "", *write_grouped_table(grouped, studies)]
    print("\n".join(lines))
    write_text(Path("reports/benchmarks/verdicts.md"), "\n".join(lines) + "\n")
    draw_rates(rates, Path("docs/pictures/verdicts.svg"))


if __name__ == "__main__":
    main()
