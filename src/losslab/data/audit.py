"""What a dataset turned out to hold: counted while it is prepared, told before it is trusted."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from losslab.data.cards import IGNORE_INDEX, Card, SplitName
from losslab.data.readers import Listing
from losslab.files import Row

Pixels = npt.NDArray[np.uint8]
EXAMPLES = 5


class Totals:
    """What one split adds up to, in exact integers."""

    def __init__(self, classes: int) -> None:
        self.pixels = np.zeros(classes, np.int64)
        self.images = 0
        self.void = 0
        self.images_with = np.zeros(classes, np.int64)
        self.pixels_where_present = np.zeros(classes, np.int64)
        """Pixels of all classes in the images that have a class, for frequencies that rare classes can be weighed by."""
        self.sum = np.zeros(3, np.int64)
        self.sum_of_squares = np.zeros(3, np.int64)
        self.hashes: dict[str, str] = {}

    def add(self, name: str, image: Pixels, mask: Pixels) -> None:
        self.images += 1
        all_counts = np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1)
        self.void += int(all_counts[IGNORE_INDEX])
        counts = all_counts[: len(self.pixels)]
        self.pixels += counts
        self.images_with += counts > 0
        self.pixels_where_present += np.where(counts > 0, counts.sum(), 0)
        values = image.reshape(-1, 3).astype(np.int64)
        self.sum += values.sum(axis=0)
        self.sum_of_squares += (values * values).sum(axis=0)
        self.hashes[name] = hashlib.sha256(image.tobytes()).hexdigest()

    def normalisation(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel in 0..1 units."""
        count = int(self.pixels.sum()) + self.void
        mean = self.sum / count
        variance = np.maximum(self.sum_of_squares / count - mean * mean, 0)
        return [round(value / 255, 6) for value in mean.tolist()], [
            round(max(value / 255, 1e-3), 6) for value in np.sqrt(variance).tolist()
        ]


def write_up(card: Card, listing: Listing, totals: dict[SplitName, Totals], rows: Sequence[Row]) -> dict[str, Any]:
    """audit.json: what is in each split, what was passed over and why, and images that stand in it twice."""
    names = [label_class.name for label_class in card.classes]
    coverage = {}
    for split, total in totals.items():
        pixels = int(total.pixels.sum()) + total.void
        coverage[split] = {
            name: {"share": round(int(count) / pixels, 6), "images": int(images)}
            for name, count, images in zip(names, total.pixels, total.images_with, strict=True)
        } | {"void": {"share": round(total.void / pixels, 6)}}
    by_hash: dict[str, list[str]] = {}
    for split, total in totals.items():
        for name, digest in total.hashes.items():
            by_hash.setdefault(digest, []).append(f"{split}/{name}")
    duplicates = [sorted(found) for found in by_hash.values() if len(found) > 1]
    leaks = [found for found in duplicates if len({item.split("/")[0] for item in found}) > 1]
    widths, heights = ([int(str(row[key])) for row in rows] for key in ("width", "height"))
    return {
        "images": {name: total.images for name, total in totals.items()},
        "original_size": {"width": [min(widths), max(widths)], "height": [min(heights), max(heights)]},
        "skipped": {
            reason: {"count": len(found), "examples": found[:EXAMPLES]}
            for reason, found in sorted(listing.skipped.items())
        },
        "coverage": coverage,
        "duplicates": {
            "groups": len(duplicates),
            "across_splits": len(leaks),
            "examples": sorted(leaks or duplicates)[:EXAMPLES],
        },
    }
