"""What each test image adds to a run's score, so that scores of the whole test set can be compared image by image.

Scores that are means over images are what they are. Those of one confusion matrix over all pixels (mIoU, Dice, accuracies)
are no means: an image's share is its jackknife pseudo-value, N·score − (N−1)·score without it (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 11), shifted so that the mean is the score itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losslab.comparison.result import ComparedMetric

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassCounts:
    """Pixels of each class, `[…, classes]`: predicted rightly, true, and predicted."""

    hit: Numbers
    truth: Numbers
    predicted: Numbers

    def sum_images(self) -> "ClassCounts":
        """Return the counts of all images together, `[1, classes]`."""
        return ClassCounts(*(part.sum(axis=0, keepdims=True) for part in vars(self).values()))

    def leave_one_out(self) -> "ClassCounts":
        """Return, for each image, the counts of all others together, `[images, classes]`."""
        return ClassCounts(*(part.sum(axis=0, keepdims=True) - part for part in vars(self).values()))


def read_counts(rows: Sequence[Mapping[str, str]], classes: Sequence[str]) -> ClassCounts:
    """Read counts `[images, classes]` from rows of per_image.csv; KeyError: a class has no columns.

    >>> read_counts([{"hit_hair": "3", "truth_hair": "4", "predicted_hair": "5"}], ["hair"])
    ClassCounts(hit=array([[3.]]), truth=array([[4.]]), predicted=array([[5.]]))
    """

    def read_columns(kind: str) -> Numbers:
        return np.array([[float(row[f"{kind}_{name}"]) for name in classes] for row in rows])

    return ClassCounts(*map(read_columns, ("hit", "truth", "predicted")))


def compute_shares(rows: Sequence[Mapping[str, str]], classes: Sequence[str], metric: str) -> Numbers:
    """Compute each image's share `[images]` of a run's score, in the unit of the metric; their mean is the score.

    NaN where an image has none; all are NaN where only one image has a class, so that the score without it is unknown.
    Scores of pooled pixels are shared out as the head of this file says.

    Args:
        rows: rows of per_image.csv.
        metric: a metric that single images have, or `iou_<class>` and so on for one class; KeyError: there is none such.

    >>> counts = [(8, 8, 10), (2, 4, 2), (3, 4, 5)]
    >>> rows = [{"hit_hair": str(a), "truth_hair": str(b), "predicted_hair": str(c)} for a, b, c in counts]
    >>> compute_shares(rows, ["hair"], "iou_hair").round(3)
    array([0.918, 0.543, 0.489])
    """
    if metric in PER_IMAGE_COLUMNS:
        return np.array([float(row[PER_IMAGE_COLUMNS[metric]] or "nan") for row in rows])
    compute, counts, number = _find_pooled_score(metric, classes), read_counts(rows, classes), len(rows)
    score, without = compute(counts.sum_images())[0], compute(counts.leave_one_out())
    if np.isnan(without).any():
        return np.full(number, np.nan)
    pseudo = number * score - (number - 1) * without
    return np.asarray(pseudo - pseudo.mean() + score)


def compute_pooled_score(rows: Sequence[Mapping[str, str]], classes: Sequence[str], metric: str) -> float:
    """Compute a score over the pixels of all images of per_image.csv together; NaN where no image has the class.

    The metric is one of pooled pixels, or `iou_<class>` and so on for one class; KeyError: there is none such.

    >>> compute_pooled_score([{"hit_hair": "3", "truth_hair": "4", "predicted_hair": "5"}], ["hair"], "iou_hair")
    0.5
    """
    return float(_find_pooled_score(metric, classes)(read_counts(rows, classes).sum_images())[0])


def _ratio(above: Numbers, below: Numbers) -> Numbers:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _frequency_weighted_iou(counts: ClassCounts) -> Numbers:
    weights = counts.truth / counts.truth.sum(axis=-1, keepdims=True)
    return np.asarray(np.nansum(weights * CLASS_SCORES["iou"](counts), axis=-1))


def _matthews_correlation(counts: ClassCounts) -> Numbers:
    """Compute Matthews' correlation coefficient for several classes (Gorodkin, Computational Biology and Chemistry 28, 2004)."""
    pixels = counts.truth.sum(axis=-1)
    covariance = counts.hit.sum(axis=-1) * pixels - (counts.truth * counts.predicted).sum(axis=-1)
    varies = [pixels**2 - (part**2).sum(axis=-1) for part in (counts.truth, counts.predicted)]
    return _ratio(covariance, np.sqrt(varies[0] * varies[1]))


