"""The same test images as several cells see them."""

from collections.abc import Mapping, Sequence

import numpy as np

from losslab.comparison.evidence import RunEvidence
from losslab.comparison.result import GalleryImage, PredictedImage

MOST_IMAGES = 8


def choose_gallery(cells: Mapping[str, Sequence[RunEvidence]]) -> list[GalleryImage]:
    """Images that the first run of every cell kept as pictures, those on which cells differ most first."""
    runs = {name: min(of_cell, key=lambda run: run.seed) for name, of_cell in cells.items()}
    kept = {name: {row["image"]: row for row in run.examples} for name, run in runs.items()}
    common = set.intersection(*(set(rows) for rows in kept.values()))

    def ious(image: str) -> list[float]:
        return [float(rows[image]["iou"] or "nan") for rows in kept.values()]

    def disagreement(image: str) -> float:
        return float(np.ptp(np.nan_to_num(ious(image))))

    found = []
    for image in sorted(common, key=lambda image: (-disagreement(image), image))[:MOST_IMAGES]:
        files = {name: runs[name].predictions / kept[name][image]["file"] for name in runs}
        first = next(iter(files.values()))
        predicted = [
            PredictedImage(name, path.with_name(f"{path.name}.prediction.png"), iou)
            for (name, path), iou in zip(files.items(), ious(image), strict=True)
        ]
        photo, truth = (first.with_name(f"{first.name}.{kind}.png") for kind in ("image", "truth"))
        found.append(GalleryImage(image, photo, truth, predicted))
    return found
