"""The masks of several annotators as one: what most say, and void where there is no majority."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from losslab.cards import RawValue
from losslab.data.annotations.drawing import take_majority
from losslab.data.images.decode import Pixels, UnusableFileError, read_mask
from losslab.data.new_dataset.annotated import list_annotators
from losslab.data.new_dataset.classes import CUSTOMARY_VOID
from losslab.data.new_dataset.masks import map_files, read_masks
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.data.new_dataset.pairs import FilePairs, find_pairs
from losslab.errors import InputError


@dataclass(frozen=True, kw_only=True)
class MergedMasks:
    pairs: FilePairs
    void: list[RawValue]
    """Void values: the given ones, and that of pixels without a majority."""
    annotators: Sequence[str]
    fewer_votes: int
    """Images that not all annotators annotated."""
    disputed: float
    """Share of all pixels without a majority, 0 to 1."""


def merge_masks(options: NewDatasetOptions, folder: Path, pattern: re.Pattern[str] | None = None) -> MergedMasks:
    """Write the majority of each image's masks into a folder.

    Pixels without a strict majority get 255, or the highest value that no mask has where 255 is an object. Raises InputError
    for masks in colours or above 255, and for masks of one image that differ in size.
    """
    assert options.masks is not None
    sources = list_annotators(options.masks)
    pairs = [find_pairs(options.images, source, pattern) for source in sources]
    masks_by_image: dict[Path, list[Path]] = {}
    names: dict[Path, str] = {}
    for each in pairs:
        for name, image in each.images.items():
            names.setdefault(image, name)
            masks_by_image.setdefault(image, []).append(each.masks[name])
    contents, _ = read_masks([mask for masks in masks_by_image.values() for mask in masks])
    values = {value for content in contents for value in content.pixels}
    if bad := next(
        (each.path for each in contents if each.in_colours or max(map(_to_number, each.pixels)) > 255), None
    ):
        raise InputError(f"{bad}: --annotators takes masks of numbers up to 255; this one is in colours, or of 16 bits")
    disagreed = _choose_void({_to_number(value) for value in values}, options)

    def merge(image: Path) -> float:
        masks = [_read(path) for path in masks_by_image[image]]
        if len({mask.shape for mask in masks}) > 1:
            raise InputError(f"{masks_by_image[image][1]}: differs in size from {masks_by_image[image][0]}")
        majority, disputed = take_majority(masks, disagreed)
        path = targets[names[image]]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(majority).save(path)
        return disputed

    targets = {name: folder / f"{name}.png" for name in names.values()}
    disputed = map_files(merge, masks_by_image, "annotators")
    alone = set.intersection(*(set(each.images_alone) for each in pairs))
    merged = replace(
        pairs[0],
        images={name: image for image, name in names.items()},
        masks=targets,
        suffix="",
        images_alone=sorted(alone),
        masks_alone=[
            f"{source.name}/{file}" for source, each in zip(sources, pairs, strict=True) for file in each.masks_alone
        ],
        doubles=sorted({file for each in pairs for file in each.doubles}),
    )
    return MergedMasks(
        pairs=merged,
        void=list(dict.fromkeys([*(options.void or []), disagreed])),
        annotators=[source.name for source in sources],
        fewer_votes=sum(len(masks) < len(sources) for masks in masks_by_image.values()),
        disputed=sum(disputed) / len(disputed),
    )


def _to_number(value: RawValue) -> int:
    return value if isinstance(value, int) else 0


def _choose_void(values: set[int], options: NewDatasetOptions) -> int:
    """Choose a value for pixels without a majority: 255, unless it is the object of masks of two values, or of a class."""
    of_classes = {value for values in options.values or () for value in values}
    is_object = CUSTOMARY_VOID in of_classes or (len(values) < 3 and not options.values) or options.foreground
    is_object |= options.void is not None and CUSTOMARY_VOID not in options.void
    if CUSTOMARY_VOID not in values or not is_object or CUSTOMARY_VOID in (options.void or ()):
        return CUSTOMARY_VOID
    return max(set(range(256)) - values - {value for value in of_classes if isinstance(value, int)})


def _read(path: Path) -> Pixels:
    try:
        return np.asarray(read_mask(path, in_colours=False), np.uint8)
    except UnusableFileError as error:
        raise InputError(f"{path}: {error}") from None
