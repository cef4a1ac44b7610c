"""Choice of test images to show as several cells see them."""

from collections.abc import Mapping, Sequence

import numpy as np

from losslab.comparison.evidence import RunEvidence
from losslab.comparison.result import GalleryImage, PredictedImage

MAX_GALLERY_IMAGES = 8


def choose_gallery(cells: Mapping[str, Sequence[RunEvidence]]) -> list[GalleryImage]:
    """Choose images of which every cell's first run kept a picture, those on which cells differ most first."""
    firsts = {name: min(runs, key=lambda run: run.seed) for name, runs in cells.items()}
    kept = {name: {row["image"]: row for row in run.examples} for name, run in firsts.items()}
    common = set.intersection(*(set(rows) for rows in kept.values()))

    ious = {image: [float(rows[image]["iou"] or "nan") for rows in kept.values()] for image in common}
    gallery = []
    for image in sorted(common, key=lambda image: (-float(np.ptp(np.nan_to_num(ious[image]))), image))[
        :MAX_GALLERY_IMAGES
    ]:
        files = {name: run.predictions / kept[name][image]["file"] for name, run in firsts.items()}
        first = next(iter(files.values()))
        predicted = [
            PredictedImage(name, path.with_name(f"{path.name}.prediction.png"), iou)
            for (name, path), iou in zip(files.items(), ious[image], strict=True)
        ]
        photo, truth = (first.with_name(f"{first.name}.{kind}.png") for kind in ("image", "truth"))
        gallery.append(GalleryImage(image, photo, truth, predicted))
    return gallery
