"""What the audit found, for the page: what is in each split, what is wrong with it, and pairs that look alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from losslab.cards import SPLITS
from losslab.io.files import JsonObject
from losslab.reporting.components.pictures import encode_photo
from losslab.reporting.run.outs import ReportInputs

MOST_PAIRS = 6
LARGEST_SIDE = 320
"""Pixels; larger pictures of a pair are shrunk for the page."""


@dataclass(frozen=True)
class SplitCoverage:
    name: str
    cells: list[tuple[str, str]]
    """Share of the pixels, and number of images that have it, of each split."""


@dataclass(frozen=True)
class SimilarImages:
    caption: str
    pictures: list[tuple[str, str]]
    """Name and data URI of either image."""


def build_data_section(outs: ReportInputs) -> dict[str, Any]:
    """From audit.json, and the arrays for the pictures of pairs."""
    audit = outs.audit
    names = list(audit["coverage"][SPLITS[0]])
    rows = [SplitCoverage(name, [_cell(audit["coverage"][split][name]) for split in SPLITS]) for name in names]
    pairs = audit["near_duplicates"]["pairs"]
    return {
        "settings": _settings(audit["settings"]),
        "images": audit["images"],
        "coverage": [row for row in rows if row.name != "void" or any(share != "0" for share, _ in row.cells)],
        "findings": audit["by_kind"],
        "alike": [_alike(outs.prepared, pair) for pair in pairs[:MOST_PAIRS]],
        "alike_in_all": audit["near_duplicates"]["count"],
    }


def _settings(how: JsonObject) -> str:
    """What prepare was asked for, as params.yaml has it."""
    split = how["split"]
    told = {"split": split["method"], "split seed": split["seed"], "val": split["val"], "test": split["test"]}
    if split["method"] == "kfold":
        told |= {"fold": f"{split['fold']} of {split['folds']}"}
    told |= {"fit": how["fit"], "audit": how["audit"]} | ({"limit": how["limit"]} if how["limit"] else {})
    return ", ".join(f"{key}: {value}" for key, value in told.items())


def _cell(covered: JsonObject) -> tuple[str, str]:
    share = 100 * covered["share"]
    shown = f"{share:.1f}" if share >= 0.1 else f"{share:.2g}"
    return shown, str(covered["images"]) if "images" in covered else ""


def _alike(prepared: Path, pair: JsonObject) -> SimilarImages:
    ends = [pair["first"], pair["second"]]
    pictures = []
    for end in ends:
        pixels = np.load(prepared / end["split"] / "images.npy", mmap_mode="r")[end["index"]]
        pictures.append((f"{end['split']}/{end['image']}", encode_photo(_small(Image.fromarray(np.asarray(pixels))))))
    return SimilarImages(f"correlation {pair['correlation']:.3f}", pictures)


def _small(image: Image.Image) -> Image.Image:
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    return image
