"""Results of a comparison, as plain data: `losslab.reporting.comparison` writes them as a page, tables and figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from losslab.comparison.tuning import TuningReport
from losslab.comparison.verdicts import Verdict
from losslab.formats import format_plural
from losslab.study.look_record import Look
from losslab.study.spec import PublishedNumbers


@dataclass(frozen=True, kw_only=True)
class ComparedMetric:
    """The metric by which runs are compared."""

    key: str
    """Key in scores.json, or `iou_<class>` and so on."""
    title: str
    higher_is_better: bool
    point: float
    """Size of one point: 0.01 of a score; 1 where the score is in pixels."""
    unit: str
    """Unit of differences: points, or pixels."""
    has_images: bool
    """Whether enough single test images have it; else it is unknown what another test set would change, and nothing is judged."""
    about: str
    """Words that say over what it is a mean."""
    why_not: str = ""
    """Reason why nothing is judged, where `has_images` is false."""
    is_own: bool = False
    """Whether it is a plug-in's."""

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value that is possible; infinite where it is a plug-in's, which does not say."""
        if self.is_own:
            return -math.inf, math.inf
        return -1.0 if self.key == "mcc" else 0.0, 1.0 if self.point < 1 else math.inf

    @property
    def digits(self) -> int:
        """Digits to show after the point: three of a score from 0 to 1, two of pixels."""
        return 3 if self.point < 1 else 2


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run of a cell, and its score."""

    name: str
    """Name of the DVC experiment, or of the MLflow run."""
    seed: int
    score: float
    """Score on test, by the metric that is compared."""
    history: Sequence[Mapping[str, str]]
    """Rows of history.csv."""
    like_published: float | None
    """Score by the metric that is nearest to the published one; None where the study names none."""
    train_seconds: float | None
    """Seconds of training, from MLflow; None where it does not know."""
    mlflow_run: str | None


@dataclass(frozen=True, kw_only=True)
class ComparedCell:
    """Runs that differ only in their seed."""

    name: str
    """Labels of the cell, such as `dice + unet`."""
    labels: Mapping[str, str]
    """Axis → label."""
    runs: Sequence[ComparedRun]
    parameters: int
    gflops: float | None
    """10^9 operations of a forward pass over one image; None where they could not be counted."""
    image_ms: float | None
    """Milliseconds of a forward pass over one image on this machine; None where not measured."""

    @property
    def train_seconds(self) -> float | None:
        """Mean training time of the runs, in seconds; None where no run knows it."""
        known = [run.train_seconds for run in self.runs if run.train_seconds is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class FactorResult:
    """The labels of one axis, each averaged over the cells of the other axes that all labels have."""

    axis: str
    over: str
    """Words that say what it is averaged over."""
    verdict: Verdict
    """Verdict whose names are the labels of the axis."""
    sentences: Sequence[str]


@dataclass(frozen=True)
class BreakdownValue:
    """One number of a breakdown."""

    mean: float
    """Mean over seeds; NaN where there is none."""
    sd: float | None
    """Standard deviation over seeds."""
    is_best: bool
    """Whether it is distinguishably better than all others of its column, adjusted for all pairs of all columns."""


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Scores of cells by class, or by stratum."""

    id: str
    title: str
    about: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[BreakdownValue]]]
    """Name of the cell, and a value for each column."""
    is_judged: bool
    """Whether single images are known, so that `is_best` can be said."""
    higher_is_better: bool
    sentences: Sequence[str]
    """Sentences that say which loss, or net, really helps which class."""
    clearest: str | None = None
    """Sentence on the real difference whose interval lies farthest from zero."""

    @property
    def digits(self) -> int:
        """Digits to show after the point: three of numbers up to 1, two of larger ones."""
        known = [abs(value.mean) for _, values in self.rows for value in values if not math.isnan(value.mean)]
        return 3 if max(known, default=0.0) <= 1 else 2


@dataclass(frozen=True)
class PredictedImage:
    """What the first run of a cell predicts for a test image."""

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
    """Predictions in the order of the cells."""


@dataclass(frozen=True)
class FriedmanRanks:
    """Friedman's test over test folds or datasets, where there are enough of them."""

    names: Sequence[str]
    mean_ranks: Sequence[float]
    p: float
    critical_difference: float
    blocks: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that is known of the cells that are compared."""

    name: str
    title: str
    question: str
    metric: ComparedMetric
    dataset: str
    images: int
    """Number of test images."""
    units: int
    """Number of independent units: groups of test images, such as patients or videos, where the card names them; else images."""
    classes: Sequence[str]
    picture_labels: Sequence[tuple[str, tuple[int, int, int]]]
    """Name and colour of the labels that pictures have: the classes, or sets of overlapping ones."""
    ignore_index: int | None
    axes: Mapping[str, Sequence[str]]
    """Axis → labels that have runs, in the card's order."""
    cells: Sequence[ComparedCell]
    """Cells in the order of `verdict.standings`, the best first."""
    verdict: Verdict | None
    """Verdict on the cells; None where single images do not have the metric, or where there is only one cell."""
    headline: Sequence[str]
    """What to take home, in one to three lines: who is best, which label of each axis is, and where it shows most."""
    changes: Sequence[str]
    """What would change the verdict: more seeds, more test images, longer training."""
    sentences: Sequence[str]
    """Sentences on each pair of cells, those of the best first."""
    factors: Sequence[FactorResult]
    """Results of each axis; empty with one axis, whose labels are the cells."""
    ranks: FriedmanRanks | None
    breakdowns: Sequence[Breakdown]
    gallery: Sequence[GalleryImage]
    published: PublishedNumbers | None
    published_metric: ComparedMetric | None
    """Our metric that is nearest to the published one, where the study names it."""
    tuning: TuningReport | None = None
    """Searches by which the values of each cell were chosen."""
    warnings: Sequence[str]
    """Warnings to read before the numbers: missing runs, one seed, duplicates in the data."""
    facts: Mapping[str, str]
    """Facts about the runs: commits, hardware, and the settings that all share."""
    points: float = 1.0
    """Points within which two cells, or labels, are called equivalent."""
    looks: Sequence[Look] = ()
    """Looks at a study that goes on until it is decided, and what they saw."""

    @property
    def basis(self) -> str:
        """Words that say what the verdict rests on: runs, seeds, test images and independent units."""
        numbers = sorted({len({run.seed for run in cell.runs}) for cell in self.cells})
        seeds = f"{numbers[0]} to {numbers[-1]} seeds" if len(numbers) > 1 else format_plural(numbers[0], "seed")
        runs = format_plural(sum(len(cell.runs) for cell in self.cells), "run")
        return (
            f"{runs}, {seeds} per cell, {self.test_set}{'' if self.units == self.images else ', the independent units'}"
        )

    @property
    def test_set(self) -> str:
        """Words that say how many test images there are, and in how many groups."""
        images = format_plural(self.images, "test image")
        return images if self.units == self.images else f"{images} in {format_plural(self.units, 'group')}"
