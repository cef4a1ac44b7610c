"""Metrics of segmentation."""

from losslab.metrics.confusion import SegmentationMetrics, confusion_per_image, scores_of

__all__ = ["SegmentationMetrics", "confusion_per_image", "scores_of"]
