"""`python -m benchmarks.verdicts [studies]` measures how often verdicts are wrong, and writes tables and a figure.

The tables go to docs/explanation/verdict-rates.md, the figure to docs/pictures/verdicts.svg; both are the same each time, as
every table has seeds of its own.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.verdicts.processes import Process
from benchmarks.verdicts.rates import (
    DIFFERENCE,
    GROWING,
    MARGIN,
    PROCESSES,
    SPREADS,
    measure_equivalence,
    measure_fixed,
    measure_growing,
    measure_other_tests,
    measure_savings,
)
from losslab.comparison.statistics import ALPHA
from losslab.io.files import atomic_write, write_text

STUDIES = 2000
CELLS = (3, 6)
"""Numbers of cells: losses on one net, and losses on two nets, whose axes are judged too."""
SEEDS = (3, 5, 10)
EQUIVALENT = {
    f"{images} images, seed sd {sd}": Process(sizes=(1,) * images, seed_sds=(sd,), is_linear=True)
    for images, sd in product((60, 200, 600), (0.3, 1.0))
}
DIFFERING = {
    f"{cells} cells, {images} images, true sd {sd:g}, seed sd {seed_sd}": (
        Process(sizes=(1,) * images, seed_sds=(seed_sd,)),
        cells,
        sd,
    )
    for cells, images, sd, seed_sd in (
        (2, 60, 4.0, 0.5),
        (3, 60, 2.0, 0.5),
        (3, 60, 4.0, 0.5),
        (3, 200, 4.0, 0.3),
        (3, 200, 4.0, 1.0),
        (6, 200, 4.0, 0.5),
        (6, 200, 8.0, 0.5),
    )
}
HEAD = """# How often verdicts are wrong: the tables

