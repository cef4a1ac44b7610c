"""What each test image adds to a run's score, so that scores of the whole test set can be compared image by image.

Scores that are means over images are what they are. Those of one confusion matrix over all pixels (mIoU, Dice, accuracies)
are no means: an image's share is its jackknife pseudo-value, N·score − (N−1)·score without it (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 11), moved so that the mean is the score itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losslab.comparison.result import ComparedMetric

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """Pixels of each class, `[…, classes]`: found where they are, true, and predicted."""

    hit: Numbers
    truth: Numbers
    predicted: Numbers

    def total(self) -> "ClassCounts":
        return ClassCounts(*(part.sum(axis=0, keepdims=True) for part in self._parts()))

    def without_each(self) -> "ClassCounts":
        """Of all images but one, for each image."""
        return ClassCounts(*(part.sum(axis=0, keepdims=True) - part for part in self._parts()))

    def _parts(self) -> tuple[Numbers, Numbers, Numbers]:
        return self.hit, self.truth, self.predicted


def read_counts(rows: Sequence[Mapping[str, str]], classes: Sequence[str]) -> ClassCounts:
    """From rows of per_image.csv, `[images, classes]`."""

    def column(kind: str) -> Numbers:
        return np.array([[float(row[f"{kind}_{name}"]) for name in classes] for row in rows])

    return ClassCounts(column("hit"), column("truth"), column("predicted"))


def compute_shares(rows: Sequence[Mapping[str, str]], classes: Sequence[str], metric: str) -> Numbers:
    """Each image's share `[images]` of a run's score; their mean is the score. NaN where an image has none; all are NaN where
    one image alone has a class, so that nothing is known of the score without it.

    Args:
        metric: a key of METRICS that single images have, or `iou_<class>` and so on for one class.

    Raises:
        KeyError: no such metric.
    """
    if metric in COLUMNS:
        return np.array([float(row[COLUMNS[metric]] or "nan") for row in rows])
    score, counts, number = _pooled(metric, classes), read_counts(rows, classes), len(rows)
    whole, without = score(counts.total())[0], score(counts.without_each())
    if np.isnan(without).any():
        return np.full(number, np.nan)
    pseudo = number * whole - (number - 1) * without
    return np.asarray(pseudo - pseudo.mean() + whole)


def compute_pooled_score(rows: Sequence[Mapping[str, str]], classes: Sequence[str], metric: str) -> float:
    """Of all test images together; NaN where it means nothing. Raises KeyError: no such metric."""
    return float(_pooled(metric, classes)(read_counts(rows, classes).total())[0])


def _ratio(above: Numbers, below: Numbers) -> Numbers:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _iou(counts: ClassCounts) -> Numbers:
    return _ratio(counts.hit, counts.truth + counts.predicted - counts.hit)


def _dice(counts: ClassCounts) -> Numbers:
    return _ratio(2 * counts.hit, counts.truth + counts.predicted)


def _recall(counts: ClassCounts) -> Numbers:
    return _ratio(counts.hit, counts.truth)


def _precision(counts: ClassCounts) -> Numbers:
    return _ratio(counts.hit, counts.predicted)


def _pixel_accuracy(counts: ClassCounts) -> Numbers:
    return _ratio(counts.hit.sum(axis=-1), counts.truth.sum(axis=-1))


def _frequency_weighted_iou(counts: ClassCounts) -> Numbers:
    weights = counts.truth / counts.truth.sum(axis=-1, keepdims=True)
    return np.asarray(np.nansum(weights * _iou(counts), axis=-1))


def _correlation(counts: ClassCounts) -> Numbers:
    """Matthews' correlation coefficient for several classes (Gorodkin, Computational Biology and Chemistry 28, 2004)."""
    pixels = counts.truth.sum(axis=-1)
    covariance = counts.hit.sum(axis=-1) * pixels - (counts.truth * counts.predicted).sum(axis=-1)
    varies = [pixels**2 - (part**2).sum(axis=-1) for part in (counts.truth, counts.predicted)]
    return _ratio(covariance, np.sqrt(varies[0] * varies[1]))


