"""Doubts about the values of your own masks: what may mean different things from mask to mask, or nothing at all."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from losslab.cards import RawValue
from losslab.data.images.decode import read_mask
from losslab.data.new_dataset.masks import EDGE_PX, FULL, HALVES, MaskContent, dilate
from losslab.data.new_dataset.scan import ScanResult
from losslab.data.new_dataset.values import format_raw_value
from losslab.errors import InputError
from losslab.formats import format_list, format_plural

MAX_SHARE_AFAR = 0.05
"""Share of pixels of 1 to 254 that may lie far from 255 where they only smooth its edges."""
MIN_SHARE_BETWEEN, MIN_SHADES, MAX_SHADED = 0.9, 3, 0.25
"""Share of a shade's pixels that lie between a lower and a higher neighbour; fewest values that are called shades; and the
largest share of all pixels that shades of smooth edges have."""
REACH, MIN_NEAR = 8, 4
"""The part of the range within which values are near another, as an eighth; and fewest values that blur leaves near it."""
MAX_MASKS_READ = 8
FULL_16 = 65535
MAX_STRETCHED = 16
"""Largest label that is looked for both as it is and stretched to 8 or 16 bits."""


def check_full_values(scan: ScanResult) -> None:
    """Raise InputError if 255 may well be an object, not void: judged mask by mask, or by all values together."""
    full = [mask for mask in scan.masks if FULL in mask.pixels]
    shades, edged = Counter[int](), 0
    for mask in full:
        own = {value: mask.pixels[value] for value in _list_numbers(mask) if 0 < value < FULL}
        shades.update(own)
        edged += mask.pixels[FULL] if own else 0
    afar = sum(mask.shades_afar for mask in full)
    numbers = sorted(value for value in scan.pixels if isinstance(value, int))
    steps = [high - low for low, high in pairwise(numbers)]
    richest = max(full, key=lambda mask: len(mask.pixels))
    remedies = ["--foreground nonzero (255 and all others but 0 are one class)", "--void 255", "or --void none"]
    if not any(mask.pixels.keys() - {0, FULL} for mask in full):
        other = next(mask for mask in scan.masks if mask.pixels.keys() - {0, FULL})
        examples = f"{_describe(full[0])}, {other.path.name} {_list_values(other)}"
        doubt = f"255 is void where it stands beside other classes, but no mask has both ({examples})"
    elif afar <= MAX_SHARE_AFAR * shades.total() and (shades.total() < edged or _find_centres(scan)):
        doubt = "values from 1 to 254 lie only along the edges of 255, as if 255 were the object and its edges smooth "
        doubt += f"({_describe(richest)})"
        if dark := [mask for mask in scan.masks if 0 < max(_list_numbers(mask)) <= FULL // 2]:
            doubt += f", but {_describe(dark[0])}"
        elif len(shades) == 1:
            remedies.insert(0, f"--void {next(iter(shades))} (an undecided border)")
        else:
            remedies.insert(0, f"--values {HALVES} (from 128 on is the object)")
    elif max(steps) - min(steps) <= 1 < min(steps):
        doubt = (
            f"the values {', '.join(map(str, numbers))} are spread evenly, so 255 may be a class ({_describe(richest)})"
        )
    else:
        return
    raise InputError(f"{_get_folder(scan)}: {doubt}; say what is meant: {', '.join(remedies)}")


def check_roles(scan: ScanResult) -> None:
    """Raise InputError if 255, or 65535, seems to be the object in some masks and void in others."""
    for value in (FULL, FULL_16):
        alone = [mask for mask in scan.masks if mask.pixels.keys() == {0, value}]
        beside = [mask for mask in scan.masks if value in mask.pixels and mask.pixels.keys() - {0, value}]
        if alone and beside:
            raise InputError(
                f"{_get_folder(scan)}: {value} may be the object in {alone[0].path.name}, which holds only it and 0 (as "
                f"{format_plural(len(alone), 'mask')} of {len(scan.masks)}), but void in {beside[0].path.name}, which holds "
                f"{_list_values(beside[0])} (as {len(beside)}); a card cannot say both: change it in one kind of mask, or, if it "
                f"means the same in all, give --void {value} or --void none"
            )
    of_8, of_16 = ([mask for mask in scan.masks if value in mask.pixels] for value in (FULL, FULL_16))
    if of_8 and of_16 and not any(mask in of_16 for mask in of_8):
        raise InputError(
            f"{_get_folder(scan)}: 65535 ({_describe(of_16[0])}) may mean in 16 bits what 255 means in 8 ({_describe(of_8[0])}): "
            "say what is meant: --void 255,65535, --void 255 (65535 is a class), or --void none"
        )


def check_scales(scan: ScanResult) -> None:
    """Raise InputError if labels seem to be stretched to 8 or 16 bits in some masks, and not in others."""
    numbers = [(mask, sorted(set(_list_numbers(mask)) - {0})) for mask in scan.masks if any(_list_numbers(mask))]
    present = sorted({number for _, values in numbers for number in values})
    for limit in (*(number for number in present if number <= MAX_STRETCHED), FULL):
        low, high = [(m, v) for m, v in numbers if v[-1] <= limit], [(m, v) for m, v in numbers if v[0] > limit]
        if low and high and len(low) + len(high) == len(numbers):
            origins = {number: _find_origin(number, limit) for _, values in high for number in values}
            if all(origins.values()) and max(origins) > (FULL // 2 if len(origins) > 1 else FULL):
                _complain_of_scales(scan, low[0][0], high[0][0], present, origins)


def _complain_of_scales(
    scan: ScanResult, low: MaskContent, high: MaskContent, present: Sequence[int], origins: dict[int, int | None]
) -> None:
    joined: dict[int, list[int]] = {0: [0]} if 0 in scan.pixels else {}
    for number in sorted(present, key=lambda number: (origins.get(number) or number, number)):
        joined.setdefault(origins.get(number) or number, []).append(number)
    values = ",".join("+".join(map(str, group)) for group in joined.values())
    raise InputError(
        f"{_get_folder(scan)}: {_describe(high)}, {low.path.name} {_list_values(low)}, and no mask holds values of both, as if "
        f"some were stretched to a wider range; say what is meant: --values {values} (+ joins values of one class), or "
        "--void none (each value is a class)"
    )


def _find_origin(number: int, limit: int) -> int | None:
    """Return the label up to `limit` that this number seems to be stretched from."""
    if limit == FULL:
        return number // 257 if number % 257 == 0 else None
    for label in range(1, limit + 1):
        is_near = any(abs(number * limit - full * label) <= limit for full in (FULL, FULL_16))
        if is_near or number in (label * (FULL // limit), label * 257):
            return label
    return None


def check_shades(scan: ScanResult) -> None:
    """Raise InputError if values seem to be shades of smooth edges, or if transparency tells what values do not."""
    for mask in scan.masks:
        if mask.in_two_opacities is not None:
            raise InputError(
                f"{mask.path}: {format_raw_value(mask.in_two_opacities)} is transparent in some pixels and opaque in others, but "
                "transparency is not read; save the mask without it, or, if it means nothing, give --void none"
            )
    between = Counter[RawValue]()
    for mask in scan.masks:
        between.update(mask.between)
    shades = {value for value, count in scan.pixels.items() if between[value] >= MIN_SHARE_BETWEEN * count}
    share = sum(scan.pixels[value] for value in shades) / sum(scan.pixels.values())
    others = [value for value in scan.pixels if value not in shades]
    if centres := _find_centres(scan):
        shades, others = set(scan.pixels), list(centres)
    elif len(shades) < max(MIN_SHADES, len(others)) or share > MAX_SHADED:
        return
    most = max(scan.masks, key=lambda mask: len(shades & mask.pixels.keys()))
    remedies = ["--foreground nonzero", "or --void none (each value is a class)"]
    if middle := _find_middle([value for value in others if isinstance(value, int)]):
        low, high = min(scan.pixels), max(scan.pixels)
        remedies.insert(0, f"--values {low}-{middle - 1},{middle}-{high} (each belongs to the nearer)")
    raise InputError(
        f"{_get_folder(scan)}: {len(shades)} of {len(scan.pixels)} values lie only between or near others, as if edges were smooth "
        f"({_describe(most)}); save masks without smoothing, or say what is meant: {', '.join(remedies)}"
    )


def _find_middle(numbers: Sequence[int]) -> int | None:
    """Return the middle of numbers that all are near the lowest or the highest."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    is_apart = high > low and all(min(number - low, high - number) * REACH <= high - low for number in numbers)
    return (low + high + 1) // 2 if is_apart else None


