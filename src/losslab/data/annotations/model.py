"""What annotation files say of images, in one form for all formats."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from losslab.cards import RawValue, SplitName
from losslab.errors import InputError
from losslab.formats import format_line

Points = npt.NDArray[np.float64]
"""Corners `[N, 2]`: x, y in pixels from the upper left corner of the image."""
Cover = npt.NDArray[np.bool_]
"""The pixels `[H, W]` that a shape covers."""
BACKGROUND_LABELS = ("background", "_background_")
VOID_LABELS = ("void", "ignored", "__ignore__")
"""Labels that tools give to what shall not count: nobody's, VOC's in CVAT, and LabelMe's."""
MAX_COORDINATE = 1e6


class Shape(Protocol):
    def cover(self, height: int, width: int) -> Cover:
        """Return the pixels of an image that it covers; what lies outside is cut off."""
        ...

    def exceeds(self, height: int, width: int) -> bool:
        """Tell whether some of it lies outside an image of this size."""
        ...


@dataclass(frozen=True)
class LabelledShape:
    label: str | None
    """None for void, such as a crowd."""
    shape: Shape


@dataclass(frozen=True)
class LabelMap:
    """A file in which each pixel has a label."""

    path: Path
    labels: Mapping[RawValue, str | None]
    """The label of each number, or colour; None for void."""
    in_colours: bool = False
    numbers: Mapping[RawValue, str | None] = field(default_factory=dict)
    """The labels of numbers, for a file in grey where others are in colours."""


@dataclass(frozen=True, kw_only=True)
class AnnotatedImage:
    names: Sequence[str]
    """Paths that the image may have, with forward slashes, the most exact first."""
    place: str
    """The file, and the place in it, for messages."""
    size: tuple[int, int] | None = None
    """Width and height that coordinates refer to; None for those of the image as it is displayed."""
    shapes: Sequence[LabelledShape] = ()
    """Shapes in the order of drawing: later ones lie on top."""
    label_map: LabelMap | None = None
    split: SplitName | None = None


@dataclass(frozen=True, kw_only=True)
class Annotations:
    kind: str
    """Name of the format."""
    images: Sequence[AnnotatedImage]
    labels: Sequence[str]
    """All labels, in the format's order."""
    void: frozenset[str] = frozenset()
    """Labels that the format itself does not count."""
    is_dense: bool = False
    """Whether all pixels should have a label; those without are void then, not background."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What has no area to draw, and how many of it there are."""


@contextmanager
def name_place(place: object, form: str) -> Iterator[None]:
    """Say in an InputError where a record lacks a key, or holds something else than its format has there."""
    try:
        yield
    except InputError:
        raise
    except KeyError as error:
        raise InputError(f"{place}: lacks {error}, which {form} has there") from None
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{place}: is not as {form} has it: {format_line(str(error))}") from None


def parse_points(numbers: Any) -> Points:
    """Return corners from a flat list of x, y, x, y, …, or a list of pairs. Raises ValueError.

    >>> parse_points([0, 1, 2.5, 3]).tolist()
    [[0.0, 1.0], [2.5, 3.0]]
    """
    points: Points = np.asarray(numbers, np.float64)
    if points.size % 2 or points.ndim > 2 or (points.ndim == 2 and points.size and points.shape[1] != 2):
        raise ValueError(f"{points.size} coordinates, which are no pairs of x and y")
    if not (np.abs(points) <= MAX_COORDINATE).all():
        raise ValueError("a coordinate is no number, or far outside any image")
    return points.reshape(-1, 2)


def parse_label(value: Any) -> str:
    """Return the name of a label, which may be a number. Raises ValueError for anything else, and for no name.

    >>> parse_label("cell"), parse_label(3)
    ('cell', '3')
    """
    if not isinstance(value, str | int) or value == "":
        raise ValueError(f"a label is {value!r}, not a name")
    return str(value)


def require_object(content: Any) -> dict[str, Any]:
    """Return what a JSON file holds, if it is an object. Raises ValueError."""
    if not isinstance(content, dict):
        raise ValueError(f"a {type(content).__name__}, not an object")
    return content


def list_objects(content: Any, key: str) -> list[dict[str, Any]]:
    """Return the list of objects that a JSON object has under a key. Raises KeyError and ValueError."""
    objects = require_object(content)[key]
    if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
        raise ValueError(f"{key!r} is no list of objects")
    return objects


def normalize_slashes(name: str) -> str:
    r"""Write a path of any system with forward slashes.

    >>> normalize_slashes(r".\train\im1.jpg"), normalize_slashes("a/../b.png")
    ('train/im1.jpg', 'a/b.png')
    """
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))