CLASS_SCORES: dict[str, Callable[[ClassCounts], Numbers]] = {
    "iou": lambda counts: _ratio(counts.hit, counts.truth + counts.predicted - counts.hit),
    "dice": lambda counts: _ratio(2 * counts.hit, counts.truth + counts.predicted),
    "recall": lambda counts: _ratio(counts.hit, counts.truth),
    "precision": lambda counts: _ratio(counts.hit, counts.predicted),
}
"""Name → score of each class, `[…, classes]`."""
CLASS_MEANS = {"miou": "iou", "mdice": "dice", "mean_accuracy": "recall", "mprecision": "precision"}
"""Metric → the class score that it is the mean of."""
POOLED_SCORES: dict[str, Callable[[ClassCounts], Numbers]] = {
    "pixel_accuracy": lambda counts: _ratio(counts.hit.sum(axis=-1), counts.truth.sum(axis=-1)),
    "fwiou": _frequency_weighted_iou,
    "mcc": _matthews_correlation,
}
PER_IMAGE_COLUMNS = {"miou_per_image": "iou", "seed_score": "score", "boundary_iou": "boundary_iou", "hd95": "hd95"}
"""Metric → column of per_image.csv, for metrics that are means over images."""


def _find_pooled_score(metric: str, classes: Sequence[str]) -> Callable[[ClassCounts], Numbers]:
    """Find the function from counts `[…, classes]` to scores `[…]`."""
    if metric in CLASS_MEANS:
        by_class = CLASS_SCORES[CLASS_MEANS[metric]]
        return lambda counts: _average_classes(by_class(counts))
    if metric in POOLED_SCORES:
        return POOLED_SCORES[metric]
    if (name := find_metric_class(metric, classes)) is not None:
        by_class, label = CLASS_SCORES[metric.partition("_")[0]], list(classes).index(name)
        return lambda counts: np.asarray(by_class(counts)[..., label])
    raise KeyError(metric)


def _average_classes(scores: Numbers) -> Numbers:
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
LOWER_IS_BETTER = ("hd95", "ece")
NO_SCORES = ("classes_scored", "threshold", "iou")
"""Keys of metrics.json that runs cannot be compared by."""
MIN_CLASS_IMAGES = 3
"""Test images that must show a class for its score to be judged."""


def find_metric_class(metric: str, classes: Sequence[str]) -> str | None:
    """Find the class that a metric is of; None: all classes.

    >>> find_metric_class("iou_hair", ["skin", "hair"])
    'hair'
    """
    kind, _, name = metric.partition("_")
    return name if kind in CLASS_SCORES and name in classes else None


def list_metrics(scores: Mapping[str, object], classes: Sequence[str]) -> dict[str, ComparedMetric]:
    """List by key the metrics that runs can be compared by, of the test part of metrics.json and for each class.

    >>> list(list_metrics({"miou": 0.7, "ece": 0.1}, ["hair"]))
    ['miou', 'ece', 'iou_hair', 'dice_hair', 'recall_hair', 'precision_hair']
    """
    keys = [key for key in scores if key not in NO_SCORES]
    keys += [f"{kind}_{name}" for kind in CLASS_SCORES for name in classes]
    return {key: _describe_metric(key, classes) for key in keys}


def _describe_metric(key: str, classes: Sequence[str]) -> ComparedMetric:
    in_pixels = key == "hd95"
    kind, name = key.partition("_")[0], find_metric_class(key, classes)
    if key in PER_IMAGE_COLUMNS:
        condition = " that have it in every run" if key in ("hd95", "boundary_iou") else ""
        about = f"mean over the test images{condition}"
    elif key in CLASS_MEANS:
        about = "mean over classes, each over the pixels of all test images"
    elif key in POOLED_SCORES or name is not None:
        about = "over the pixels of all test images"
    else:
        about = "over all test images together; single images do not have it"
    label = "IoU" if kind == "iou" else kind
    title = f"{label} of {name}" if name is not None else TITLES.get(key, key.replace("_", " "))
    return ComparedMetric(
        key=key,
        title=title,
        higher_is_better=key not in LOWER_IS_BETTER,
        point=1 if in_pixels else 0.01,
        unit="pixels" if in_pixels else "points",
        why_not=f"single test images have no {title}",
        has_images=name is not None or any(key in known for known in (PER_IMAGE_COLUMNS, CLASS_MEANS, POOLED_SCORES)),
        about=about,
    )
