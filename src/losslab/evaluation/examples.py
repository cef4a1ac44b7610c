"""Example pictures: the best, median and worst images by mIoU, and random ones, beside their truth and prediction."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from losslab.data.images.shrinking import shrink_windows
from losslab.evaluation.scoring import SplitResult
from losslab.io.files import Row, atomic_write, write_csv
from losslab.io.windows import Values
from losslab.label_sets import combine_labels, list_picture_labels

GROUPS = ("best", "median", "worst", "random")
PRIORITIES = ("best", "worst", "median", "random")
"""Groups in the order in which they get one more image when the images cannot be shared out evenly."""
MAX_SIDE_PX = 1024
"""Longest side of a picture, in pixels."""


def write_examples(result: SplitResult, split: str, description: Mapping[str, Any], count: int, folder: Path) -> None:
    """Write up to `count` images as `NAME.image.png`, `NAME.truth.png`, `NAME.prediction.png`, and their ranks in `examples.csv`.

    Label maps are palette PNGs in the colours of the model's description, void black; those of overlapping classes have a
    label for each set of them. Pictures with a side of more than 1024 pixels are shrunk.
    """
    palette = list_picture_labels(description)[1]
    predictions = result.get_details().predictions
    miou = result.pixels.compute_per_image()["miou"].tolist()
    ranked = sorted((index for index in range(len(miou)) if miou[index] == miou[index]), key=lambda i: (-miou[i], i))
    ranks = {index: rank for rank, index in enumerate(ranked, start=1)}
    with atomic_write(folder) as partial:
        partial.mkdir()
        rows: list[Row] = []
        for group, indices in choose_examples(ranked, result.names, count).items():
            for index in indices:
                name = f"{split}-{index:05d}"
                image = shrink_windows(result.targets.open_image(index), MAX_SIDE_PX, cv2.INTER_AREA)
                Image.fromarray(result.bands.draw(image)).save(partial / f"{name}.image.png")
                truth, prediction = (
                    shrink_windows(labels, MAX_SIDE_PX, cv2.INTER_NEAREST_EXACT)
                    for labels in (result.targets.open_mask(index), predictions[index])
                )
                if truth.ndim == 3:
                    truth, prediction = combine_labels(truth), combine_labels(prediction, truth)
                _save_labels(truth, palette, partial / f"{name}.truth.png")
                _save_labels(prediction, palette, partial / f"{name}.prediction.png")
                row: dict[str, Any] = {"file": name, "image": result.names[index], "group": group}
                rows.append(row | {"rank": ranks[index], "of": len(ranked), "iou": round(miou[index], 6)})
        write_csv(partial / "examples.csv", rows)


def choose_examples(ranked: Sequence[int], names: Sequence[str], count: int) -> dict[str, list[int]]:
    """Share out up to `count` of the indices `ranked`, the best first, among the groups; none is chosen twice.

    A group lists its indices by rank. The random ones are drawn by name, so that they are the same for every net.
    """
    count = min(count, len(ranked))
    sizes = {group: (count + len(GROUPS) - 1 - place) // len(GROUPS) for place, group in enumerate(PRIORITIES)}
    best, rest = list(ranked[: sizes["best"]]), list(ranked[sizes["best"] :])
    cut = len(rest) - sizes["worst"]
    rest, worst = rest[:cut], rest[cut:]
    start = (len(rest) - sizes["median"]) // 2
    median = rest[start : start + sizes["median"]]
    rest = rest[:start] + rest[start + sizes["median"] :]
    lots = {index: hashlib.md5(names[index].encode(), usedforsecurity=False).digest() for index in rest}
    drawn = sorted(rest, key=lots.__getitem__)[: sizes["random"]]
    groups = {"best": best, "median": median, "worst": worst, "random": [index for index in rest if index in drawn]}
    return {group: groups[group] for group in GROUPS}


def _save_labels(labels: Values, palette: Sequence[Sequence[int]], path: Path) -> None:
    image = Image.fromarray(np.ascontiguousarray(labels))
    colours = [channel for colour in palette for channel in colour]
    image.putpalette(colours + [0] * (768 - len(colours)))
    image.save(path)