Written by `python -m benchmarks.verdicts` from {studies} simulated studies for each number, with fixed random seeds; another run
gives the same. [When a difference is real](verdicts.md) explains what is simulated, and what follows.
"""


def write_fixed(studies: int) -> Iterator[str]:
    """Yield a table of studies whose number of seeds is fixed."""
    yield "## Seeds fixed before"
    yield ""
    yield "In % of the studies: a false claim among equal cells / all intervals of differences hold / a true difference of"
    yield f"{DIFFERENCE:g} points between the first cell and another is claimed. 6 cells are 3 losses on 2 nets, judged as cells,"
    yield "losses and nets. 60 test images, unless said otherwise; what image and net, and image and run, do together has a"
    yield "standard deviation of 2 points each."
    yield ""
    columns = list(product(CELLS, SEEDS))
    yield (
        "| process, seed sd in points | "
        + " | ".join(f"{cells} cells, {seeds} seeds" for cells, seeds in columns)
        + " |"
    )
    yield "|---|" + "---|" * len(columns)
    for name, process in tqdm(PROCESSES.items(), desc="fixed", disable=None):
        rates = [measure_fixed(process, studies, *column) for column in columns]
        yield _write_row(
            name, (f"{100 * each.false:.1f} / {100 * each.covered:.0f} / {100 * each.power:.0f}" for each in rates)
        )


def write_growing(studies: int) -> Iterator[str]:
    """Yield a table of studies that add seeds."""
    yield "## Seeds added until decided"
    yield ""
    yield f"`--until-decided`, {GROWING.first} to {GROWING.last} seeds, equivalence within {MARGIN:g} point. In % of the studies: a"
    yield "false claim among equal cells / all intervals hold / the same difference is claimed; then mean runs per cell of equal"
    yield "cells, and where the first cell differs."
    yield ""
    yield "| process, seed sd in points | 3 cells | runs | 6 cells | runs |"
    yield "|---|---|---|---|---|"
    for name, process in tqdm(PROCESSES.items(), desc="growing", disable=None):
        entries: list[str] = []
        for cells in CELLS:
            rate = measure_growing(process, studies, cells)
            entries.append(f"{100 * rate.false:.1f} / {100 * rate.covered:.0f} / {100 * rate.power:.0f}")
            entries.append(f"{rate.runs_of_equal:.1f}, {rate.runs:.1f}")
        yield _write_row(name, entries)


def write_equivalence(studies: int) -> Iterator[str]:
    """Yield a table of claims that cells are equivalent."""
    yield "## Equivalence"
    yield ""
    yield f"In %: pairs of equal cells that are called equivalent within {MARGIN:g} point with {GROWING.last} seeds fixed / with"
    yield f"seeds added; then studies in which a pair that differs by exactly {MARGIN:g} point is called so; and mean runs per cell"
    yield "with seeds added. Effects add up."
    yield ""
    yield "| process | 2 cells | false | runs | 3 cells | false | runs |"
    yield "|---|---|---|---|---|---|---|"
    for name, process in tqdm(EQUIVALENT.items(), desc="equivalence", disable=None):
        entries: list[str] = []
        for cells in (2, 3):
            rate = measure_equivalence(process, studies, cells)
            entries.append(f"{100 * rate.true_fixed:.0f} / {100 * rate.true_growing:.0f}")
            entries += [f"{100 * rate.false_growing:.1f}", f"{rate.runs:.1f}"]
        yield _write_row(name, entries)


def write_savings(studies: int) -> Iterator[str]:
    """Yield a table of the runs that adding seeds saves."""
    yield "## Runs saved"
    yield ""
    yield "Studies whose cells' true means are drawn from a normal distribution: pairs decided, in %, with seeds added / with"
    yield f"{GROWING.last} seeds fixed; mean runs per cell with seeds added; seeds per cell with which a fixed design decides as"
    yield f"many pairs as adding seeds; and runs saved against that design / against {GROWING.last} seeds, in %."
    yield ""
    yield "| studies | decided | runs | fixed | saved |"
    yield "|---|---|---|---|---|"
    for name, (process, cells, sd) in tqdm(DIFFERING.items(), desc="savings", disable=None):
        rate = measure_savings(process, studies, cells, sd)
        saved = [100 * (1 - rate.runs / number) for number in (rate.equal_runs, GROWING.last)]
        yield _write_row(
            name,
            (
                f"{100 * rate.decided:.0f} / {100 * rate.most_decided:.0f}",
                f"{rate.runs:.1f}",
                f"{rate.equal_runs:.1f}",
                f"{saved[0]:.0f} / {saved[1]:.0f}",
            ),
        )


def draw_tests(studies: int, path: Path) -> None:
    """Draw false claims of losslab and of common tests, by number of seeds and their spread; the same bytes each time."""
    with rc_context({"svg.hashsalt": "losslab", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots(1, len(SEEDS), sharey=True)
        for place, seeds in zip(axes, SEEDS, strict=True):
            heights: dict[str, list[float]] = {}
            for sds in SPREADS.values():
                process = Process(seed_sds=sds)
                rates = {"losslab": measure_fixed(process, studies, 6, seeds).false}
                for name, rate in (rates | measure_other_tests(process, studies, 6, seeds)).items():
                    heights.setdefault(name, []).append(100 * rate)
            for offset, (name, rates_of_test) in enumerate(heights.items()):
                place.bar(np.arange(len(SPREADS)) + 0.25 * (offset - 1), rates_of_test, 0.23, label=name)
            place.axhline(100 * ALPHA, color="black", linewidth=0.8, linestyle="--")
            place.set(title=f"{seeds} seeds", xlabel="seed sd, points", xticks=range(len(SPREADS)), ylim=(0, 100))
            place.set_xticklabels([name.replace(", ", ",\n") for name in SPREADS], fontsize=6)
        axes[0].set_ylabel("studies with a false claim, %")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        with atomic_write(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None})


def _write_row(name: str, entries: Iterable[str]) -> str:
    return f"| {name} | {' | '.join(entries)} |"


def main() -> None:
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else STUDIES
    lines = [*HEAD.format(studies=studies).splitlines(), ""]
    for write in (write_fixed, write_growing, write_equivalence, write_savings):
        lines += [*write(studies), ""]
    write_text(Path("docs/explanation/verdict-rates.md"), "\n".join(lines[:-1]) + "\n")
    draw_tests(studies // 2, Path("docs/pictures/verdicts.svg"))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
