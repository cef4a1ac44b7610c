"""Test images as pictures; gallery.js enlarges them, and reads the labels from palette PNGs, which show without a script too."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import numpy.typing as npt
from PIL import Image

from losslab.formats import format_score
from losslab.io.files import parse_number
from losslab.reporting.components.pictures import encode_labels, encode_mask, encode_photo, read_shrunk
from losslab.reporting.run.inputs import Line, ReportInputs

GROUPS = {"best": "Best", "median": "Median", "worst": "Worst", "random": "Random"}
ERROR_COLOUR = (230, 40, 60)
VOID_COLOUR = (0, 0, 0)
SIDES_PX = (768, 640, 512, 448, 384, 320, 256, 192, 128, 96)
"""Choices for the longer side of the pictures; they take the largest with which all fit into MAX_BYTES."""
MAX_BYTES = 3_000_000
TRIAL_EXAMPLES = 3
"""Examples on which a size is tried before all are encoded."""
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class GalleryExample:
    """A test image; `image`, `truth`, `prediction` and `errors` are pictures as data URIs."""

    name: str
    score: str
    """Score and rank, in words."""
    width: int
    height: int
    image: str
    truth: str
    prediction: str
    errors: str


def build_gallery(outs: ReportInputs, count: int) -> dict[str, list[GalleryExample]]:
    """Build title of the group → its examples, with `count` examples in all groups together."""
    chosen = choose_rows(outs.examples, count)
    rows = [row for part in chosen.values() for row in part]
    examples = dict(zip([row["file"] for row in rows], _build_examples(outs, rows), strict=True))
    return {GROUPS.get(group, group): [examples[row["file"]] for row in part] for group, part in chosen.items()}


def choose_rows(rows: Sequence[Line], count: int) -> dict[str, list[Line]]:
    """Choose up to `count` examples, from each group in turn; the best and the worst come first in their groups."""
    ranked = {
        group: sorted(
            (row for row in rows if row["group"] == group),
            key=lambda row: -parse_number(row["rank"]) if row["group"] == "worst" else parse_number(row["rank"]),
        )
        for group in GROUPS
    }
    dealt = [row for turn in zip_longest(*ranked.values()) for row in turn if row is not None][:count]
    chosen = {group: [row for row in part if row in dealt] for group, part in ranked.items()}
    return {group: part for group, part in chosen.items() if part}


def find_errors(truth: Labels, prediction: Labels, ignore_index: int | None) -> npt.NDArray[np.bool_]:
    """Return a mask of the pixels whose prediction is not the truth; void pixels are never wrong."""
    differs = np.not_equal(truth, prediction)
    return differs if ignore_index is None else differs & np.not_equal(truth, ignore_index)


def _build_examples(outs: ReportInputs, rows: Sequence[Line]) -> list[GalleryExample]:
    """Build the examples at the largest of SIDES_PX with which all fit; a few are tried first, since each try takes seconds."""
    few = rows[:: max(1, len(rows) // TRIAL_EXAMPLES)]
    for side in SIDES_PX:
        trial = (_build_example(outs, row, side) for row in few)
        if side > SIDES_PX[-1] and _count_bytes(trial) * len(rows) > MAX_BYTES * len(few):
            continue
        examples = [_build_example(outs, row, side) for row in rows]
        if _count_bytes(examples) <= MAX_BYTES:
            break
    return examples


def _count_bytes(examples: Iterable[GalleryExample]) -> int:
    return sum(len(uri) for one in examples for uri in (one.image, one.truth, one.prediction, one.errors))


def _build_example(outs: ReportInputs, row: Line, side: int) -> GalleryExample:
    palette = outs.picture_labels[1]
    image = read_shrunk(outs.predictions / f"{row['file']}.image.png", side, Image.Resampling.LANCZOS)
    truth, prediction = (
        np.asarray(read_shrunk(outs.predictions / f"{row['file']}.{kind}.png", side, Image.Resampling.NEAREST))
        for kind in ("truth", "prediction")
    )
    return GalleryExample(
        name=row["image"],
        score=f"mIoU {format_score(parse_number(row['iou']))}, rank {row['rank']} of {row['of']}",
        width=image.width,
        height=image.height,
        image=encode_photo(image.convert("RGB")),
        truth=encode_labels(truth, palette, VOID_COLOUR),
        prediction=encode_labels(prediction, palette, VOID_COLOUR),
        errors=encode_mask(find_errors(truth, prediction, outs.model["ignore_index"]), ERROR_COLOUR),
    )
