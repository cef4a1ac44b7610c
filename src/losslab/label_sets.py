"""Pictures of overlapping classes: a label, a name and a colour for each set of classes that a pixel may be of."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from losslab.cards import IGNORE_INDEX, NO_CLASS, SEVERAL, has_overlapping_labels

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_CLASSES_COMBINED = 6
"""Classes of which each set has a label; of more, all sets of several classes share one."""
NO_COLOUR, SEVERAL_COLOUR = (225, 225, 225), (40, 40, 40)
Colour = tuple[int, int, int]


def list_picture_labels(description: Mapping[str, Any]) -> tuple[list[str], list[Colour]]:
    """List names and colours of the labels that pictures have, by the classes and palette of a model.json.

    These are the classes, or the sets of overlapping ones.

    >>> list_picture_labels({"classes": ["a", "b"], "palette": [[0, 0, 0], [9, 9, 9]]})[0]
    ['a', 'b']
    >>> list_picture_labels({"labels": "overlapping", "classes": ["a", "b"], "palette": [[0, 0, 0], [100, 0, 0]]})
    (['none', 'a', 'b', 'a + b'], [(225, 225, 225), (0, 0, 0), (100, 0, 0), (50, 0, 0)])
    """
    classes, palette = list(description["classes"]), [(red, green, blue) for red, green, blue in description["palette"]]
    if not has_overlapping_labels(description):
        return classes, palette
    if len(classes) > MAX_CLASSES_COMBINED:
        return [NO_CLASS, *classes, SEVERAL], [NO_COLOUR, *palette, SEVERAL_COLOUR]
    sets = [[label for label in range(len(classes)) if bits >> label & 1] for bits in range(1 << len(classes))]
    names = [" + ".join(classes[label] for label in one) or NO_CLASS for one in sets]
    return names, [_mix([palette[label] for label in one]) for one in sets]


def combine_labels(
    planes: "npt.NDArray[np.uint8]", truth: "npt.NDArray[np.uint8] | None" = None
) -> "npt.NDArray[np.uint8]":
    """Turn labels of overlapping classes `[H, W, C]` into those of pictures `[H, W]`; 255 where all classes are void.

    Args:
        truth: for predicted labels, the true ones: a class is left out where it alone is void in them, since it is in their
            picture too, and nothing there is an error.

    >>> import numpy as np
    >>> combine_labels(np.array([[[0, 0], [1, 0], [1, 1], [255, 255]]], np.uint8)).tolist()
    [[0, 1, 3, 255]]
    """
    import numpy as np

    there, classes = planes == 1, planes.shape[-1]
    if truth is not None:
        is_void = truth == IGNORE_INDEX
        there = there & (~is_void | is_void.all(axis=-1, keepdims=True))
    if classes > MAX_CLASSES_COMBINED:
        counts = there.sum(axis=-1)
        labels = np.where(counts == 0, 0, np.where(counts == 1, there.argmax(axis=-1) + 1, classes + 1))
    else:
        labels = (there << np.arange(classes)).sum(axis=-1)
    return np.where((planes == IGNORE_INDEX).all(axis=-1), IGNORE_INDEX, labels).astype(np.uint8)


def _mix(colours: Sequence[Colour]) -> Colour:
    if not colours:
        return NO_COLOUR
    red, green, blue = (sum(channel) // len(colours) for channel in zip(*colours, strict=True))
    return red, green, blue
