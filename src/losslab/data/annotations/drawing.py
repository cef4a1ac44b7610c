"""Annotations of an image as one mask of numbers, and the masks of several annotators as one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from losslab.cards import IGNORE_INDEX, RawValue
from losslab.data.annotations.model import AnnotatedImage, LabelMap
from losslab.data.images.decode import DecodedImage, Pixels, UnusableFileError, Values, read_mask
from losslab.data.images.labels import is_stored_in_grey, pack_colours
from losslab.errors import InputError
from losslab.formats import format_list

UNDONE_BY = {6: 8, 8: 6}
"""The orientation tags whose turn another one undoes; each other undoes itself."""
NO_PIXEL = "shapes that cover no pixel"
CUT_OFF = "shapes cut off at the edge of the image"


@dataclass(frozen=True)
class ImageSize:
    """The size of an image file as stored, and its orientation tag."""

    width: int
    height: int
    orientation: int = 1

    @property
    def displayed(self) -> tuple[int, int]:
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def draw_mask(
    image: AnnotatedImage, size: ImageSize | None, numbers: Mapping[str, int], rest: int = 0
) -> tuple[Pixels, Counter[str]]:
    """Return the mask `[H, W]` of an image: the number of the label on top, void as 255, and `rest` elsewhere.

    Coordinates mean the image as displayed, unless only its size as stored is that of the annotation. The mask is one of
    the image as displayed where it is of another size than the stored one, which tells that it is; else of the stored one.

    Args:
        size: that of the image file; None if it cannot be read.
        numbers: the number of each label, 0 to 254.

    Also returns how many shapes are cut off, and how many cover nothing. Raises InputError if the annotation is for an image
    of another size.
    """
    if image.label_map is not None:
        return _draw_label_map(image.label_map, numbers), Counter()
    width, height = image.size or (size.displayed if size else (0, 0))
    if size is not None and (width, height) not in (size.displayed, (size.width, size.height)):
        raise InputError(
            f"{image.place}: is for an image of {width} x {height} pixels, but {image.names[0]} has {size.width} x {size.height}"
        )
    mask, found = np.full((height, width), rest, np.uint8), Counter[str]()
    for each in image.shapes:
        covered = each.shape.cover(height, width)
        np.copyto(mask, np.uint8(IGNORE_INDEX if each.label is None else numbers[each.label]), where=covered)
        found[NO_PIXEL] += not covered.any()
        found[CUT_OFF] += each.shape.exceeds(height, width)
    if size is not None and size.orientation > 1 and (width, height) == size.displayed == (size.width, size.height):
        mask = DecodedImage(mask, UNDONE_BY.get(size.orientation, size.orientation)).turn().pixels
    return mask, found


def _draw_label_map(label_map: LabelMap, numbers: Mapping[str, int]) -> Pixels:
    try:
        in_colours = label_map.in_colours and not (label_map.numbers and is_stored_in_grey(label_map.path))
        values = read_mask(label_map.path, in_colours)
    except UnusableFileError as error:
        raise InputError(f"{label_map.path}: {error}") from None
    labels = label_map.labels if in_colours or not label_map.numbers else label_map.numbers
    packed: Values = pack_colours(values) if in_colours else values
    present = np.unique(packed) if in_colours else np.flatnonzero(np.bincount(values.ravel()))
    raw: list[RawValue] = [
        (int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) if in_colours else int(value) for value in present
    ]
    if unknown := [str(list(value) if isinstance(value, tuple) else value) for value in raw if value not in labels]:
        raise InputError(f"{label_map.path}: holds {format_list(unknown)}, which its annotations do not name")
    known = [labels[value] for value in raw]
    table = np.array([IGNORE_INDEX if label is None else numbers[label] for label in known], np.uint8)
    return np.asarray(table[np.searchsorted(present, packed)])


def take_majority(masks: Sequence[Pixels], void: int = IGNORE_INDEX) -> tuple[Pixels, float]:
    """Return the value that more than half of the masks `[H, W]` have in a pixel, and the share of pixels without one, 0 to 1.

    These get the value `void`.

    >>> a, b, c = np.array([[1, 1, 1]], np.uint8), np.array([[1, 2, 0]], np.uint8), np.array([[2, 2, 3]], np.uint8)
    >>> take_majority([a, b, c])[0].tolist(), take_majority([a, b])[0].tolist()
    ([[1, 2, 255]], [[1, 255, 255]])
    """
    if len(masks) == 1:
        return masks[0], 0.0
    majority, decided = np.full_like(masks[0], void), np.zeros(masks[0].shape, np.bool_)
    for value in sorted({int(value) for mask in masks for value in np.unique(mask)}):
        votes = np.zeros(majority.shape, np.uint16)
        for mask in masks:
            votes += mask == value
        wins = 2 * votes > len(masks)
        majority[wins] = value
        decided |= wins
    return majority, 1 - float(decided.mean()) if decided.size else 0.0
