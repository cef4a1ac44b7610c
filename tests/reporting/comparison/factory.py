"""Made-up comparisons, judged by the real statistics: 3 losses x 2 nets x 3 seeds unless a test wants others."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from losslab.comparison.result import (
    Breakdown,
    BreakdownValue,
    ComparedCell,
    ComparedMetric,
    ComparedRun,
    Comparison,
    FactorResult,
    FriedmanRanks,
    GalleryImage,
    PredictedImage,
)
from losslab.comparison.sentences import write_sentence
from losslab.comparison.statistics import Scores
from losslab.comparison.verdicts import Verdict, judge
from losslab.study.spec import PublishedNumbers, PublishedRow

MIOU = ComparedMetric(
    key="miou",
    title="mIoU",
    higher_is_better=True,
    point=0.01,
    unit="points",
    has_images=True,
    about="mean over classes, each over the pixels of all test images",
)
HD95 = ComparedMetric(
    key="hd95",
    title="HD95",
    higher_is_better=False,
    point=1.0,
    unit="pixels",
    has_images=True,
    about="mean over the test images",
)
AXES: Mapping[str, Sequence[str]] = {"loss": ["cross_entropy", "dice", "focal"], "net": ["unet", "simple_segnet"]}
GAINS = {"dice": 0.03, "cross_entropy": 0.0, "focal": 0.002, "unet": 0.05}
"""Gain of each label over a mean of 0.75."""
CLASSES = ["skin", "lesion", "hair"]


@dataclass(frozen=True, kw_only=True)
class MadeUpComparison:
    """What a made-up comparison has."""

    axes: Mapping[str, Sequence[str]] = field(default_factory=lambda: AXES)
    seeds: int = 3
    images: int = 40
    groups: int | None = None
    """Number of groups that the page says there are; None: none."""
    epochs: int = 6
    gains: Mapping[str, float] = field(default_factory=lambda: GAINS)
    seed_sd: float = 0.004
    metric: ComparedMetric = MIOU
    judged: bool = True
    known: bool = True
    """Whether times and GFLOPs are known."""
    side: int = 24
    """Pixels of a picture; 0 for no gallery."""
    ranked: bool = False
    warnings: Sequence[str] = ("focal, simple_segnet has 2 of 3 runs: seed 2 failed",)


def make_comparison(folder: Path, made: MadeUpComparison = MadeUpComparison()) -> Comparison:
    """Make up a comparison.

    Args:
        folder: pictures are written there.
        made: what it has.
    """
    rng = np.random.default_rng(0)
    combinations = [dict(zip(made.axes, labels, strict=True)) for labels in itertools.product(*made.axes.values())]
    labels = {", ".join(combination.values()): combination for combination in combinations}
    scores = _draw_scores(made, labels, rng)
    sign = 1 if made.metric.higher_is_better else -1
    means = {name: float(table.mean()) for name, table in scores.items()}
    verdict = (
        judge(
            {name: [[table]] for name, table in scores.items()},
            made.metric.higher_is_better,
            point=made.metric.point,
            margin=made.metric.point,
        )
        if made.judged
        else None
    )
    order = [one.name for one in verdict.standings] if verdict else sorted(means, key=lambda name: -sign * means[name])
    cells = [_make_cell(made, name, labels[name], scores[name], number) for number, name in enumerate(order)]
    factors = [_make_factor(made, axis, labels, scores) for axis in made.axes] if len(made.axes) > 1 and verdict else []
    return Comparison(
        name="demo",
        title="Three losses on two small nets",
        question="Which loss and which net segment drawn lesions best, and is the difference real?",
        metric=made.metric,
        dataset="synthetic_lesions",
        images=made.images,
        units=made.groups or made.images,
        classes=CLASSES,
        picture_labels=list(zip(CLASSES, [(240, 200, 170), (150, 50, 90), (20, 60, 160)], strict=True)),
        ignore_index=255,
        axes=made.axes,
        cells=cells,
        verdict=verdict,
        headline=[f"{order[0]} has the best {made.metric.title}.", "Clearest in hair."],
        changes=["More seeds would decide."],
        sentences=[write_sentence(pair) for pair in verdict.pairs] if verdict else [],
        factors=factors,
        ranks=_make_ranks(order) if made.ranked else None,
        breakdowns=_make_breakdowns(made, order, rng),
        gallery=_make_gallery(folder, order, made.side) if made.side else [],
        published=_make_published(labels),
        published_metric=HD95,
        warnings=list(made.warnings),
        facts={"study": "studies/demo.yaml", "commit": "5cc2311", "epochs": "6", "seeds": "0, 1, 2"},
    )


def _draw_scores(
    made: MadeUpComparison, labels: Mapping[str, Mapping[str, str]], rng: np.random.Generator
) -> dict[str, Scores]:
    image = rng.normal(0, 0.08, made.images)
    scores = {}
    for name, combination in labels.items():
        gain = sum(made.gains.get(label, 0.0) for label in combination.values())
        runs = 0.75 + gain + rng.normal(0, made.seed_sd, (made.seeds, 1))
        table = runs + image + rng.normal(0, 0.015, (made.seeds, made.images))
        scores[name] = table if made.metric.higher_is_better else 20 * (1 - table)
    return scores


def _make_cell(
    made: MadeUpComparison, name: str, labels: Mapping[str, str], scores: Scores, number: int
) -> ComparedCell:
    big = "simple" not in name
    runs = [
        ComparedRun(
            name=f"demo-{number}-s{seed}",
            seed=seed,
            score=float(row.mean()),
            history=_make_history(made, seed, number),
            like_published=0.5 + 0.1 * seed,
            train_seconds=70.0 + 9 * number + seed * 2 if made.known else None,
            mlflow_run=f"{number:02d}{seed:030d}",
        )
        for seed, row in enumerate(scores)
    ]
    parameters, gflops, time = (6_600_000, 1.62, 14.2) if big else (97_000, 0.31, 3.4)
    return ComparedCell(
        name=name,
        labels=labels,
        runs=runs,
        parameters=parameters,
        gflops=gflops if made.known else None,
        image_ms=time + 0.1 * number if made.known else None,
    )


def _make_history(made: MadeUpComparison, seed: int, number: int) -> list[dict[str, str]]:
    rise: Callable[[int], float] = lambda epoch: 1 - np.exp(-0.4 * epoch)  # noqa: E731
    return [
        {
            "epoch": str(epoch),
            "lr": "0.001",
            "train_loss": f"{0.9 - 0.6 * rise(epoch) + 0.02 * seed + 0.01 * number:.4f}",
            "val_loss": f"{1.0 - 0.6 * rise(epoch):.4f}",
            "val_miou": f"{(0.8 - 0.02 * number) * rise(epoch) + 0.01 * seed:.4f}",
        }
        for epoch in range(1, made.epochs + 1)
    ]


def _make_factor(
    made: MadeUpComparison, axis: str, labels: Mapping[str, Mapping[str, str]], scores: Mapping[str, Scores]
) -> FactorResult:
    cells = {
        label: [[scores[name] for name, combination in labels.items() if combination[axis] == label]]
        for label in made.axes[axis]
    }
    point = made.metric.point
    verdict: Verdict = judge(cells, made.metric.higher_is_better, point=point, margin=point)
    others = " and ".join(other for other in made.axes if other != axis)
    return FactorResult(axis, others, verdict, [write_sentence(pair) for pair in verdict.pairs])


def _make_breakdowns(made: MadeUpComparison, order: Sequence[str], rng: np.random.Generator) -> list[Breakdown]:
    rows = [
        (
            name,
            [
                BreakdownValue(
                    0.9 - 0.12 * column - 0.01 * row + float(rng.normal(0, 0.002)), 0.005, column == 1 and row == 0
                )
                for column in range(3)
            ],
        )
        for row, name in enumerate(order)
    ]
    strata = [(name, [BreakdownValue(0.7, 0.01, True), BreakdownValue(float("nan"), None, False)]) for name in order]
    sentences = [f"{order[0]} helps lesion: 2.0 points over {order[-1]} (p < 0.001)."] if len(order) > 1 else []
    return [
        Breakdown(
            id="class",
            title="IoU of each class",
            about="Pooled over the test images.",
            columns=CLASSES,
            rows=rows,
            is_judged=True,
            higher_is_better=True,
            sentences=sentences,
        ),
        Breakdown(
            id="size",
            title="mIoU by size of the lesion",
            about="Thirds of the images.",
            columns=["small", "large"],
            rows=strata,
            is_judged=False,
            higher_is_better=True,
            sentences=[],
        ),
    ]


def _make_gallery(folder: Path, order: Sequence[str], side: int) -> list[GalleryImage]:
    gallery = []
    for number in range(3):
        y, x = np.mgrid[:side, :side] / side - 0.5
        truth = ((x**2 + y**2) < 0.06 + 0.03 * number).astype(np.uint8)
        truth[: side // 12] = 255
        photo = np.stack([210 - 90 * (truth == 1), 170 - 100 * (truth == 1), 150 + 20 * x], axis=2).astype(np.uint8)
        Image.fromarray(photo).save(folder / f"im{number}.png")
        Image.fromarray(truth).save(folder / f"im{number}.truth.png")
        predictions = []
        for place, name in enumerate(order):
            labels = ((x**2 + y**2) < 0.05 + 0.03 * number - 0.006 * place).astype(np.uint8)
            path = folder / f"im{number}.{place}.png"
            Image.fromarray(labels).save(path)
            predictions.append(PredictedImage(name, path, 0.9 - 0.02 * place))
        gallery.append(
            GalleryImage(f"im{number}", folder / f"im{number}.png", folder / f"im{number}.truth.png", predictions)
        )
    return gallery


def _make_ranks(order: Sequence[str]) -> FriedmanRanks:
    ranks = [1.0 + 0.9 * number for number in range(len(order))]
    return FriedmanRanks(list(order), ranks, 0.012, 2.3, ["fold 1", "fold 2", "fold 3", "fold 4", "fold 5"])


def _make_published(labels: Mapping[str, Mapping[str, str]]) -> PublishedNumbers:
    rows = [
        PublishedRow(cell=dict(combination), values={"iou": 0.71, "dice": 0.82})
        for combination in itertools.islice(labels.values(), 2)
    ]
    return PublishedNumbers(
        source="seed 001, table 2", how="training images, one seed, mean over batches", metric="IoU, Dice", rows=rows
    )
