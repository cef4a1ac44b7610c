"""The section on data: the contents of each split, the findings of the audit, and similar images across splits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from losslab.cards import SPLITS
from losslab.formats import format_percent, format_plural
from losslab.io.files import JsonObject
from losslab.reporting.components.pictures import encode_photo
from losslab.reporting.run.inputs import ReportInputs

MAX_PAIRS = 6
"""Pairs of similar images on a page."""
MAX_SIDE_PX = 320
"""Longer side of a picture of a pair; larger ones are shrunk."""


@dataclass(frozen=True)
class SplitCoverage:
    name: str
    cells: list[tuple[str, str]]
    """Percentage of the pixels and number of images that have the class, for each split."""


@dataclass(frozen=True)
class SimilarImages:
    caption: str
    pictures: list[tuple[str, str]]
    """Name and data URI of both images."""


def build_data_section(outs: ReportInputs) -> dict[str, Any]:
    """Build the section from audit.json, and from the arrays for the pictures of pairs."""
    audit = outs.audit
    names = list(audit["coverage"][SPLITS[0]])
    rows = [
        SplitCoverage(name, [_format_coverage(audit["coverage"][split][name]) for split in SPLITS]) for name in names
    ]
    pairs = audit["near_duplicates"]["pairs"]
    return {
        "settings": _describe_settings(audit["settings"]),
        "images": {split: format_plural(count, "image") for split, count in audit["images"].items()},
        "coverage": [row for row in rows if row.name != "void" or any(share != "0" for share, _ in row.cells)],
        "findings": audit["by_kind"],
        "pairs": [_build_pair(outs.prepared, pair) for pair in pairs[:MAX_PAIRS]],
        "pair_count": audit["near_duplicates"]["count"],
    }


def _describe_settings(how: JsonObject) -> str:
    """Describe prepare's settings in the names of params.yaml."""
    split = how["split"]
    settings = {"split": split["method"], "split seed": split["seed"], "val": split["val"], "test": split["test"]}
    if split["method"] == "kfold":
        settings |= {"fold": f"{split['fold']} of {split['folds']}"}
    settings |= {"fit": how["fit"], "audit": how["audit"]} | ({"limit": how["limit"]} if how["limit"] else {})
    return ", ".join(f"{key}: {value}" for key, value in settings.items())


def _format_coverage(covered: JsonObject) -> tuple[str, str]:
    return format_percent(covered["share"]), str(covered.get("images", ""))


def _build_pair(prepared: Path, pair: JsonObject) -> SimilarImages:
    pictures = []
    for end in (pair["first"], pair["second"]):
        pixels = np.load(prepared / end["split"] / "images.npy", mmap_mode="r")[end["index"]]
        image = Image.fromarray(np.asarray(pixels))
        image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
        pictures.append((f"{end['split']}/{end['image']}", encode_photo(image)))
    return SimilarImages(f"correlation {pair['correlation']:.3f}", pictures)
