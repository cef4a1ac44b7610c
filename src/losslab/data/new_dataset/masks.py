"""The masks of your own data, read file by file: the pixels of each value, and what tells smooth edges."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from losslab.cards import RawValue
from losslab.data.images.decode import UnusableFileError, Values, read_mask
from losslab.data.images.labels import Colour, PaletteColours, pack_colours, read_palette
from losslab.errors import InputError
from losslab.runtime.parallel import map_ahead

LOSSLESS = "masks must be label images, one value per class, stored without loss (as PNG, BMP or TIFF)"
MAX_VALUES = 4096
"""Number of different values in one mask above which it holds shades, not even an object each."""
FULL = 255
EDGE_PX = 8
"""Distance from 255 within which smooth edges, and those of a JPEG in disguise, hold other values."""
T = TypeVar("T")


@dataclass(frozen=True)
class MaskContent:
    path: Path
    pixels: dict[RawValue, int]
    """Pixels of each raw value, in ascending order; colours where `in_colours`."""
    size: tuple[int, int]
    """Width and height."""
    in_colours: bool
    palette: dict[int, Colour]
    """Colours of the numbers, where the file has a palette."""
    shades_afar: int
    """Pixels of 1 to 254 that are not within 8 pixels of any of 255."""


def read_masks(paths: Iterable[Path]) -> tuple[list[MaskContent], str | None]:
    """Read all masks, in numbers or all in colours; return also which palettes make them so, if any do.

    Raises InputError for masks that are unreadable, stored with loss, or hold shades.
    """
    masks = map_files(_read_values, paths, "masks")
    palettes = PaletteColours()
    clashes = [clash for mask in masks if (clash := palettes.find_clash(mask.palette, mask.path.name))]
    if clashes:
        plain = [mask.path for mask in masks if not (mask.in_colours or mask.palette or mask.pixels.keys() == {0})]
        if plain:
            raise InputError(
                f"{plain[0]}: holds numbers without colours, but palettes give one number several colours ({clashes[0]}); "
                "save all masks in the same way"
            )
    if clashes or any(mask.in_colours for mask in masks):  # a grey mask among them is meant in colours too
        numbers = [mask.path for mask in masks if not mask.in_colours]
        masks = [mask for mask in masks if mask.in_colours] + map_files(_read_colours, numbers, "masks")
    return masks, clashes[0] if clashes else None


def map_files(work: Callable[[Path], T], files: Iterable[Path], what: str) -> list[T]:
    """Call `work` on files on all cores, with a progress bar."""
    paths = list(files)
    with map_ahead(work, paths) as results:
        return list(tqdm(results, total=len(paths), desc=f"read {what}", unit=" files", disable=None))


def count_values(values: Values, in_colours: bool) -> dict[RawValue, int]:
    """Count the pixels of each value, in ascending order."""
    if in_colours:
        flat, counts = np.unique(pack_colours(values), return_counts=True)
        colours = [(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in flat]
        return dict(zip(colours, counts.tolist(), strict=True))
    all_counts = np.bincount(values.ravel())
    return {int(value): int(all_counts[value]) for value in np.flatnonzero(all_counts)}


def _read_values(path: Path) -> MaskContent:
    _check_lossless(path)
    try:
        values = read_mask(path, in_colours=False)
    except UnusableFileError as error:
        if error.kind != "label not in the card":  # that kind is a mask in colours
            raise InputError(f"{path}: {error}") from None
        return _read_colours(path)
    return _describe(path, values, in_colours=False)


def _read_colours(path: Path) -> MaskContent:
    try:
        return _describe(path, read_mask(path, in_colours=True), in_colours=True)
    except UnusableFileError as error:
        raise InputError(f"{path}: {error}") from None


def _describe(path: Path, values: Values, in_colours: bool) -> MaskContent:
    pixels = count_values(values, in_colours)
    if len(pixels) > MAX_VALUES:
        raise InputError(f"{path}: holds {len(pixels)} {'colours' if in_colours else 'values'}; {LOSSLESS}")
    palette = {} if in_colours else read_palette(path, values)
    afar = _count_shades_afar(values) if FULL in pixels and len(pixels) > 2 else 0
    return MaskContent(path, pixels, (values.shape[1], values.shape[0]), in_colours, palette, afar)


def _count_shades_afar(values: Values) -> int:
    around = np.ones((2 * EDGE_PX + 1, 2 * EDGE_PX + 1), np.uint8)
    near = cv2.dilate((values == FULL).astype(np.uint8), around)
    return int(np.count_nonzero((values > 0) & (values < FULL) & (near == 0)))


def _check_lossless(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    for name, matches in (("JPEG", head[:2] == b"\xff\xd8"), ("lossy WebP", head[8:16] == b"WEBPVP8 ")):
        if matches:
            raise InputError(f"{path}: is {name}, which blurs values; {LOSSLESS}")
