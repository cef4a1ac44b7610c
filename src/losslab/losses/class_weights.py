"""Class weights from how often classes occur in the training data."""

from collections.abc import Sequence
from statistics import median

from losslab.losses.options import Weighting


def compute_class_weights(
    weighting: Weighting, pixels: Sequence[int], pixels_where_present: Sequence[int]
) -> list[float]:
    """Compute one weight for each class, 0 for a class without a pixel.

    Args:
        weighting: `inverse_frequency`: all pixels / (classes · pixels of the class), so that each class weighs the same
            in all. `median_frequency`: the median of the classes' frequencies over the class's own, a frequency being its
            share of the images that have it (Eigen & Fergus 2015, 1411.4734).
        pixels: pixels of each class.
        pixels_where_present: for each class, the pixels of all classes in the images that have it.

    >>> compute_class_weights("inverse_frequency", [60, 30, 0, 10], [100, 100, 0, 50])[1:]
    [1.1111111111111112, 0.0, 3.3333333333333335]
    """
    present = [label for label, count in enumerate(pixels) if count]
    if weighting == "inverse_frequency":
        total = sum(pixels)
        return [total / (len(present) * count) if count else 0.0 for count in pixels]
    frequency = [count / area if count else 0.0 for count, area in zip(pixels, pixels_where_present, strict=True)]
    middle = median(frequency[label] for label in present)
    return [middle / share if share else 0.0 for share in frequency]