def _find_centres(scan: ScanResult) -> tuple[int, int] | None:
    """Find two numbers, in ascending order, that nearly all others lie near, along common edges, as after a JPEG."""
    counts = {value: count for value, count in scan.pixels.items() if isinstance(value, int)}
    if len(counts) < 2 * MIN_NEAR:
        return None
    reach, first = (max(counts) - min(counts)) / REACH, max(counts, key=counts.__getitem__)
    distant = {value: count for value, count in counts.items() if abs(value - first) > 2 * reach}
    second = max(distant, key=distant.__getitem__, default=first)
    near = [[count for value, count in counts.items() if abs(value - one) <= reach] for one in (first, second)]
    between = sum(counts.values()) - sum(map(sum, near))
    if min(map(len, near)) < MIN_NEAR or 2 * between > min(map(sum, near)):
        return None
    afar = others = 0
    for mask in sorted(scan.masks, key=lambda mask: -len(mask.pixels))[:MAX_MASKS_READ]:
        values = read_mask(mask.path, in_colours=False).astype(np.int32)
        close = [dilate((abs(values - one) <= reach).astype(np.uint8), EDGE_PX) for one in (first, second)]
        strange = (values != first) & (values != second)
        others += int(np.count_nonzero(strange))
        afar += int(np.count_nonzero(strange & ((close[0] & close[1]) == 0)))
    return (min(first, second), max(first, second)) if afar <= MAX_SHARE_AFAR * others else None


def _describe(mask: MaskContent) -> str:
    return f"{mask.path.name} holds {_list_values(mask)}"


def _list_values(mask: MaskContent) -> str:
    return format_list([format_raw_value(value) for value in mask.pixels])


def _list_numbers(mask: MaskContent) -> Sequence[int]:
    return [value for value in mask.pixels if isinstance(value, int)]


def _get_folder(scan: ScanResult) -> Path:
    return scan.masks[0].path.parent
