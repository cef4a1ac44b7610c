"""The masks of your own data, read file by file: the pixels of each value, and what tells smooth edges."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from losslab.cards import RawValue
from losslab.data.images.decode import Pixels, UnusableFileError, Values
from losslab.data.images.files import holds_npy
from losslab.data.images.labels import Colour, PaletteColours, is_stored_in_grey, pack_colours, read_palette
from losslab.data.images.pictures import FORMATS
from losslab.data.images.windows import open_mask
from losslab.errors import InputError
from losslab.formats import format_list
from losslab.io.windows import PixelWindows, Strip, iterate_strips
from losslab.runtime.parallel import map_ahead

LOSSLESS = "masks must be label images, one value per class, stored without loss (as PNG, BMP or TIFF)"
MAX_VALUES = 4096
"""Number of different values in one mask above which it holds shades, not even an object each."""
FULL = 255
OPAQUE = 127
"""Alpha above which a pixel is called opaque."""
HALVES = "0-127,128-255"
"""What --values is to say where one object is white on black, and its edges are not sharp."""
EDGE_PX = 8
"""Distance from 255 within which smooth edges, and those of a JPEG in disguise, hold other values."""
MAX_PIXELS_AHEAD = 96 << 20
"""Pixels of the files that are decoded at a time, however many cores there are; each takes up to seven bytes."""
SMALL_FILE_BYTES = 16 << 10
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
    between: dict[RawValue, int]
    """Pixels of each value that lie between a lower and a higher neighbour, as on smooth edges."""
    in_two_opacities: RawValue | None
    """A value that is transparent in some pixels and opaque in others."""


def read_masks(paths: Iterable[Path], stated: Collection[RawValue] = ()) -> tuple[list[MaskContent], str | None]:
    """Read all masks, in numbers or all in colours; return also which palettes make them so, if any do.

    With `stated`, the values that the user gave, masks are read as these are, and may be stored with loss. Raises InputError
    for masks that are unreadable, stored with loss, hold shades, or mean colours in some files and numbers in others.
    """
    if any(isinstance(value, tuple) for value in stated):
        return map_files(_read_colours, paths, "masks"), None
    masks = map_files(partial(_read_values, lossless=not stated), paths, "masks")
    if stated and (first := next((mask for mask in masks if mask.in_colours), None)):
        raise InputError(f"{first.path}: is in colours, but --values gives numbers; give colours, such as #e0e0c0")
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
        for mask in masks:
            _check_palette(mask)
        numbers = [mask for mask in masks if not mask.in_colours]
        coloured = [mask for mask in masks if mask.in_colours]
        read_again = map_files(_read_colours, [mask.path for mask in numbers], "masks")
        _check_greys(read_again, [not mask.palette for mask in numbers], coloured)
        masks = coloured + read_again
    return masks, clashes[0] if clashes else None


def _check_palette(mask: MaskContent) -> None:
    """Raise InputError if colours would merge numbers of a mask."""
    by_colour: dict[Colour, int] = {}
    for number, colour in mask.palette.items():
        if (other := by_colour.setdefault(colour, number)) != number:
            raise InputError(
                f"{mask.path}: its palette gives {other} and {number} the colour {list(colour)}, but masks are read in colours, "
                f"as not all have this palette; save all masks with one palette, or say with --values that the colour counts"
            )


def _check_greys(masks: Sequence[MaskContent], are_grey: Sequence[bool], coloured: Sequence[MaskContent]) -> None:
    """Raise InputError if a grey mask among masks in colours seems to hold numbers: no other has its greys."""
    known = {value for mask in coloured for value in mask.pixels}
    known.update(value for mask, is_grey in zip(masks, are_grey, strict=True) if not is_grey for value in mask.pixels)
    for mask, is_grey in zip(masks, are_grey, strict=True):
        strange = [
            str(value[0]) for value in mask.pixels if isinstance(value, tuple) and value not in known and any(value)
        ]
        if is_grey and strange and is_stored_in_grey(mask.path):
            example = next(one for one in (*coloured, *masks) if one is not mask)
            raise InputError(
                f"{mask.path}: holds {format_list(strange)} in grey, which no mask in colours has ({example.path.name} is one): "
                "save all masks in the same way, or give --values with the colours of each class, such as #ff0000+#010101"
            )


def map_files(work: Callable[[Path], T], files: Iterable[Path], what: str) -> list[T]:
    """Call `work` on files on all cores, with a progress bar; on few large ones at a time."""
    paths = list(files)
    with map_ahead(work, paths, measure=_count_decoded_pixels, max_size=MAX_PIXELS_AHEAD) as results:
        return list(tqdm(results, total=len(paths), desc=f"read {what}", unit=" files", disable=None))


def _count_decoded_pixels(path: Path) -> int:
    """Count the pixels of a file that is decoded whole; 0 for another file, and for a small one."""
    with suppress(Exception):  # of a damaged file, which `work` will tell of
        if path.stat().st_size > SMALL_FILE_BYTES:
            with Image.open(path, formats=[form for form in FORMATS if form != "TIFF"]) as opened:
                return opened.width * opened.height
    return 0


def count_values(values: Values, in_colours: bool) -> dict[RawValue, int]:
    """Count the pixels of each value, in ascending order."""
    if in_colours:
        flat, counts = np.unique(pack_colours(values), return_counts=True)
        colours = [(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in flat]
        return dict(zip(colours, counts.tolist(), strict=True))
    all_counts = np.bincount(values.ravel())
    return {int(value): int(all_counts[value]) for value in np.flatnonzero(all_counts)}


def _count_in_strips(strips: Iterable[Values], in_colours: bool) -> dict[RawValue, int]:
    counts = Counter[RawValue]()
    for values in strips:
        counts.update(count_values(values, in_colours))
    return {value: counts[value] for value in sorted(counts)}


def _read_values(path: Path, lossless: bool) -> MaskContent:
    if lossless:
        _check_lossless(path)
    try:
        with open_mask(path, in_colours=False) as mask:
            return _describe(path, mask, in_colours=False)
    except UnusableFileError as error:
        if error.kind != "label not in the card":  # that kind is a mask in colours
            raise InputError(f"{path}: {error}") from None
    return _read_colours(path)  # now that the error, which holds what was decoded, is gone


def _read_colours(path: Path) -> MaskContent:
    try:
        with open_mask(path, in_colours=True) as mask:
            return _describe(path, mask, in_colours=True)
    except UnusableFileError as error:
        raise InputError(f"{path}: {error}") from None


def _describe(path: Path, mask: PixelWindows, in_colours: bool) -> MaskContent:
    """Describe a mask, of which memory holds some rows alone."""

    def read_strips(margin: int = 0) -> Iterator[tuple[Strip, Values]]:
        for strip in iterate_strips(mask.height, mask.width, margin):
            yield strip, strip.read(mask)

    pixels = _count_in_strips((values for _, values in read_strips()), in_colours)
    if len(pixels) > MAX_VALUES:
        raise InputError(f"{path}: holds {len(pixels)} {'colours' if in_colours else 'values'}; {LOSSLESS}")
    is_byte = mask.read(0, 0, 1, 1).dtype == np.uint8
    palette = read_palette(path, np.array(list(pixels), np.uint8)) if is_byte and not in_colours else {}
    afar, between = 0, dict[RawValue, int]()
    if len(pixels) > 2:
        if FULL in pixels:
            afar = sum(_count_shades_afar(values, strip.own) for strip, values in read_strips(EDGE_PX))
        inside = (_find_between(values, in_colours, strip.own) for strip, values in read_strips(1))
        between = _count_in_strips(inside, in_colours)
    opacities = _find_two_opacities(path, mask, in_colours) if is_byte else None
    return MaskContent(path, pixels, (mask.width, mask.height), in_colours, palette, afar, between, opacities)


def _count_shades_afar(values: Values, own: slice) -> int:
    near = dilate((values == FULL).astype(np.uint8), EDGE_PX)
    return int(np.count_nonzero(((values > 0) & (values < FULL) & (near == 0))[own]))


def dilate(mask: Pixels, pixels: int) -> Pixels:
    """Widen what is not 0 by a number of pixels on each side."""
    return np.asarray(cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)))


def _find_between(values: Values, in_colours: bool, own: slice) -> Values:
    """Return those of a strip's own pixels that lie between a lower and a higher neighbour."""
    around = np.ones((3, 3), np.uint8)
    inside = np.asarray((cv2.erode(values, around) < values) & (values < cv2.dilate(values, around)))
    inside = np.asarray(inside.any(axis=2) if in_colours else inside)
    return np.asarray(values[own][inside[own]])


