"""Drawn lesions of which some masks are wrong, in four ways that people's masks are: what `losslab datasets doubt` should find."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from losslab.data.download.synthetic.lesions import HAIR, LESION, SKIN, draw_lesion
from losslab.data.download.synthetic.stream import RandomStream

KINDS = ("shifted", "missing", "swapped", "sloppy")
SHARE = 0.1
"""Share of the masks that are wrong, equally many of each kind."""
SHIFT = (0.10, 0.20)
"""How far a mask is shifted, in sides of the image."""
SLOPPY = (0.04, 0.07)
"""How far the border of a sloppy mask is off, in sides of the image."""
CORNERS = 5
"""Corners of a lesion that is drawn as a polygon."""
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DrawnImage:
    image: Pixels
    """RGB, `[side, side, 3]`."""
    mask: Pixels
    """The mask that the dataset has, `[side, side]`."""
    error: str | None
    """How the mask is wrong; None: it is right."""
    overlap: float
    """IoU of the lesion in this mask with the true one."""


def draw_images(seed: int, count: int, side: int) -> list[DrawnImage]:
    """Draw images, and spoil some of their masks: which, and how, follows from the seed."""
    drawn = [draw_lesion(RandomStream(seed, number), side) for number in range(count)]
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)[: round(SHARE * count)].tolist()
    errors = {number: KINDS[place % len(KINDS)] for place, number in enumerate(order)}
    masks = [mask for _, mask in drawn]
    images = []
    for number, (image, mask) in enumerate(drawn):
        kind = errors.get(number)
        spoilt = mask if kind is None else spoil_mask(kind, number, masks, rng)
        images.append(DrawnImage(image, spoilt, kind, measure_overlap(mask, spoilt)))
    return images


def spoil_mask(kind: str, number: int, masks: list[Pixels], rng: np.random.Generator) -> Pixels:
    """Make a wrong mask of the right one; hairs stay where they are unless the whole mask moves."""
    mask, side = masks[number], len(masks[number])
    if kind == "missing":
        return np.where(mask == LESION, SKIN, mask).astype(np.uint8)
    if kind == "swapped":
        other = int(rng.integers(len(masks) - 1))
        return masks[other + (other >= number)]
    if kind == "shifted":
        angle, distance = rng.uniform(0, 2 * math.pi), rng.uniform(*SHIFT) * side
        move = np.array([[1, 0, round(distance * math.cos(angle))], [0, 1, round(distance * math.sin(angle))]], float)
        return np.asarray(cv2.warpAffine(mask, move, (side, side), flags=cv2.INTER_NEAREST), np.uint8)
    lesion = _redraw_lesion((mask == LESION).astype(np.uint8), rng)
    return np.where(mask == HAIR, HAIR, lesion).astype(np.uint8)


def _redraw_lesion(lesion: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw a lesion too large, too small, or as a coarse polygon; hairs across it are filled first."""
    side = len(lesion)
    lesion = np.asarray(cv2.morphologyEx(lesion, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    way, width = int(rng.integers(3)), rng.uniform(*SLOPPY) * side
    if way < 2:
        size = 2 * round(width) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        return np.asarray((cv2.dilate if way == 0 else cv2.erode)(lesion, disc), np.uint8)
    contours, _ = cv2.findContours(lesion, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    border = max(contours, key=cv2.contourArea)[:, 0]
    places = (np.arange(CORNERS) + rng.uniform()) * len(border) / CORNERS
    corners = border[places.astype(int) % len(border)] + rng.uniform(-width, width, (CORNERS, 2))
    polygon = np.zeros_like(lesion)
    cv2.fillPoly(polygon, [corners.round().astype(np.int32)], LESION)
    return polygon


def measure_overlap(one: Pixels, other: Pixels) -> float:
    """Measure the IoU of two masks' lesions."""
    first, second = one == LESION, other == LESION
    return float((first & second).sum() / max((first | second).sum(), 1))
