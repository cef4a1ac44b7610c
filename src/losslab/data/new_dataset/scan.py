"""Images and masks that belong together: how large they are, and what the masks hold."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from losslab.cards import CLASS_LIMIT, MAX_CLASSES, RawValue
from losslab.data.images.decode import UnusableFileError, read_image
from losslab.data.new_dataset.instances import hold_instances
from losslab.data.new_dataset.masks import LOSSLESS, MaskContent, map_files, read_masks
from losslab.data.new_dataset.pairs import FilePairs
from losslab.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    pixels: dict[RawValue, int]
    """Number of pixels of each raw value in all masks, in ascending order; colours where masks are in colours."""
    in_colours: bool
    masks: Sequence[MaskContent]
    """What each mask holds."""
    palettes: str | None
    """Palettes that give one number several colours, so that colours were read."""
    has_instances: bool
    """Whether each object seems to have a value of its own."""
    smallest: tuple[int, int]
    """Width and height."""
    largest: tuple[int, int]
    other_sizes: list[str]
    """Images whose mask has another size."""
    unreadable: list[str]


def scan_pairs(pairs: FilePairs, void_values: int = 1) -> ScanResult:
    """Read all masks and images' sizes on all cores.

    Raises InputError for masks that are unreadable, or hold shades: more values than classes and `void_values` together,
    unless each object has a value of its own.
    """
    masks, palettes = read_masks(pairs.masks.values())
    in_colours = masks[0].in_colours
    pixels: Counter[RawValue] = Counter()
    for mask in masks:
        pixels.update(mask.pixels)
    has_instances, most_values = hold_instances(masks), MAX_CLASSES + void_values
    if len(pixels) > most_values and not has_instances:
        most = max(masks, key=lambda mask: len(mask.pixels))
        kind = "colours" if in_colours else "values"
        if len(most.pixels) > most_values:
            raise InputError(f"{most.path}: holds {len(most.pixels)} {kind}; {LOSSLESS}, and {CLASS_LIMIT}")
        raise InputError(f"{most.path.parent}: masks hold {len(pixels)} {kind}; {LOSSLESS}, and {CLASS_LIMIT}")
    mask_sizes = {mask.path: mask.size for mask in masks}
    sizes = dict(zip(pairs.images, map_files(_read_sizes, pairs.images.values(), "images"), strict=True))
    known = {name: size for name, size in sizes.items() if size}
    if not known:
        first = next(iter(pairs.images.values()))
        raise InputError(f"{first.parent}: none of the {len(sizes)} images can be read{_explain_unreadable(first)}")
    return ScanResult(
        pixels=dict(sorted(pixels.items())),
        in_colours=in_colours,
        masks=masks,
        palettes=palettes,
        has_instances=has_instances,
        smallest=min((size[0] for size in known.values()), key=math.prod),
        largest=max((size[0] for size in known.values()), key=math.prod),
        other_sizes=[name for name, size in known.items() if mask_sizes[pairs.masks[name]] not in size],
        unreadable=[name for name, size in sizes.items() if not size],
    )


def _read_sizes(path: Path) -> list[tuple[int, int]]:
    """Return width and height as stored, and as rotated where the orientation tag says so; nothing if unreadable."""
    try:
        with Image.open(path) as opened:
            size, orientation = opened.size, opened.getexif().get(0x0112, 1)
            if opened.mode in ("I", "F"):  # prepare may refuse these
                read_image(path)
    except UnusableFileError:
        return []
    except Exception:  # a decoder may raise anything at all on damaged bytes
        try:
            picture = read_image(path)
        except UnusableFileError:
            return []
        size, orientation = (picture.pixels.shape[1], picture.pixels.shape[0]), picture.orientation
    return [size, size[::-1]] if orientation in (5, 6, 7, 8) else [size]


def _explain_unreadable(path: Path) -> str:
    try:
        read_image(path)
    except UnusableFileError as error:
        return f"; {path.name}: {error}"
    return ""