BY_CLASS: dict[str, Callable[[ClassCounts], Numbers]] = {
    "iou": _iou,
    "dice": _dice,
    "recall": _recall,
    "precision": _precision,
}
MEANS = {"miou": "iou", "mdice": "dice", "mean_accuracy": "recall", "mprecision": "precision"}
POOLED: dict[str, Callable[[ClassCounts], Numbers]] = {
    "pixel_accuracy": _pixel_accuracy,
    "fwiou": _frequency_weighted_iou,
    "mcc": _correlation,
}


COLUMNS = {"miou_per_image": "iou", "seed_score": "score", "boundary_iou": "boundary_iou", "hd95": "hd95"}
"""Metric → column of per_image.csv, of those that are means over images."""


def _pooled(metric: str, classes: Sequence[str]) -> Callable[[ClassCounts], Numbers]:
    """From counts `[…, classes]` to scores `[…]`."""
    if metric in MEANS:
        by_class = BY_CLASS[MEANS[metric]]
        return lambda counts: _mean_over_classes(by_class(counts))
    if metric in POOLED:
        return POOLED[metric]
    kind = metric.partition("_")[0]
    if (name := find_metric_class(metric, classes)) is not None:
        of_class, label = BY_CLASS[kind], list(classes).index(name)
        return lambda counts: np.asarray(of_class(counts)[..., label])
    raise KeyError(metric)


def _mean_over_classes(scores: Numbers) -> Numbers:
    known = ~np.isnan(scores)
    return _ratio(np.where(known, scores, 0).sum(axis=-1), known.sum(axis=-1).astype(float))


TITLES = {
    "miou": "mean IoU",
    "mdice": "mean Dice",
    "mprecision": "mean precision",
    "mean_accuracy": "mean accuracy",
    "fwiou": "frequency-weighted IoU",
    "pixel_accuracy": "pixel accuracy",
    "mcc": "MCC",
    "miou_per_image": "mIoU per image",
    "seed_score": "seed score",
    "boundary_iou": "boundary IoU",
    "hd95": "HD95",
    "ece": "ECE",
    "miou_at_threshold": "mean IoU at the threshold that is best on val",
    "iou_at_threshold": "foreground IoU at the threshold that is best on val",
}
LESS_IS_BETTER = ("hd95", "ece")
NO_SCORES = ("classes_scored", "threshold", "iou")
"""In metrics.json, but nothing to compare by."""


LEAST_IMAGES = 3
"""With a class, in the truth, for its score to be judged."""


def find_metric_class(metric: str, classes: Sequence[str]) -> str | None:
    """Of which class a metric is; None: of all."""
    kind, _, name = metric.partition("_")
    return name if kind in BY_CLASS and name in classes else None


def list_metrics(scores: Mapping[str, object], classes: Sequence[str]) -> dict[str, ComparedMetric]:
    """What runs can be compared by.

    Args:
        scores: of test in a run's metrics.json.
    """
    found = [key for key in scores if key not in NO_SCORES]
    found += [f"{kind}_{name}" for kind in BY_CLASS for name in classes]
    return {key: _metric(key, classes) for key in found}


def _metric(key: str, classes: Sequence[str]) -> ComparedMetric:
    in_pixels = key == "hd95"
    kind, name = key.partition("_")[0], find_metric_class(key, classes)
    of_class = name is not None
    if key in COLUMNS:
        about = "mean over the test images" + (
            " that have it in every run" if in_pixels or key == "boundary_iou" else ""
        )
    elif key in MEANS:
        about = "mean over classes, each over the pixels of all test images"
    elif key in POOLED or of_class:
        about = "over the pixels of all test images"
    else:
        about = "over all test images together; single images do not have it"
    title = f"{'IoU' if kind == 'iou' else kind} of {name}" if of_class else TITLES.get(key, key.replace("_", " "))
    return ComparedMetric(
        key=key,
        title=title,
        higher_is_better=key not in LESS_IS_BETTER,
        point=1 if in_pixels else 0.01,
        unit="pixels" if in_pixels else "points",
        why_not=f"single test images have no {title}",
        has_images=key in COLUMNS or key in MEANS or key in POOLED or of_class,
        about=about,
    )
