"""Metrics of segmentation: overlap, contours, calibration, and errors by stratum."""

from losslab.metrics.confusion import SegmentationMetrics, compute_scores, count_confusion_per_image

__all__ = ["SegmentationMetrics", "compute_scores", "count_confusion_per_image"]
