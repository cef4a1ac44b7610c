"""Test images as pictures: image, truth, prediction and errors; script/gallery.js enlarges them.

Each label map is in the page once, as a palette PNG that shows without a script and that the script reads the labels from.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from losslab.formats import format_score
from losslab.io.files import parse_number
from losslab.reporting.components.pictures import encode_labels, encode_mask, encode_photo
from losslab.reporting.run.outs import Line, ReportInputs

GROUPS = {"best": "Best", "median": "Median", "worst": "Worst", "random": "Random"}
ERROR_COLOUR = (230, 40, 60)
VOID_COLOUR = (0, 0, 0)
SIDES = (768, 640, 512, 448, 384, 320, 256, 192, 128, 96)
"""Pixels of a picture's longer side: the largest is taken with which all fit into MOST_BYTES."""
MOST_BYTES = 3_000_000
TRIED = 3
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class GalleryExample:
    name: str
    told: str
    """Its score and rank."""
    width: int
    height: int
    image: str
    truth: str
    prediction: str
    errors: str
    """Data URIs."""


def build_gallery(outs: ReportInputs, count: int) -> dict[str, list[GalleryExample]]:
    """Title of the group → its examples, as many of each group as `count` allows."""
    chosen = choose_rows(outs.examples, count)
    rows = [row for part in chosen.values() for row in part]
    examples = dict(zip([row["file"] for row in rows], _small_enough(outs, rows), strict=True))
    return {GROUPS.get(group, group): [examples[row["file"]] for row in part] for group, part in chosen.items()}


def choose_rows(rows: Sequence[Line], count: int) -> dict[str, list[Line]]:
    """Up to `count` examples, dealt to the groups in turn: the best first, the worst first among the worst."""
    ranked = {
        group: sorted(
            (row for row in rows if row["group"] == group),
            key=lambda row: -parse_number(row["rank"]) if row["group"] == "worst" else parse_number(row["rank"]),
        )
        for group in GROUPS
    }
    dealt = [row for turn in zip_longest(*ranked.values()) for row in turn if row is not None][:count]
    found = {group: [row for row in part if row in dealt] for group, part in ranked.items()}
    return {group: part for group, part in found.items() if part}


def find_errors(truth: Labels, prediction: Labels, ignore_index: int | None) -> npt.NDArray[np.bool_]:
    """Where the prediction is not the truth; void pixels are never wrong."""
    differs = np.not_equal(truth, prediction)
    return differs if ignore_index is None else differs & np.not_equal(truth, ignore_index)


def _small_enough(outs: ReportInputs, rows: Sequence[Line]) -> list[GalleryExample]:
    """At the largest of SIDES with which all fit, tried with a few first, for each try costs seconds."""
    few = rows[:: max(1, len(rows) // TRIED)]
    for side in SIDES:
        if side > SIDES[-1] and _bytes(_example(outs, row, side) for row in few) * len(rows) > MOST_BYTES * len(few):
            continue
        examples = [_example(outs, row, side) for row in rows]
        if _bytes(examples) <= MOST_BYTES:
            break
    return examples


def _bytes(examples: Iterable[GalleryExample]) -> int:
    return sum(len(uri) for one in examples for uri in (one.image, one.truth, one.prediction, one.errors))


def _example(outs: ReportInputs, row: Line, side: int) -> GalleryExample:
    model = outs.model
    image = _shrunk(outs.predictions / f"{row['file']}.image.png", side, Image.Resampling.LANCZOS)
    truth, prediction = (
        np.asarray(_shrunk(outs.predictions / f"{row['file']}.{kind}.png", side, Image.Resampling.NEAREST))
        for kind in ("truth", "prediction")
    )
    iou = parse_number(row["iou"])
    return GalleryExample(
        row["image"],
        f"mIoU {format_score(iou)}, rank {row['rank']} of {row['of']}",
        image.width,
        image.height,
        encode_photo(image.convert("RGB")),
        encode_labels(truth, model["palette"], VOID_COLOUR),
        encode_labels(prediction, model["palette"], VOID_COLOUR),
        encode_mask(find_errors(truth, prediction, model["ignore_index"]), ERROR_COLOUR),
    )


def _shrunk(path: Path, side: int, resampling: Image.Resampling) -> Image.Image:
    with Image.open(path) as image:
        longer = max(image.size)
        if longer <= side:
            return image.copy()
        size = (max(1, round(image.width * side / longer)), max(1, round(image.height * side / longer)))
        return image.resize(size, resampling)
