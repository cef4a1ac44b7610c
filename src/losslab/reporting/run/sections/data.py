"""The section on data: the contents of each split, the findings of the audit, and similar images across splits."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from losslab.bands import read_bands
from losslab.cards import SPLITS
from losslab.formats import format_percent, format_plural, format_score
from losslab.io.files import JsonObject, read_csv, read_json
from losslab.io.windows import Values
from losslab.reporting.components.pictures import encode_photo
from losslab.reporting.run.inputs import ReportInputs

MAX_PAIRS = 6
"""Pairs of similar images on a page."""
MAX_SIDE_PX = 320
"""Longer side of a picture of a pair; larger ones are shrunk."""
MAX_READ_PX = 2048
"""Longer side up to which all pixels of a picture are read."""


def build_data_section(outs: ReportInputs) -> dict[str, Any]:
    """Build the section from audit.json, and from the arrays for the pictures of pairs."""
    audit = outs.audit
    coverage = {
        name: [_format_coverage(audit["coverage"][split][name]) for split in SPLITS]
        for name in audit["coverage"][SPLITS[0]]
    }
    if all(share == "0" for share, _ in coverage.get("void", [])):
        coverage.pop("void", None)
    pairs = audit["near_duplicates"]["pairs"]
    return {
        "settings": _describe_settings(audit["settings"]),
        "images": {split: format_plural(count, "image") for split, count in audit["images"].items()},
        "coverage": coverage,
        "ceiling": {name: format_score(iou) for name, iou in audit.get("ceiling", {}).items()},
        "size": audit["settings"]["size"],
        "findings": audit["by_kind"],
        "pairs": [_build_pair(outs.prepared, pair) for pair in pairs[:MAX_PAIRS]],
        "pair_count": audit["near_duplicates"]["count"],
    }


def _describe_settings(how: JsonObject) -> str:
    """Describe prepare's settings in the names of params.yaml."""
    split = how["split"]
    settings = {"split": split["method"], "split seed": split["seed"], "val": split["val"], "test": split["test"]}
    if split["method"] in ("kfold", "crossval"):
        settings |= {"fold": f"{split['fold']} of {split['folds']}"}
    settings |= {"fit": how["fit"], "audit": how["audit"]} | ({"limit": how["limit"]} if how["limit"] else {})
    return ", ".join(f"{key}: {value}" for key, value in settings.items())


def _format_coverage(covered: JsonObject) -> tuple[str, str]:
    return format_percent(covered["share"]), str(covered.get("images", ""))


def _build_pair(prepared: Path, pair: JsonObject) -> tuple[str, list[tuple[str, str]]]:
    """Build the caption of a pair, and name and data URI of both images."""
    pictures = []
    for end in (pair["first"], pair["second"]):
        image = Image.fromarray(_read_picture(prepared, end["split"], end["index"]))
        image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
        pictures.append((f"{end['split']}/{end['image']}", encode_photo(image)))
    return f"correlation {pair['correlation']:.3f}", pictures


def _read_picture(prepared: Path, split: str, index: int) -> Values:
    """Read a prepared image as a picture, of a large one some pixels at even distance."""
    described, images = read_json(prepared / "dataset.json"), np.load(prepared / split / "images.npy", mmap_mode="r")
    if described["fit"] == "tile":
        rows = [row for row in read_csv(prepared / "index.csv") if row["split"] == split]
        sizes = [(int(row["height"]), int(row["width"])) for row in rows[: index + 1]]
        start, (height, width) = sum(map(math.prod, sizes[:-1])), sizes[-1]
        image = images[start : start + height * width].reshape(height, width, -1)
    else:
        image = images[index]
    step = -(-max(image.shape) // MAX_READ_PX)
    return read_bands(described).draw(np.asarray(image[::step, ::step]))
