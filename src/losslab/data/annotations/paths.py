"""Paths that annotations give: the image file that one means, and the official split that a name tells."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from losslab.cards import SplitName
from losslab.data.readers import IMAGE_SUFFIXES, normalize_name
from losslab.errors import InputError
from losslab.formats import format_list

SPLITS_BY_FOLDER: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Official splits by the folders, in lower case, that hold them."""


def find_split(text: str) -> SplitName | None:
    """Return the only split that a path, or a name, tells.

    >>> find_split("instances_train2017"), find_split("labels/val/im1"), find_split("im1"), find_split("train_test")
    ('train', 'val', None, None)
    """
    words = re.findall("[a-z]+", text.lower())
    splits = {SPLITS_BY_FOLDER[word] for word in words if word in SPLITS_BY_FOLDER}
    return splits.pop() if len(splits) == 1 else None


class ImageIndex:
    """Image files by each end of their paths, so that a path that begins elsewhere finds them."""

    def __init__(self, files: Iterable[str]) -> None:
        """Index paths below the folder of images, with forward slashes."""
        self._by_end: dict[str, list[str]] = {}
        for file in files:
            parts = drop_suffix(normalize_name(file)).split("/")
            for start in range(len(parts)):
                self._by_end.setdefault("/".join(parts[start:]), []).append(file)

    def find(self, names: Sequence[str], place: str, split: SplitName | None = None) -> str | None:
        """Return the file that has the longest end in common with one of the names, its ending aside; None if none has.

        Raises InputError where several have, which neither the ending nor the split tells apart.
        """
        for name in (normalize_name(name) for name in names):
            parts = drop_suffix(name).split("/")
            for start in range(len(parts)):
                if found := self._by_end.get("/".join(parts[start:])):
                    return self._choose(found, name, place, split)
        return None

    def _choose(self, found: list[str], name: str, place: str, split: SplitName | None) -> str:
        same = [file for file in found if drop_suffix(normalize_name(file)) == drop_suffix(name)] or found
        for told in (
            [file for file in same if PurePosixPath(file).suffix == PurePosixPath(name).suffix],
            [file for file in same if split is not None and find_split(file) == split],
            same,
        ):
            if len(told) == 1:
                return told[0]
        raise InputError(f"{place}: {name} may be {format_list(same)}; give --images a folder with one of them")


def drop_suffix(name: str) -> str:
    """Return a path without the ending of an image.

    >>> drop_suffix("a/im1.JPG"), drop_suffix("a/im.1")
    ('a/im1', 'a/im.1')
    """
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in IMAGE_SUFFIXES else name
