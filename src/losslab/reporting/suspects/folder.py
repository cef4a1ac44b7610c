"""Folder of a survey: a gallery of the most doubtful masks, and all scores as tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from losslab.io.files import Row, atomic_write, write_csv, write_text
from losslab.reporting.suspects.page import build_survey_page
from losslab.suspects.survey import Survey, SuspectImage, explain_image

IMAGE_COLUMNS = ("rank", "image", "fold", "stands_out", "doubt", "softmin", "dice", "why", "mask")
REGION_COLUMNS = ("rank", "image", "given", "claimed", "pixels", "left", "top", "width", "height", "confidence")


def write_survey(survey: Survey, masks: Mapping[str, Path], remedy: Sequence[str], folder: Path) -> None:
    """Write index.html, images.csv and regions.csv, and replace the folder: all, or nothing.

    Args:
        masks: the file of each mask that is on this disk, by the name of its image.
        remedy: how to correct a mask, a step each.
    """
    images = describe_images(survey, masks)
    with atomic_write(folder) as partial:
        partial.mkdir()
        write_text(partial / "index.html", build_survey_page(survey, masks, remedy))
        write_csv(partial / "images.csv", [{key: row[key] for key in IMAGE_COLUMNS} for row in images])
        write_csv(partial / "regions.csv", _list_regions(images))


def describe_images(survey: Survey, masks: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Describe all images as plain data, the most doubtful first, each with its regions."""
    return [
        _describe_image(survey, image, rank, masks.get(image.name)) for rank, image in enumerate(survey.images, start=1)
    ]


def _describe_image(survey: Survey, image: SuspectImage, rank: int, mask: Path | None) -> dict[str, Any]:
    scores = image.scores
    return {
        "rank": rank,
        "image": image.name,
        "fold": image.fold.number,
        "stands_out": image.stands_out,
        **{key: None if math.isnan(value) else round(value, 6) for key, value in asdict(scores).items()},
        "why": explain_image(image, survey.classes),
        "mask": None if mask is None else mask.as_posix(),
        "regions": [
            {
                "given": survey.classes[one.given],
                "claimed": survey.classes[one.claimed],
                **{key: getattr(one, key) for key in ("pixels", "left", "top", "width", "height")},
                "confidence": round(one.confidence, 4),
            }
            for one in image.regions
        ],
    }


def _list_regions(images: Sequence[Mapping[str, Any]]) -> list[Row]:
    """List the regions of all images, the largest first."""
    regions = [{"image": image["image"], **region} for image in images for region in image["regions"]]
    regions.sort(key=lambda region: (-region["pixels"], region["image"]))
    if not regions:
        return [dict.fromkeys(REGION_COLUMNS, "")]
    return [
        {key: {"rank": rank, **region}[key] for key in REGION_COLUMNS} for rank, region in enumerate(regions, start=1)
    ]
