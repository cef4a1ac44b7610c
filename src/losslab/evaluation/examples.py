"""Images that are kept as pictures beside their truth and prediction: the best, the worst, those between, and any."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from losslab.evaluation.scoring import SplitResult
from losslab.evaluation.targets import Targets
from losslab.io.files import Row, atomic_write, write_csv
from losslab.metrics.images import Labels

GROUPS = ("best", "median", "worst", "random")
FIRST = ("best", "worst", "median", "random")
"""Which group gets one more where images cannot be shared out evenly."""
LONGEST = 1024
"""Pixels of a picture's side."""


def write_examples(
    result: SplitResult, truths: Targets, split: str, palette: Sequence[Sequence[int]], count: int, folder: Path
) -> None:
    """Write up to `count` images as `NAME.image.png`, `NAME.truth.png`, `NAME.prediction.png`, and their ranks in `examples.csv`.

    Label maps are palette PNGs in the dataset's colours, void black; what is larger than 1024 pixels is shrunk.

    Args:
        result: of a whole split, with details.
    """
    if result.details is None:
        raise ValueError("only pixels were scored; evaluate with tolerances")
    predictions = result.details.predictions
    miou = result.pixels.compute_per_image()["miou"].tolist()
    ranked = sorted((index for index in range(len(miou)) if miou[index] == miou[index]), key=lambda i: (-miou[i], i))
    rank_of = {index: rank for rank, index in enumerate(ranked, start=1)}
    with atomic_write(folder) as partial:
        partial.mkdir()
        rows: list[Row] = []
        for group, indices in choose_examples(ranked, result.names, count).items():
            for index in indices:
                name = f"{split}-{index:05d}"
                (truth,) = truths.masks([index])
                Image.fromarray(_shrunk(truths.image(index), cv2.INTER_AREA)).save(partial / f"{name}.image.png")
                _save_labels(truth, palette, partial / f"{name}.truth.png")
                _save_labels(predictions[index], palette, partial / f"{name}.prediction.png")
                row: dict[str, Any] = {"file": name, "image": result.names[index], "group": group}
                rows.append(row | {"rank": rank_of[index], "of": len(ranked), "iou": round(miou[index], 6)})
        write_csv(partial / "examples.csv", rows)


def choose_examples(ranked: Sequence[int], names: Sequence[str], count: int) -> dict[str, list[int]]:
    """Indices of each group, of `ranked` ones (the best first): in each as many, in the order of their rank; none twice.

    The random ones are drawn by name, so that they are the same whatever the net.
    """
    count = min(count, len(ranked))
    sizes = {group: (count + len(FIRST) - 1 - place) // len(FIRST) for place, group in enumerate(FIRST)}
    best, rest = list(ranked[: sizes["best"]]), list(ranked[sizes["best"] :])
    worst = rest[len(rest) - sizes["worst"] :]
    rest = rest[: len(rest) - sizes["worst"]]
    start = (len(rest) - sizes["median"]) // 2
    median = rest[start : start + sizes["median"]]
    rest = rest[:start] + rest[start + sizes["median"] :]
    drawn = set(sorted(rest, key=lambda index: _lot(names[index]))[: sizes["random"]])
    groups = {"best": best, "median": median, "worst": worst, "random": [index for index in rest if index in drawn]}
    return {group: groups[group] for group in GROUPS}


def _lot(name: str) -> bytes:
    return hashlib.md5(name.encode(), usedforsecurity=False).digest()


def _shrunk(pixels: Labels, how: int) -> Labels:
    height, width = pixels.shape[:2]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def _save_labels(labels: Labels, palette: Sequence[Sequence[int]], path: Path) -> None:
    image = Image.fromarray(np.ascontiguousarray(_shrunk(labels, cv2.INTER_NEAREST_EXACT)))
    colours = [channel for colour in palette for channel in colour]
    image.putpalette(colours + [0] * (768 - len(colours)))
    image.save(path)
