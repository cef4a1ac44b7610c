"""Images and masks that belong together: how large they are, and what the masks hold."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from losslab.bands import RGB, BandFormat
from losslab.cards import CLASS_LIMIT, MAX_CLASSES, RawValue
from losslab.data.images.decode import UnusableFileError, measure_file
from losslab.data.new_dataset.instances import hold_instances
from losslab.data.new_dataset.masks import LOSSLESS, MaskContent, map_files, read_masks
from losslab.data.new_dataset.pairs import FilePairs
from losslab.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    pixels: dict[RawValue, int] = field(default_factory=dict)
    """Number of pixels of each raw value in all masks, in ascending order; colours where masks are in colours."""
    in_colours: bool = False
    masks: Sequence[MaskContent] = ()
    """What each mask holds."""
    palettes: str | None = None
    """Palettes that give one number several colours, so that colours were read."""
    has_instances: bool = False
    """Whether each object seems to have a value of its own."""
    smallest: tuple[int, int]
    """Width and height."""
    largest: tuple[int, int]
    other_sizes: list[str]
    """Images whose mask has another size."""
    unusable: dict[str, UnusableFileError]
    """Images that prepare would refuse, and why."""


def scan_pairs(
    pairs: FilePairs, void_values: int = 1, stated: Collection[RawValue] = (), bands: BandFormat = RGB
) -> ScanResult:
    """Read all masks, and measure all images, on all cores. `stated` are the values that the user gave, if any.

    Raises InputError for masks that are unreadable, or hold shades: more values than classes and `void_values` together,
    unless each object has a value of its own.
    """
    masks, palettes = read_masks(pairs.masks.values(), stated)
    in_colours = masks[0].in_colours
    pixels: Counter[RawValue] = Counter()
    for mask in masks:
        pixels.update(mask.pixels)
    has_instances, most_values = not stated and hold_instances(masks), MAX_CLASSES + void_values
    if len(pixels) > most_values and not has_instances and not stated:
        most = max(masks, key=lambda mask: len(mask.pixels))
        kind = "colours" if in_colours else "values"
        if len(most.pixels) > most_values:
            raise InputError(f"{most.path}: holds {len(most.pixels)} {kind}; {LOSSLESS}, and {CLASS_LIMIT}")
        raise InputError(f"{most.path.parent}: masks hold {len(pixels)} {kind}; {LOSSLESS}, and {CLASS_LIMIT}")
    sizes = {mask.path: mask.size for mask in masks}
    measured = measure_images(pairs, {name: sizes[path] for name, path in pairs.masks.items()}, bands)
    return replace(
        measured,
        pixels=dict(sorted(pixels.items())),
        in_colours=in_colours,
        masks=masks,
        palettes=palettes,
        has_instances=has_instances,
    )


def measure_images(pairs: FilePairs, mask_sizes: Mapping[str, tuple[int, int]], bands: BandFormat) -> ScanResult:
    """Measure all images, on all cores; `mask_sizes` are width and height of their masks, by name.

    Raises InputError if none can be read.
    """
    read = dict(
        zip(pairs.images, map_files(partial(_list_sizes, bands=bands), pairs.images.values(), "images"), strict=True)
    )
    unusable = {name: sizes for name, sizes in read.items() if isinstance(sizes, UnusableFileError)}
    known = {name: sizes for name, sizes in read.items() if not isinstance(sizes, UnusableFileError)}
    if not known:
        name, error = next(iter(unusable.items()))
        path = pairs.images[name]
        raise InputError(f"{path.parent}: none of the {len(read)} images can be read; {path.name}: {error}")
    return ScanResult(
        smallest=min((size[0] for size in known.values()), key=math.prod),
        largest=max((size[0] for size in known.values()), key=math.prod),
        other_sizes=[name for name, size in known.items() if mask_sizes[name] not in size],
        unusable=unusable,
    )


def _list_sizes(path: Path, bands: BandFormat) -> list[tuple[int, int]] | UnusableFileError:
    """List width and height as stored, and as rotated where the orientation tag says so; or why prepare refuses it."""
    try:
        width, height, orientation = measure_file(path, bands)
    except UnusableFileError as error:
        return error
    return [(width, height), (height, width)] if orientation in (5, 6, 7, 8) else [(width, height)]
