"""All masks of a dataset, ranked by how much of them nets contradict that never saw them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from losslab.data.images.fit import Fit, compute_placement
from losslab.formats import format_list, format_plural, format_score
from losslab.suspects.checking import Fold
from losslab.suspects.regions import SuspectRegion, find_regions
from losslab.suspects.scores import MaskScores, score_mask

POOR_MIOU = 0.5
"""Mean IoU of a fold below which its net contradicts right masks as well as wrong ones."""
UNEQUAL_MIOU = 0.15
"""Difference of two folds' mean IoU from which on their images do not compare."""
FEW_IMAGES = 50
OUTLYING, MIN_DOUBT = 5.0, 0.05
"""Robust standard deviations above the median from which on an image stands out, and the doubt that it must have."""
SD_PER_MAD = 1.4826
"""Standard deviation of a normal distribution with a median absolute deviation of 1."""


@dataclass(frozen=True, kw_only=True)
class SuspectImage:
    """An image, how doubtful its mask is, and where."""

    name: str
    fold: Fold
    index: int
    """Its place among the images of its fold."""
    scores: MaskScores
    regions: list[SuspectRegion]
    """Its contradicted regions, with boxes in pixels of the image's file."""
    stands_out: bool = False


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The masks of a dataset, the most doubtful first; those that are void everywhere come last."""

    dataset: str
    folds: list[Fold]
    images: list[SuspectImage]
    classes: list[str]
    palette: list[list[int]]
    warnings: list[str]

    @property
    def number_standing_out(self) -> int:
        return sum(image.stands_out for image in self.images)


def survey_masks(dataset: str, folds: Sequence[Fold], step: Callable[[], object] = lambda: None) -> Survey:
    """Check every mask against the net of its fold; `step` is called after each image."""
    description = folds[0].description
    classes, fit = description["classes"], description["fit"]
    pixels = np.sum([fold.prepared.describe()["pixels"]["test"] for fold in folds], axis=0)
    images = []
    for fold in folds:
        for index, row in enumerate(fold.rows):
            checked = fold.check(index)
            size = int(row["height"]), int(row["width"])
            regions = [place_region(region, size, checked.given.shape[0], fit) for region in find_regions(checked)]
            scores = score_mask(checked, int(pixels.argmax()))
            images.append(SuspectImage(name=row["image"], fold=fold, index=index, scores=scores, regions=regions))
            step()
    return Survey(
        dataset=dataset,
        folds=list(folds),
        images=rank_images(images),
        classes=classes,
        palette=description["palette"],
        warnings=find_warnings(folds, images),
    )


def rank_images(images: Sequence[SuspectImage]) -> list[SuspectImage]:
    """Rank images by doubt, and mark those that stand out: by OUTLYING robust standard deviations above the median."""
    known = np.array([each.scores.doubt for each in images if not np.isnan(each.scores.doubt)])
    middle = np.median(known) if known.size else 0.0
    limit = middle + OUTLYING * SD_PER_MAD * (np.median(np.abs(known - middle)) if known.size else 0.0)
    marked = [replace(each, stands_out=bool(each.scores.doubt > max(limit, MIN_DOUBT))) for each in images]
    return sorted(marked, key=lambda each: (np.isnan(each.scores.doubt), -each.scores.doubt, each.name))


def find_warnings(folds: Sequence[Fold], images: Sequence[SuspectImage]) -> list[str]:
    """Say what makes the ranking less trustworthy, a sentence each."""
    warnings = []
    mious = {fold.number: fold.miou for fold in folds}
    poor = [number for number, miou in mious.items() if miou is None or miou < POOR_MIOU]
    shown = ", ".join(f"fold {number} {format_score(miou)}" for number, miou in mious.items())
    if len(poor) == len(folds):
        warnings.append(
            f"All nets are poor (mIoU on images they never saw: {shown}), so the ranking means little: train longer, or try "
            "another net, with -S"
        )
    elif poor:
        names = format_list([str(number) for number in poor])
        warnings.append(
            f"What is said of images of fold {names} means little, as the nets there are poor (mIoU: {shown})"
        )
    known = [miou for miou in mious.values() if miou is not None]
    if not poor and max(known) - min(known) > UNEQUAL_MIOU:
        warnings.append(f"The nets differ much in quality (mIoU: {shown}), so images of different folds hardly compare")
    for fold in folds:
        if unseen := fold.list_unseen_classes():
            warnings.append(
                f"The net of fold {fold.number} never saw {format_list(unseen)} in training, so it contradicts all masks of it"
            )
    if len(images) < FEW_IMAGES:
        warnings.append(
            f"There are {format_plural(len(images), 'image')} only: nets that learn from so few are often wrong themselves"
        )
    if void := [each.name for each in images if np.isnan(each.scores.doubt)]:
        warnings.append(f"Void everywhere, so not ranked: {format_list(void)}")
    return warnings


def explain_image(image: SuspectImage, classes: Sequence[str]) -> str:
    """Say in words what speaks against a mask: its largest regions."""
    if np.isnan(image.scores.doubt):
        return "void everywhere"
    if not image.regions:
        return "no region is contradicted"
    parts = [
        f"{classes[one.given]} in the mask, {classes[one.claimed]} by the net: {one.pixels:,} px"
        for one in image.regions[:2]
    ]
    more = len(image.regions) - len(parts)
    return "; ".join(parts) + (f"; {format_plural(more, 'smaller region')}" if more else "")


def place_region(region: SuspectRegion, size: tuple[int, int], side: int, fit: Fit) -> SuspectRegion:
    """Return a region with its box in pixels of the file, of this height and width."""
    if fit == "tile":
        return region
    height, width = size
    place = compute_placement(height, width, side, fit)
    top, bottom = (
        min(max(round((edge - place.top) * height / place.height), 0), height)
        for edge in (region.top, region.top + region.height)
    )
    left, right = (
        min(max(round((edge - place.left) * width / place.width), 0), width)
        for edge in (region.left, region.left + region.width)
    )
    scale = height * width / (place.height * place.width)
    return replace(
        region, top=top, left=left, height=bottom - top, width=right - left, pixels=round(region.pixels * scale)
    )
