"""Masks of overlapping classes: one file for each class, or one file with a band for each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from losslab.cards import Card, RawValue
from losslab.data.images.decode import Pixels, UnusableFileError, Values, read_mask
from losslab.data.images.files import map_content
from losslab.data.images.labels import LabelMapping, keep_valid
from losslab.data.images.pictures import take_numbers
from losslab.data.images.windows import read_stored
from losslab.formats import format_list
from losslab.io.windows import read_whole
from losslab.plugins import Sample


class ClassMasks:
    """A reader of masks of overlapping classes, as the card has them.

    A mask is a folder with a file for each class, named as the class is, or one TIFF or NPY file, or other picture, whose
    bands are the classes in the card's order. In a folder, a class without a file is nowhere in the image.
    """

    def __init__(self, names: Sequence[str], values: Sequence[Sequence[RawValue]], void: Sequence[RawValue]) -> None:
        self.names = list(names)
        self.mappings = [LabelMapping({0: [0], 1: each}, void) for each in values]

    def read(self, sample: Sample) -> Pixels:
        """Read labels uint8 `[H, W, classes]`: 1 where a class is, 0 where it is not, 255 where that is void.

        Raises UnusableFileError.
        """
        planes = self._read_files(sample.mask) if sample.mask.is_dir() else self._read_bands(sample.mask)
        labels = [
            _map_values(mapping, plane, where) for mapping, (where, plane) in zip(self.mappings, planes, strict=True)
        ]
        return keep_valid(np.stack(labels, axis=2), sample.valid)

    def _read_files(self, folder: Path) -> list[tuple[str, Values]]:
        """Read the values of each class, with the name of their file."""
        files: dict[str, Path] = {}
        for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
            if path.stem in files:
                detail = f"{files[path.stem].name} and {path.name} are both of one class"
                raise UnusableFileError("same name as another", detail)
            files[path.stem] = path
        if unknown := [path.name for name, path in files.items() if name not in self.names]:
            detail = f"holds {format_list(unknown)}; the card has {format_list(self.names)}"
            raise UnusableFileError("label not in the card", detail)
        planes = {name: _read_file(path) for name, path in files.items()}
        if not planes:
            raise UnusableFileError("image without a mask", "a folder without a file of a class")
        first, shape = next((name, plane.shape) for name, plane in planes.items())
        for name, plane in planes.items():
            if plane.shape != shape:
                detail = f"{name} is {plane.shape[1]} x {plane.shape[0]}, {first} {shape[1]} x {shape[0]}"
                raise UnusableFileError("size mismatch", f"{detail} (width x height)")
        absent: Values = np.zeros(shape, np.uint8)
        return [(files[name].name, planes[name]) if name in files else ("", absent) for name in self.names]

    def _read_bands(self, path: Path) -> list[tuple[str, Values]]:
        """Read the values of each class, with what to call their band."""
        try:
            stored = read_stored(map_content(path, "mask"), len(self.names))
            if stored.bands != len(self.names):
                detail = f"holds {stored.describe()}; the card has {len(self.names)} overlapping classes"
                raise UnusableFileError("unreadable mask", detail)
            values = read_whole(stored.windows)
            planes = [take_numbers(np.ascontiguousarray(values[..., [band]])) for band in range(stored.bands)]
        except UnusableFileError as error:
            raise UnusableFileError("unreadable mask", error.detail) from None
        return [(f"band of {name}", plane) for name, plane in zip(self.names, planes, strict=True)]


def _read_file(path: Path) -> Values:
    try:
        return read_mask(path, in_colours=False)
    except UnusableFileError as error:
        raise UnusableFileError(error.kind, f"{path.name}: {error.detail}") from None


def _map_values(mapping: LabelMapping, values: Values, where: str) -> Pixels:
    try:
        return mapping.map_values(values)
    except UnusableFileError as error:
        raise UnusableFileError(error.kind, f"{where}: {error.detail}") from None


def build_label_reader(card: Card) -> "LabelMapping | ClassMasks":
    """Build what reads a card's masks: labels uint8 `[H, W]`, or `[H, W, classes]` of overlapping classes."""
    if card.is_overlapping:
        return ClassMasks([one.name for one in card.classes], [one.values for one in card.classes], card.void)
    return LabelMapping(dict(enumerate(one.values for one in card.classes)), card.void, card.in_colours)
