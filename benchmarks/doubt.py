"""How far scores spread, and how often `losslab doubt` is right, on runs whose scores per image are known.

`python -m benchmarks.doubt FOLDER` reads FOLDER/<dataset>/<net>-<loss>-s<seed>/per_image.csv, as `benchmarks.doubt_runs`
writes them; any runs on the same test images will do. It prints the spreads for losslab.comparison.doubt, and a reliability table:
"papers" of n images of one random half of the test images and one seed of each cell state a probability that the order of each
two cells would be another; whether it is another is then looked up on n images of the other half, with another seed.
What losslab assumes where a paper states no spread is measured on the other datasets alone.
"""

import itertools
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from losslab.comparison.doubt import MEASURED, Method, Metric, Spread, average_spreads, doubt_pair
from losslab.io.files import read_csv
from losslab.reporting.comparison.markdown import build_table

SIZES, DRAWS, SEED = (10, 25, 50, 100), 2000, 0
EDGES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
CLASSES = {"synthetic_lesions": ["lesion"], "oxford_pet_binary": ["pet"]}
"""Classes that papers on such data score; of others all are averaged that an image has."""
LIKE = {"synthetic_lesions": "lesions", "oxford_pet_binary": "pets", "camvid6": "streets"}
Numbers = npt.NDArray[np.float64]
Cells = dict[str, list[Numbers]]
"""Net and loss → for each seed the scores `[images]`."""


def score_images(rows: list[dict[str, str]], classes: list[str], metric: Metric) -> Numbers:
    """Compute the score of each image, a mean over the classes that are in its truth or prediction."""
    counts = {
        kind: np.array([[float(row[f"{kind}_{name}"] or 0) for name in classes] for row in rows])
        for kind in ("hit", "truth", "predicted")
    }
    both = counts["truth"] + counts["predicted"]
    with np.errstate(invalid="ignore"):
        scores = np.nanmean(
            2 * counts["hit"] / both if metric == "dice" else counts["hit"] / (both - counts["hit"]), axis=1
        )
    return np.asarray(np.ceil(np.clip(20 * (scores - 0.5), 0, 10)) / 10 if metric == "seed_score" else scores)


def read_cells(folder: Path, metric: Metric) -> Cells:
    """Read the runs of a dataset."""
    cells: Cells = defaultdict(list)
    for path in sorted(folder.glob("*-s*/per_image.csv")):
        rows = sorted((row for row in read_csv(path) if row["split"] == "test"), key=lambda row: row["image"])
        classes = CLASSES.get(folder.name) or [name.removeprefix("hit_") for name in rows[0] if name.startswith("hit_")]
        cells[path.parent.name.rpartition("-s")[0]].append(score_images(rows, classes, metric))
    return cells


def measure_spread(cells: Cells) -> Spread:
    """Measure how far scores spread over images and seeds, and how far two cells agree on the same images."""
    runs = [run for group in cells.values() for run in group]
    seeds = float(np.mean([np.var([run.mean() for run in group], ddof=1) for group in cells.values()]))
    pairs = [
        np.cov(one, other)
        for first, second in itertools.combinations(cells.values(), 2)
        for one, other in itertools.product(first, second)
    ]
    together = float(np.mean([pair[0, 1] for pair in pairs]))
    alone = float(np.mean([np.sqrt(pair[0, 0] * pair[1, 1]) for pair in pairs]))
    return Spread(float(np.sqrt(np.mean([run.var(ddof=1) for run in runs]))), together / alone, float(np.sqrt(seeds)))


def measure_true_sd(datasets: Iterable[Cells]) -> float:
    """Measure how far the true means of two cells differ, over all datasets: what is left without images and seeds."""
    variances = []
    for cells in datasets:
        spread, images = measure_spread(cells), len(next(iter(cells.values()))[0])
        means = [np.mean([run.mean() for run in group]) for group in cells.values()]
        of_seeds = np.mean([spread.seed_sd**2 / len(group) for group in cells.values()])
        variances.append(2 * (np.var(means, ddof=1) - of_seeds) - spread.difference_sd**2 / images)
    return float(np.sqrt(max(np.mean(variances), 0.0)))