def _find_two_opacities(path: Path, mask: PixelWindows, in_colours: bool) -> RawValue | None:
    """Find the first value that is transparent in some pixels and opaque in others."""
    alpha = _read_alpha(path)
    if alpha is None:
        return None
    clear, opaque = Counter[RawValue](), Counter[RawValue]()
    for strip in iterate_strips(mask.height, mask.width):
        values, alphas = strip.read(mask), alpha[strip.start : strip.stop]
        clear.update(count_values(values[alphas == 0], in_colours))
        opaque.update(count_values(values[alphas > OPAQUE], in_colours))
    return next((value for value in sorted(clear) if value in opaque), None)


def _read_alpha(path: Path) -> Pixels | None:
    if holds_npy(path):
        return None
    with Image.open(path) as opened:
        return np.asarray(opened.getchannel("A")) if opened.mode in ("RGBA", "LA") else None


def _check_lossless(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    for name, matches in (("JPEG", head[:2] == b"\xff\xd8"), ("lossy WebP", head[8:16] == b"WEBPVP8 ")):
        if matches:
            else_give = (
                f"; or give --values {HALVES}, if they show one object, white on black" if name == "JPEG" else ""
            )
            raise InputError(f"{path}: is {name}, which blurs values; {LOSSLESS}{else_give}")
