"""Metrics of overlapping classes: each class against the rest of the image, as binary data of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from losslab.io.windows import PixelWindows, Values
from losslab.metrics.calibration import CalibrationMetrics
from losslab.metrics.confusion import (
    CLASS_MEANS,
    CLASS_SCORES,
    Images,
    SegmentationMetrics,
    compute_exact_mean,
    compute_overlapping_scores,
)
from losslab.metrics.contours import ContourMetrics
from losslab.metrics.strata import StratifiedErrors

Pair = TypeVar("Pair", SegmentationMetrics, ContourMetrics, StratifiedErrors)


@dataclass(frozen=True)
class ClassWindows:
    """The labels of one of an image's overlapping classes: `losslab.io.windows.PixelWindows`."""

    labels: PixelWindows
    label: int

    @property
    def height(self) -> int:
        return self.labels.height

    @property
    def width(self) -> int:
        return self.labels.width

    def read(self, top: int, left: int, height: int, width: int) -> Values:
        return self.labels.read(top, left, height, width)[..., self.label].copy()


class _PerClass(Generic[Pair]):
    """A metric of binary data for each class; labels have the shape `[N, H, W, C]`, or as many `[H, W, C]`."""

    is_binary = False

    def __init__(self, build: Callable[[], Pair], classes: int) -> None:
        self.metrics: list[Pair] = [build() for _ in range(classes)]

    @property
    def ignore_index(self) -> int | None:
        return self.metrics[0].ignore_index

    def update(self, prediction: Images, target: Images) -> None:
        for label, metric in enumerate(self.metrics):
            metric.update(*([image[..., label] for image in images] for images in (prediction, target)))

    def update_windows(self, prediction: PixelWindows, target: PixelWindows) -> None:
        for label, metric in enumerate(self.metrics):
            metric.update_windows(ClassWindows(prediction, label), ClassWindows(target, label))


class OverlappingSegmentation(_PerClass[SegmentationMetrics]):
    """`SegmentationMetrics` of overlapping classes.

    >>> metric = OverlappingSegmentation(num_classes=2, ignore_index=255)
    >>> prediction, target = torch.tensor([[[[1, 1], [0, 1]]]]), torch.tensor([[[[1, 0], [1, 1]]]])
    >>> metric.update(prediction, target)
    >>> metric.compute()["iou"]
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__(lambda: SegmentationMetrics(1, ignore_index), num_classes)

    @property
    def confusion(self) -> Tensor:
        """Counted pixels, int64 `[C, 2, 2]`: truth in rows, not there and there."""
        return torch.stack([metric.confusion for metric in self.metrics])

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores of all images, those of `compute_overlapping_scores` among them."""
        per_image = self.compute_per_image()
        return compute_overlapping_scores(self.confusion) | {
            "miou_per_image": compute_exact_mean(per_image["miou"]),
            "images": (per_image["support"] > 0).sum(dim=0),
            "confusion": self.confusion,
        }

    def compute_per_image(self) -> dict[str, Tensor]:
        """Compute scores of each image, `[N]` or per class `[N, C]`; NaN for a class in neither truth nor prediction."""
        parts = [metric.compute_per_image() for metric in self.metrics]
        scores = {key: torch.stack([part[key][:, 1] for part in parts], dim=1) for key in CLASS_SCORES}
        scores |= {mean: scores[key].nanmean(dim=1) for mean, key in CLASS_MEANS.items()}
        return scores | {"pixel_accuracy": torch.stack([part["pixel_accuracy"] for part in parts]).nanmean(dim=0)}


class OverlappingContours(_PerClass[ContourMetrics]):
    """`ContourMetrics` of overlapping classes."""

    def __init__(self, num_classes: int, ignore_index: int | None = None, tolerances: Sequence[int] = (1, 3)) -> None:
        super().__init__(lambda: ContourMetrics(1, ignore_index, tolerances), num_classes)
        self.tolerances = tuple(tolerances)

    def compute(self) -> dict[str, Tensor]:
        parts = [metric.compute() for metric in self.metrics]
        return {key: torch.stack([part[key][..., 1] for part in parts], dim=-1) for key in parts[0]}

    def compute_per_image(self) -> dict[str, Tensor]:
        parts = [metric.compute_per_image() for metric in self.metrics]
        scores = {
            key: torch.stack([part[key][:, 1] for part in parts], dim=1) for key in ("class_hd95", "overlap", "band")
        }
        boundary = (scores["overlap"] / scores["band"].double()).nanmean(dim=1)
        return scores | {"boundary_iou": boundary, "hd95": scores["class_hd95"].nanmean(dim=1)}


class OverlappingStrata(_PerClass[StratifiedErrors]):
    """`StratifiedErrors` of overlapping classes: of each, the pixels and objects that are there in truth.

    Also `elsewhere`, `borders` of the pixels that a class is not at, summed over classes.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__(lambda: StratifiedErrors(1, ignore_index), num_classes)

    def compute(self) -> dict[str, Tensor]:
        parts = [metric.compute() for metric in self.metrics]
        elsewhere = torch.stack([part["borders"][0] for part in parts]).sum(dim=0)
        return {key: torch.stack([part[key][1] for part in parts]) for key in parts[0]} | {"elsewhere": elsewhere}


class OverlappingCalibration:
    """`CalibrationMetrics` of overlapping classes: each pixel counts once for each class."""

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        self.ignore_index = ignore_index
        self.metrics = [CalibrationMetrics(1, ignore_index) for _ in range(num_classes)]

    def update(self, probabilities: Images, target: Images) -> None:
        """Count float32 `[N, C, H, W]` and labels `[N, H, W, C]`."""
        for label, metric in enumerate(self.metrics):
            both = [torch.stack([1 - image[label], image[label]]) for image in probabilities]
            metric.update(both, [image[..., label] for image in target])

    def compute(self) -> dict[str, Tensor]:
        pooled = CalibrationMetrics(1, self.ignore_index)
        pooled.bins = torch.stack([metric.bins for metric in self.metrics]).sum(dim=0)
        pooled.levels = torch.stack([metric.levels[1] for metric in self.metrics])
        pooled.note_update()
        return pooled.compute()
