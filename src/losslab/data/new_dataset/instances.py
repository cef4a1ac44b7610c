"""Masks of instances: each object has a value of its own, so that values are no classes."""

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
from scipy import ndimage

from losslab.cards import RawValue
from losslab.data.images.decode import read_mask
from losslab.data.images.labels import pack_colours
from losslab.data.new_dataset.masks import FULL, MaskContent
from losslab.runtime.parallel import parallel_map

MIN_VALUES = 5
"""Fewest values besides 0 that are taken for objects; fewer may well be classes."""
MIN_VALUES_COUNTED = 3
"""Fewest values where masks hold 1, 1 and 2, 1 to 3 and so on, but never 2 without 1, and all are in one piece."""
MIN_PIXELS = 4
"""Mean pixels of a value in a mask below which it is a shade, not an object."""
MIN_SHARE_OF_OWN = 0.5
"""Share of values that occur in one mask only, where values are objects' numbers in all masks."""
MIN_FILLED, MIN_SHARE_COUNTED = 0.8, 0.9
"""Share of the numbers up to a mask's largest that it holds, and of such masks, where each mask counts from 1."""
MIN_IN_ONE_PIECE_OF_OWN, MIN_IN_ONE_PIECE_COUNTED = 0.5, 0.8
"""Share of objects in one piece: less where parts of the scene, such as sky, have values too, as in COCO panoptic."""
MAX_MASKS_READ = 32


def hold_instances(masks: Sequence[MaskContent]) -> bool:
    """Tell whether each object seems to have a value of its own, and is in one piece.

    Either each value is in one mask only, or each mask counts its objects from 1.
    """
    filled = [(mask, objects) for mask in masks if (objects := _list_objects(mask))]
    masks_by_value = Counter(value for _, objects in filled for value in objects)
    mean_pixels = sum(mask.pixels[value] for mask, objects in filled for value in objects) / max(
        masks_by_value.total(), 1
    )
    lengths = {len(objects) for _, objects in filled}
    is_nested = {tuple(objects) for _, objects in filled} == {
        tuple(range(1, 1 + most)) for most in range(1, 1 + len(lengths))
    }
    fewest = MIN_VALUES_COUNTED if is_nested else MIN_VALUES
    if len(filled) < 2 or len(masks_by_value) < fewest or mean_pixels < MIN_PIXELS:
        return False
    share_of_own = sum(count == 1 for count in masks_by_value.values()) / len(masks_by_value)
    counted = [_is_counted(objects) for _, objects in filled]
    if len(masks_by_value) < MIN_VALUES:
        least = 1.0
    elif share_of_own >= MIN_SHARE_OF_OWN:
        least = MIN_IN_ONE_PIECE_OF_OWN
    elif len(lengths) > 1 and sum(counted) >= MIN_SHARE_COUNTED * len(filled):
        least = MIN_IN_ONE_PIECE_COUNTED
    else:
        return False
    sample = [mask for mask, _ in filled[:: -(-len(filled) // MAX_MASKS_READ)]]
    pieces = parallel_map(_find_pieces, sample)
    in_one = [is_one for mask in pieces for is_one in mask]
    return sum(in_one) >= least * len(in_one)


def _list_objects(mask: MaskContent) -> list[RawValue]:
    """List the values of a mask that may be objects: not 0, nor 255 where it is void or a border."""
    void = FULL if FULL - 1 not in mask.pixels else None
    return [value for value in mask.pixels if value not in (0, (0, 0, 0), void)]


def _is_counted(values: Sequence[RawValue]) -> bool:
    numbers = [value for value in values if isinstance(value, int)]
    return len(numbers) == len(values) and len(numbers) >= MIN_FILLED * max(numbers)


def _find_pieces(mask: MaskContent) -> list[bool]:
    """Tell for each value besides 0 whether it is in one piece."""
    values = read_mask(mask.path, mask.in_colours)
    numbers = pack_colours(values) if mask.in_colours else values
    present, indices = np.unique(numbers, return_inverse=True)
    indices = indices.reshape(numbers.shape)
    return [
        cv2.connectedComponents((indices[place] == index).astype(np.uint8))[0] == 2  # the background is the other
        for index, place in enumerate(ndimage.find_objects(indices + 1))
        if present[index] != 0 and place is not None
    ]