def draw_papers(cells: Cells, images: int, assumed: Spread, states: bool, draws: int) -> Iterator[tuple[float, bool]]:
    """Draw papers of so many images and one seed: yield for each two cells what is stated, and whether the order is another."""
    rng = np.random.default_rng(SEED)
    total = len(next(iter(cells.values()))[0])
    for _ in range(draws):
        order = rng.permutation(total)
        here, there = order[:images], order[total - images :]
        seeds = {name: rng.permutation(len(runs))[:2] for name, runs in cells.items()}
        seen = {name: cells[name][first][here] for name, (first, _) in seeds.items()}
        again = {name: cells[name][second][there].mean() for name, (_, second) in seeds.items()}
        methods = {
            name: Method(name=name, mean=float(scores.mean()), sd=float(scores.std(ddof=1)) if states else None)
            for name, scores in seen.items()
        }
        for one, other in itertools.combinations(cells, 2):
            pair = doubt_pair(methods[one], methods[other], images, assumed)
            yield pair.reversal, bool(again[pair.better] < again[pair.worse])


def build_reliability(found: list[tuple[float, bool]]) -> list[list[str]]:
    """Count for each range of stated probabilities how often the order was another."""
    stated, others = np.array([one for one, _ in found]), np.array([other for _, other in found])
    rows = []
    for low, high in itertools.pairwise(EDGES):
        inside = (stated >= low) & ((stated < high) | (high == EDGES[-1]))
        if inside.any():
            figures = (f"{100 * stated[inside].mean():.1f} %", f"{100 * others[inside].mean():.1f} %")
            rows.append([f"{100 * low:.0f} to {100 * high:.0f} %", str(inside.sum()), *figures])
    return [*rows, ["all", str(len(found)), f"{100 * stated.mean():.1f} %", f"{100 * others.mean():.1f} %"]]


def report(folder: Path, draws: int = DRAWS) -> str:
    """Write the spreads of all datasets in a folder, and the reliability tables, as Markdown."""
    names = [path.name for path in sorted(folder.iterdir()) if any(path.glob("*-s*/per_image.csv"))]
    blocks, measured = [], {metric: {name: read_cells(folder / name, metric) for name in names} for metric in MEASURED}
    rows = []
    for metric, datasets in measured.items():
        for name, cells in datasets.items():
            spread, runs = measure_spread(cells), [len(group) for group in cells.values()]
            images = len(next(iter(cells.values()))[0])
            mean = np.mean([run.mean() for group in cells.values() for run in group])
            figures = [f"{100 * value:.1f}" for value in (mean, spread.image_sd, spread.difference_sd, spread.seed_sd)]
            rows.append([metric, name, str(sum(runs)), str(images), *figures, f"{spread.correlation:.2f}"])
    sds = [f"{metric} {100 * measure_true_sd(datasets.values()):.1f}" for metric, datasets in measured.items()]
    headings = ["metric", "data", "runs", "images", "mean", "SD of images", "SD of differences", "SD of seeds", "r"]
    blocks += [build_table(headings, rows, 2), f"SD of true differences: {', '.join(sds)}."]
    for states in (True, False):
        found = [each for name in names for each in _try_papers(measured["dice"], name, states, draws)]
        title = "SDs over images stated" if states else "nothing stated"
        blocks += [
            f"Dice, {title}:",
            build_table(["stated", "pairs", "mean stated", "another order"], build_reliability(found), 1),
        ]
    return "\n\n".join(blocks) + "\n"


def _try_papers(datasets: Mapping[str, Cells], name: str, states: bool, draws: int) -> Iterator[tuple[float, bool]]:
    others = [cells for other, cells in datasets.items() if other != name] or [datasets[name]]
    assumed = replace(average_spreads([measure_spread(one) for one in others]), true_sd=measure_true_sd(others))
    half = len(next(iter(datasets[name].values()))[0]) // 2
    for images in SIZES:
        if images <= half:
            yield from draw_papers(datasets[name], images, assumed, states, draws)


if __name__ == "__main__":
    print(report(Path(sys.argv[1])))
