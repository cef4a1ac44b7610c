"""A folder of images and one of masks: which files belong together, how large they are, which values the masks hold."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from losslab.cards import RawValue
from losslab.data.images.decode import UnusableFileError, Values, read_image, read_mask
from losslab.data.images.labels import pack_colours
from losslab.data.readers import IMAGE_SUFFIXES, is_text
from losslab.errors import InputError
from losslab.runtime.parallel import map_ahead

MAX_LABELS = 256
"""Number of different values above which a mask holds shades, not labels."""
LOSSLESS = "masks must be label images, one value per class, stored without loss (as PNG, BMP or TIFF)"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class FilePairs:
    images: dict[str, Path]
    """Images that have a mask, by name."""
    masks: dict[str, Path]
    """Their masks, by the same names."""
    suffix: str
    """What follows the image's name in the name of its mask."""
    images_alone: list[str]
    masks_alone: list[str]
    doubles: list[str]
    """Files that have the same name as another, but for the ending."""


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    pixels: dict[RawValue, int]
    """Number of pixels of each raw value in all masks, in ascending order; colours where masks are in colours."""
    in_colours: bool
    smallest: tuple[int, int]
    """Width and height."""
    largest: tuple[int, int]
    other_sizes: list[str]
    """Images whose mask has another size."""
    unreadable: list[str]


def find_pairs(images: Path, masks: Path) -> FilePairs:
    """Pair files by name: a mask is named as its image, or with the same suffix on all: im1.jpg with im1_mask.png.

    Raises InputError if a folder is missing or holds no image, both are the same folder, or there is no pair.
    """
    if images.resolve() == masks.resolve():
        raise InputError(f"{images}: --images and --masks must be different folders")
    doubles: list[str] = []
    by_stem, masks_by_stem = _list_by_stem(images, "--images", doubles), _list_by_stem(masks, "--masks", doubles)
    suffix = _find_suffix(by_stem.keys(), masks_by_stem.keys())
    by_name: dict[str, Path] = {}
    for stem, path in masks_by_stem.items():
        if by_name.setdefault(stem.removesuffix(suffix), path) != path:
            doubles.append(path.name)
    names = sorted(by_stem.keys() & by_name.keys())
    if not names:
        first, first_mask = (next(iter(paths.values())).name for paths in (by_stem, masks_by_stem))
        raise InputError(
            f"no mask in {masks} is named as an image in {images} ({first} and {first_mask}); "
            "a mask needs its image's name, or the same suffix as all others: im1.jpg, im1_mask.png"
        )
    return FilePairs(
        images={name: by_stem[name] for name in names},
        masks={name: by_name[name] for name in names},
        suffix=suffix,
        images_alone=[path.name for stem, path in by_stem.items() if stem not in by_name],
        masks_alone=[path.name for name, path in by_name.items() if name not in by_stem],
        doubles=doubles,
    )


def scan_pairs(pairs: FilePairs) -> ScanResult:
    """Read all masks and images' sizes on all cores. Raises InputError for masks that are unreadable or hold shades."""
    counts = _map_files(_count_values, pairs.masks.values(), "masks")
    in_colours = any(each.in_colours for each in counts)
    if in_colours:  # a grey mask among them is meant in colours too
        plain = [path for path, each in zip(pairs.masks.values(), counts, strict=True) if not each.in_colours]
        counts = [each for each in counts if each.in_colours] + _map_files(_count_colours, plain, "masks")
    pixels: Counter[RawValue] = Counter()
    for each in counts:
        pixels.update(each.pixels)
    if len(pixels) > MAX_LABELS:
        folder = next(iter(pairs.masks.values())).parent
        raise InputError(f"{folder}: masks hold {len(pixels)} {'colours' if in_colours else 'values'}; {LOSSLESS}")
    masks = {each.path: each.size for each in counts}
    sizes = dict(zip(pairs.images, _map_files(_read_sizes, pairs.images.values(), "images"), strict=True))
    known = {name: size for name, size in sizes.items() if size}
    if not known:
        first = next(iter(pairs.images.values()))
        raise InputError(f"{first.parent}: none of the {len(sizes)} images can be read{_explain_unreadable(first)}")
    return ScanResult(
        pixels=dict(sorted(pixels.items())),
        in_colours=in_colours,
        smallest=min((size[0] for size in known.values()), key=math.prod),
        largest=max((size[0] for size in known.values()), key=math.prod),
        other_sizes=[name for name, size in known.items() if masks[pairs.masks[name]] not in size],
        unreadable=[name for name, size in sizes.items() if not size],
    )


