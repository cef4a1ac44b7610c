"""What a comparison says, as plain data: `losslab.reporting.comparison` writes it as a page, tables and figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from losslab.comparison.verdicts import Verdict
from losslab.study.spec import PublishedNumbers


@dataclass(frozen=True)
class ComparedMetric:
    """What is compared."""

    key: str
    """As in metrics.json, or `iou_<class>` and so on."""
    title: str
    higher_is_better: bool
    point: float
    """What one point is, 0.01 of a score; 1 where the score is in pixels."""
    unit: str
    """Of differences: points, or pixels."""
    has_images: bool
    """Whether single test images have it, and enough of them; else what another test set would change is unknown, and nothing
    is judged."""
    about: str
    """In a sentence: over what it is a mean."""
    why_not: str = ""
    """Why nothing is judged, where `has_images` is false."""

    @property
    def digits(self) -> int:
        """How many digits to show after the point: three of a score from 0 to 1, two of pixels."""
        return 3 if self.point < 1 else 2


@dataclass(frozen=True)
class ComparedRun:
    name: str
    """Of the DVC experiment, or of the MLflow run."""
    seed: int
    score: float
    """Of the metric, on test."""
    history: Sequence[Mapping[str, str]]
    """Rows of history.csv."""
    like_published: float | None
    """Its score by the metric that is nearest to the published one; None where the study names none."""
    train_seconds: float | None
    """As MLflow has it; None where it does not."""
    mlflow_run: str | None


@dataclass(frozen=True)
class ComparedCell:
    """Runs that differ in their seed alone."""

    name: str
    """Its labels, such as `dice, unet`."""
    labels: Mapping[str, str]
    """Axis → label."""
    runs: Sequence[ComparedRun]
    parameters: int
    gflops: float | None
    """10^9 operations for one image, forward; None where it could not be counted."""
    image_ms: float | None
    """Milliseconds an image, forward, measured here; None where not measured."""

    @property
    def train_seconds(self) -> float | None:
        """Mean of its runs."""
        known = [run.train_seconds for run in self.runs if run.train_seconds is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class FactorResult:
    """The labels of one axis, each averaged over the cells of the other axes that all labels have."""

    axis: str
    over: str
    """What it is averaged over, in words."""
    verdict: Verdict
    """Names are labels."""
    sentences: Sequence[str]


@dataclass(frozen=True)
class BreakdownValue:
    """One number of a breakdown."""

    mean: float
    """NaN where there is none."""
    sd: float | None
    """Over seeds."""
    is_best: bool
    """Distinguishably better than all others of its column, after Holm's correction."""


@dataclass(frozen=True)
class Breakdown:
    """Cells by class, or by stratum."""

    id: str
    title: str
    about: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[BreakdownValue]]]
    """Name of the cell, and a figure for each column."""
    is_judged: bool
    """Whether single images are known, so that `is_best` can be said."""
    higher_is_better: bool
    sentences: Sequence[str]
    """Which loss, or net, helps which class: what is real, in words."""

    @property
    def digits(self) -> int:
        """How many digits to show after the point: three of numbers up to 1, two of larger ones."""
        known = [abs(value.mean) for _, values in self.rows for value in values if not math.isnan(value.mean)]
        return 3 if max(known, default=0.0) <= 1 else 2


@dataclass(frozen=True)
class PredictedImage:
    cell: str
    label_map: Path
    iou: float


@dataclass(frozen=True)
class GalleryImage:
    """One test image, and what the first run of each cell makes of it."""

    name: str
    photo: Path
    truth: Path
    """Palette PNG: label of each pixel, 255 void."""
    predictions: Sequence[PredictedImage]
    """In the order of `cells`."""


@dataclass(frozen=True)
class FriedmanRanks:
    """Friedman's test over test folds or datasets, where there are enough of them."""

    names: Sequence[str]
    mean_ranks: Sequence[float]
    p: float
    critical_difference: float
    blocks: Sequence[str]


@dataclass(frozen=True)
class Comparison:
    name: str
    title: str
    question: str
    metric: ComparedMetric
    dataset: str
    images: int
    """Of the test set."""
    classes: Sequence[str]
    palette: Sequence[tuple[int, int, int]]
    ignore_index: int | None
    axes: Mapping[str, Sequence[str]]
    """Axis → labels that are there, in the card's order."""
    cells: Sequence[ComparedCell]
    """The best first, as in `verdict.standings`."""
    verdict: Verdict | None
    """None where single images do not have the metric, or where there is one cell alone."""
    headline: str
    """What to take home, in one or two sentences."""
    sentences: Sequence[str]
    """One for each pair of cells, those of the best first."""
    factors: Sequence[FactorResult]
    """Empty with one axis: there the cells say it."""
    ranks: FriedmanRanks | None
    breakdowns: Sequence[Breakdown]
    gallery: Sequence[GalleryImage]
    published: PublishedNumbers | None
    published_metric: ComparedMetric | None
    """The one that is nearest to the published one, where the study names it."""
    warnings: Sequence[str]
    """What a reader must know before the numbers: missing runs, one seed, duplicates in the data."""
    facts: Mapping[str, str]
    """How it was made: commands, commits, hardware, settings of the runs that all share."""
