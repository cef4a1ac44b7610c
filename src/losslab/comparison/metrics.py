"""What each test image adds to a run's score, so that scores of the whole test set can be compared image by image.

Scores that are means over images are what they are. Those of all images together (mIoU, Dice, accuracies, boundary IoU, HD95)
are no such means: an image's share is its jackknife pseudo-value, N·score − (N−1)·score without it (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 11), shifted so that the mean is the score itself. Images of one group, such as a
patient or a video, are not independent: shares are then those of groups, by the same formula with a group left out.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from losslab.comparison.result import ComparedMetric
from losslab.io.files import JsonObject
from losslab.metrics.confusion import compute_count_scores

Numbers = npt.NDArray[np.float64]


Counts = Mapping[str, Numbers]
"""Name in COLUMNS, or `known` → what each class has, `[…, classes]`, which sums over images."""
Score = Callable[[Counts], Numbers]
"""A function from counts `[…, classes]` to scores `[…]`, or `[…, classes]`."""
COLUMNS = ("hit", "truth", "predicted", "overlap", "band", "hd95")
"""Columns of per_image.csv for each class: pixels predicted rightly, true, and predicted; pixels in both boundary bands, and
in either; HD95, empty where the image has none."""


def read_counts(rows: Sequence[Mapping[str, str]], classes: Sequence[str]) -> Counts:
    """Read counts `[images, classes]` from rows of per_image.csv; KeyError: a class lacks a column.

    `known` is 1 where an image has an HD95, whose sum over it is the mean.

    >>> row = {"hit_hair": "3", "truth_hair": "4", "predicted_hair": "5", "overlap_hair": "2", "band_hair": "4", "hd95_hair": ""}
    >>> {name: number.item() for name, number in read_counts([row], ["hair"]).items()}
    {'hit': 3.0, 'truth': 4.0, 'predicted': 5.0, 'overlap': 2.0, 'band': 4.0, 'hd95': 0.0, 'known': 0.0}
    """
    counts = {
        kind: np.array([[float(row[f"{kind}_{name}"] or "nan") for name in classes] for row in rows])
        for kind in COLUMNS
    }
    known = ~np.isnan(counts["hd95"])
    return counts | {"hd95": np.where(known, counts["hd95"], 0.0), "known": known.astype(float)}


def compute_shares(
    rows: Sequence[Mapping[str, str]],
    classes: Sequence[str],
    metric: str,
    groups: Sequence[str] | None = None,
    own: "Score | str | None" = None,
) -> Numbers:
    """Compute each image's share `[images]` of a run's score, in the unit of the metric; their mean is the score.

    NaN where an image has none; all are NaN where only one image has a class, so that the score without it is unknown.
    Scores of all images together are shared out as the head of this file says. With groups the shares are theirs,
    `[groups]`, in the order of their names, and of any metric.

    Args:
        rows: rows of per_image.csv; with groups, those that have the metric.
        metric: a metric that single images have, or `iou_<class>` and so on for one class; KeyError: there is none such.
        groups: group of each row; None: each image is one of its own.
        own: of a plug-in's metric, the function if it is of classes, the column if it is of images.

    >>> counts = [(8, 8, 10), (2, 4, 2), (3, 4, 5)]
    >>> rest = dict.fromkeys(("overlap_hair", "band_hair", "hd95_hair"), "")
    >>> rows = [{"hit_hair": str(a), "truth_hair": str(b), "predicted_hair": str(c)} | rest for a, b, c in counts]
    >>> compute_shares(rows, ["hair"], "iou_hair").round(3)
    array([0.918, 0.543, 0.489])
    """
    column = own if isinstance(own, str) else PER_IMAGE_COLUMNS.get(metric)
    if column is not None:
        scores = np.array([float(row[column] or "nan") for row in rows])
        return scores if groups is None else share_mean(scores, groups)
    compute = own if callable(own) else _find_score(metric, classes)
    counts = read_counts(rows, classes)
    if groups is not None:
        counts = {name: _sum_groups(part, groups) for name, part in counts.items()}
    totals = {name: part.sum(axis=0, keepdims=True) for name, part in counts.items()}
    score, without = compute(totals)[0], compute({name: totals[name] - part for name, part in counts.items()})
    return _compute_pseudo_values(score, without)


def share_mean(scores: Numbers, groups: Sequence[str]) -> Numbers:
    """Compute each group's share `[groups, …]` of the mean of the images' scores `[images, …]`; their mean is that mean.

    A large group has a share that lies farther from the mean, as it moves it more.

    >>> share_mean(np.array([1.0, 1.0, 4.0, 2.0]), ["a", "a", "b", "c"]).round(1)
    array([0.2, 3.6, 2.2])
    """
    sums, sizes = _sum_groups(scores, groups), _sum_groups(np.ones_like(scores), groups)
    with np.errstate(invalid="ignore"):  # one group alone leaves nothing
        without = (sums.sum(axis=0) - sums) / (sizes.sum(axis=0) - sizes)
    return _compute_pseudo_values(scores.mean(axis=0), without)


def compute_effective_number(groups: Iterable[str]) -> float:
    """Compute how many groups of equal size tell as much as these: (Σn)² / Σn² for n images each (Kish 1965).

    >>> compute_effective_number(["a", "b", "a", "b"]), round(compute_effective_number(["a", "b", "b", "b"]), 1)
    (2.0, 1.6)
    """
    sizes = np.array(list(Counter(groups).values()))
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def _compute_pseudo_values(score: Numbers, without: Numbers) -> Numbers:
    """Compute jackknife pseudo-values `[units, …]` from the score without each unit; all NaN if one of these is unknown."""
    number = len(without)
    if np.isnan(without).any():
        return np.full(without.shape, np.nan)
    pseudo = number * score - (number - 1) * without
    return np.asarray(pseudo - pseudo.mean(axis=0) + score)


def _sum_groups(values: Numbers, groups: Sequence[str]) -> Numbers:
    """Sum `[images, …]` over the images of each group, in the order of their names."""
    names, places = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, places, values)
    return sums


def compute_pooled_score(rows: Sequence[Mapping[str, str]], classes: Sequence[str], metric: str) -> float:
    """Compute a score of all images of per_image.csv together; NaN where no image has the class.

    The metric is one of those that are no means over images, or `iou_<class>` and so on for one class; KeyError: there is
    none such.

    >>> row = {"hit_hair": "3", "truth_hair": "4", "predicted_hair": "5", "overlap_hair": "2", "band_hair": "4", "hd95_hair": ""}
    >>> compute_pooled_score([row], ["hair"], "iou_hair")
    0.5
    """
    counts = read_counts(rows, classes)
    return float(_find_score(metric, classes)({name: part.sum(axis=0) for name, part in counts.items()}))


def _score_pixels(key: str) -> Score:
    """Return the function that computes a score as evaluate does, by name in `compute_count_scores`."""

    def compute(counts: Counts) -> Numbers:
        pixels = (torch.from_numpy(counts[name]).long() for name in ("hit", "truth", "predicted"))
        return compute_count_scores(*pixels)[key].numpy()

    return compute


def _average_ratios(above: str, below: str) -> Score:
    """Return the function that averages over classes the ratio of two counts, without those that have none."""

    def compute(counts: Counts) -> Numbers:
        return (torch.from_numpy(counts[above]) / torch.from_numpy(counts[below])).nanmean(dim=-1).numpy()

    return compute


CLASS_SCORES = ("iou", "dice", "recall", "precision")
"""Scores of single classes that runs are compared by."""
CLASS_MEANS = {"miou": "iou", "mdice": "dice", "mean_accuracy": "recall", "mprecision": "precision"}
"""Metric → the class score that it is the mean of."""
CONTOUR_SCORES = {"boundary_iou": _average_ratios("overlap", "band"), "hd95": _average_ratios("hd95", "known")}
POOLED_SCORES = ("pixel_accuracy", "fwiou", "mcc")
"""Metrics of the pixels of all images and classes together."""
EXCLUSIVE_SCORES = ("pixel_accuracy", "mcc")
"""Those of them that need each pixel to be of one class."""
PER_IMAGE_COLUMNS = {"miou_per_image": "iou", "seed_score": "score"}
"""Metric → column of per_image.csv, for metrics that are means over images."""


def _find_score(metric: str, classes: Sequence[str]) -> Score:
    """Find the function from counts `[…, classes]` to scores `[…]`."""
    if metric in CONTOUR_SCORES:
        return CONTOUR_SCORES[metric]
    if metric in CLASS_MEANS or metric in POOLED_SCORES:
        return _score_pixels(metric)
    if (name := find_metric_class(metric, classes)) is not None:
        by_class, label = _score_pixels(metric.partition("_")[0]), list(classes).index(name)
        return lambda counts: np.asarray(by_class(counts)[..., label])
    raise KeyError(metric)


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
"""Keys of scores.json that runs cannot be compared by."""


def find_metric_class(metric: str, classes: Sequence[str]) -> str | None:
    """Find the class that a metric is of; None: all classes.

    >>> find_metric_class("iou_hair", ["skin", "hair"])
    'hair'
    """
    kind, _, name = metric.partition("_")
    return name if kind in CLASS_SCORES and name in classes else None


def list_metrics(
    scores: Mapping[str, object], classes: Sequence[str], own: Mapping[str, JsonObject] | None = None
) -> dict[str, ComparedMetric]:
    """List by key the metrics that runs can be compared by, of the test part of scores.json and for each class.

    `own` are the `metric_facts` of evaluation.json, of metrics of plug-ins.

    >>> list(list_metrics({"miou": 0.7, "ece": 0.1}, ["hair"]))
    ['miou', 'ece', 'iou_hair', 'dice_hair', 'recall_hair', 'precision_hair']
    """
    keys = [key for key in scores if key not in NO_SCORES]
    keys += [f"{kind}_{name}" for kind in CLASS_SCORES for name in classes]
    return {key: _describe_metric(key, classes, (own or {}).get(key)) for key in keys}


def list_judged_metrics(
    classes: Sequence[str], is_binary: bool, own: Iterable[str] = (), overlapping: bool = False
) -> list[str]:
    """List the metrics that runs can be judged by, as single test images or their pixels have them.

    Args:
        is_binary: whether nets have one output, so that there is a seed_score.
        own: names of metrics of plug-ins.
        overlapping: whether a pixel may be of several classes, so that scores of all pixels together are not there.

    >>> list_judged_metrics(["skin", "hair"], is_binary=False)[:4]
    ['miou', 'mdice', 'mean_accuracy', 'mprecision']
    """
    of_images = [key for key in PER_IMAGE_COLUMNS if key != "seed_score" or is_binary]
    by_class = [f"{kind}_{name}" for kind in CLASS_SCORES for name in classes]
    pooled = [key for key in POOLED_SCORES if not (overlapping and key in EXCLUSIVE_SCORES)]
    return [*CLASS_MEANS, *pooled, *of_images, *CONTOUR_SCORES, *own, *by_class]


def _describe_metric(key: str, classes: Sequence[str], own: JsonObject | None) -> ComparedMetric:
    unit = "pixels" if key == "hd95" else "points" if own is None else own["unit"]
    kind, name = key.partition("_")[0], find_metric_class(key, classes)
    if key in PER_IMAGE_COLUMNS or (own and own["of"] == "images"):
        about = "mean over the test images"
    elif key == "hd95":
        about = (
            "mean over classes, each over the test images that have it, in truth or prediction; one-sided: the diagonal"
        )
    elif key in CLASS_MEANS or key in CONTOUR_SCORES or own:
        about = "mean over classes, each over the pixels of all test images"
    elif key in POOLED_SCORES or name is not None:
        about = "over the pixels of all test images"
    else:
        about = "over all test images together; single images do not have it"
    label = "IoU" if kind == "iou" else kind
    title = f"{label} of {name}" if name is not None else TITLES.get(key, key.replace("_", " "))
    title = own["title"] if own else title
    return ComparedMetric(
        key=key,
        title=title,
        higher_is_better=own["higher_is_better"] if own else key not in LOWER_IS_BETTER,
        point=0.01 if unit == "points" else 1,
        unit=unit,
        why_not=f"single test images have no {title}",
        has_images=own is not None or key in list_judged_metrics(classes, True),
        about=about,
        is_own=own is not None,
    )