@dataclass(frozen=True)
class _MaskCounts:
    path: Path
    pixels: dict[RawValue, int]
    size: tuple[int, int]
    in_colours: bool


def _count_values(path: Path) -> _MaskCounts:
    _check_lossless(path)
    try:
        return _count_pixels(path, read_mask(path, in_colours=False), in_colours=False)
    except UnusableFileError as error:
        if error.kind != "label not in the card":  # that kind is a mask in colours
            raise InputError(f"{path}: {error}") from None
    return _count_colours(path)


def _count_colours(path: Path) -> _MaskCounts:
    try:
        return _count_pixels(path, read_mask(path, in_colours=True), in_colours=True)
    except UnusableFileError as error:
        raise InputError(f"{path}: {error}") from None


def _count_pixels(path: Path, values: Values, in_colours: bool) -> _MaskCounts:
    if in_colours:
        flat, counts = np.unique(pack_colours(values), return_counts=True)
        raw: list[RawValue] = [(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in flat]
    else:
        all_counts = np.bincount(values.ravel())
        present = np.flatnonzero(all_counts)
        raw, counts = [int(value) for value in present], all_counts[present]
    if len(raw) > MAX_LABELS:
        raise InputError(f"{path}: holds {len(raw)} {'colours' if in_colours else 'values'}; {LOSSLESS}")
    pixels = dict(zip(raw, counts.tolist(), strict=True))
    return _MaskCounts(path, pixels, (values.shape[1], values.shape[0]), in_colours)


def _check_lossless(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    for name, matches in (("JPEG", head[:2] == b"\xff\xd8"), ("lossy WebP", head[8:16] == b"WEBPVP8 ")):
        if matches:
            raise InputError(f"{path}: is {name}, which blurs values; {LOSSLESS}")


def _read_sizes(path: Path) -> list[tuple[int, int]]:
    """Return width and height as stored, and as rotated where the orientation tag says so; nothing if unreadable."""
    try:
        with Image.open(path) as opened:
            size, orientation = opened.size, opened.getexif().get(0x0112, 1)
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


def _map_files(work: Callable[[Path], T], files: Iterable[Path], what: str) -> list[T]:
    paths = list(files)
    with map_ahead(work, paths) as results:
        return list(tqdm(results, total=len(paths), desc=f"read {what}", unit=" files", disable=None))


def _list_by_stem(folder: Path, option: str, doubles: list[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{option}: {folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        if not is_text(path.name):
            shown = path.name.encode("utf-8", "backslashreplace").decode()
            raise InputError(f"{folder}: the name {shown} is not UTF-8; rename the file")
        if path.stem in paths:
            doubles.append(path.name)
        paths.setdefault(path.stem, path)
    if not paths:
        raise InputError(f"{option}: {folder} holds no image (no {', '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def _find_suffix(images: Iterable[str], masks: Iterable[str]) -> str:
    """Return what follows an image's name in most masks' names; nothing where as many have just the image's name."""
    stems, pairs = set(images), Counter[str]()
    for mask in masks:
        for end in range(1, len(mask) + 1):
            # 12 is not the mask of 1.
            if mask[:end] in stems and not mask[end : end + 1].isdigit():
                pairs[mask[end:]] += 1
    return min(pairs, key=lambda suffix: (-pairs[suffix], len(suffix), suffix), default="")
