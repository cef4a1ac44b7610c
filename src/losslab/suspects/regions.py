"""Regions of a mask that a net contradicts with confidence: where it is wrong, if it is."""

from dataclasses import dataclass

import cv2
import numpy as np

from losslab.suspects.scores import CheckedMask

MIN_SHARE = 0.0005
"""Smallest region that is listed, as a share of the pixels that are not void."""
MIN_PIXELS = 4


@dataclass(frozen=True, kw_only=True)
class SuspectRegion:
    """Pixels next to each other that have one class in the mask, and for which the net claims another."""

    given: int
    claimed: int
    pixels: int
    top: int
    left: int
    height: int
    width: int
    """Bounding box, in pixels of the prepared image."""
    confidence: float
    """Mean over its pixels of the probability of the claimed class."""


def find_regions(checked: CheckedMask) -> list[SuspectRegion]:
    """Find the regions of an image, the largest first.

    A pixel belongs to one if it is contradicted; neighbours, also across corners, belong together where they agree in both
    classes.

    >>> from losslab.suspects.scores import compare_probabilities
    >>> sure, half = np.full((4, 4), 0.9, np.float32), np.full(2, 0.5, np.float32)
    >>> [region] = find_regions(compare_probabilities(np.zeros((4, 4), np.uint8), np.stack([1 - sure, sure]), half))
    >>> region.pixels, region.given, region.claimed, round(region.confidence, 1)
    (16, 0, 1, 0.9)
    """
    contradicted = checked.contradicted
    smallest = max(MIN_PIXELS, MIN_SHARE * np.count_nonzero(checked.valid))
    classes = np.stack([checked.given[contradicted], checked.claimed[contradicted]], axis=1)
    regions = []
    for given, claimed in np.unique(classes, axis=0).tolist():
        inside = contradicted & (checked.given == given) & (checked.claimed == claimed)
        _, labels, boxes, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
        for number, (left, top, width, height, pixels) in enumerate(boxes.tolist()):
            if number == 0 or pixels < smallest:  # 0 is what lies outside of all
                continue
            box = slice(top, top + height), slice(left, left + width)
            here = labels[box] == number
            regions.append(
                SuspectRegion(
                    given=given,
                    claimed=claimed,
                    pixels=pixels,
                    top=top,
                    left=left,
                    height=height,
                    width=width,
                    confidence=float(checked.certainty[box][here].mean()),
                )
            )
    return sorted(regions, key=lambda region: (-region.pixels, region.top, region.left))
