"""What lies in a folder of images and a folder of masks: which belong together, how large they are, what masks hold."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from losslab.cards import RawValue
from losslab.data.images.decode import UnusableFileError, Values, read_image, read_mask
from losslab.data.readers import IMAGE_SUFFIXES, is_text
from losslab.errors import InputError

MOST_VALUES = 256
"""More than these are no labels, but shades."""
LOSSLESS = "masks must be label images, one value per class, stored without loss (as PNG, BMP or TIFF)"
T = TypeVar("T")


@dataclass(frozen=True)
class FilePairs:
    images: dict[str, Path]
    """By name, those that have a mask."""
    masks: dict[str, Path]
    """Of the same names."""
    suffix: str
    """What the name of a mask has more than that of its image."""
    images_alone: list[str]
    masks_alone: list[str]
    doubles: list[str]
    """Files that have, but for the ending, the name of another."""


@dataclass(frozen=True)
class ScanResult:
    pixels: dict[RawValue, int]
    """How many each raw value has in all masks, in ascending order; colours where masks are in colours."""
    in_colours: bool
    smallest: tuple[int, int]
    """Width and height."""
    largest: tuple[int, int]
    other_sizes: list[str]
    """Images whose mask has another size."""
    unreadable: list[str]
    """Images that are none."""


def find_pairs(images: Path, masks: Path) -> FilePairs:
    """Pair files by name: a mask is named as its image, or all masks have the same more: im1.jpg with im1_mask.png.

    Raises:
        InputError: a folder that is not there or holds no image, one folder for both, no pair.
    """
    if images.resolve() == masks.resolve():
        raise InputError(f"{images}: given for images and for masks; each needs a folder of its own")
    doubles: list[str] = []
    by_stem, masks_by_stem = _by_stem(images, "--images", doubles), _by_stem(masks, "--masks", doubles)
    suffix = _suffix(by_stem.keys(), masks_by_stem.keys())
    by_name: dict[str, Path] = {}
    for stem, path in masks_by_stem.items():
        if by_name.setdefault(stem.removesuffix(suffix), path) != path:
            doubles.append(path.name)
    names = sorted(by_stem.keys() & by_name.keys())
    if not names:
        raise InputError(
            f"no mask in {masks} has the name of an image in {images} ({_first(by_stem)} and {_first(masks_by_stem)}); "
            "a mask is named as its image, or all masks with the same behind it: im1.jpg, im1_mask.png"
        )
    return FilePairs(
        {name: by_stem[name] for name in names},
        {name: by_name[name] for name in names},
        suffix,
        [path.name for stem, path in by_stem.items() if stem not in by_name],
        [path.name for name, path in by_name.items() if name not in by_stem],
        doubles,
    )


def scan_pairs(pairs: FilePairs) -> ScanResult:
    """Read every mask, and of images their size; with progress, on all cores.

    Raises:
        InputError: a mask that cannot be read, or holds shades instead of labels.
    """
    counted = _on_all_cores(_counted, pairs.masks.values(), "masks")
    in_colours = any(each.in_colours for each in counted)
    if in_colours:  # a grey mask among them is meant in colours too
        plain = [path for path, each in zip(pairs.masks.values(), counted, strict=True) if not each.in_colours]
        counted = [each for each in counted if each.in_colours] + _on_all_cores(_counted_in_colours, plain, "masks")
    pixels: Counter[RawValue] = Counter()
    for each in counted:
        pixels.update(each.pixels)
    if len(pixels) > MOST_VALUES:
        folder = next(iter(pairs.masks.values())).parent
        raise InputError(f"{folder}: masks hold {len(pixels)} {_what(in_colours)}; {LOSSLESS}")
    masks = {each.path: each.size for each in counted}
    sizes = dict(zip(pairs.images, _on_all_cores(_image_sizes, pairs.images.values(), "images"), strict=True))
    known = {name: size for name, size in sizes.items() if size}
    if not known:
        raise InputError(f"{next(iter(pairs.images.values())).parent}: none of the {len(sizes)} images can be read")
    return ScanResult(
        dict(sorted(pixels.items())),
        in_colours,
        min((size[0] for size in known.values()), key=math.prod),
        max((size[0] for size in known.values()), key=math.prod),
        [name for name, size in known.items() if masks[pairs.masks[name]] not in size],
        [name for name, size in sizes.items() if not size],
    )


@dataclass(frozen=True)
class _Counted:
    path: Path
    pixels: dict[RawValue, int]
    size: tuple[int, int]
    in_colours: bool


def _counted(path: Path) -> _Counted:
    _check_lossless(path)
    try:
        return _count(path, read_mask(path, in_colours=False), in_colours=False)
    except UnusableFileError as error:
        if error.kind != "label not in the card":  # what is in colours
            raise InputError(f"{path}: {error}") from None
    return _counted_in_colours(path)


def _counted_in_colours(path: Path) -> _Counted:
    try:
        return _count(path, read_mask(path, in_colours=True), in_colours=True)
    except UnusableFileError as error:
        raise InputError(f"{path}: {error}") from None


def _count(path: Path, values: Values, in_colours: bool) -> _Counted:
    if in_colours:
        red, green, blue = np.moveaxis(values.astype(np.int32), -1, 0)
        flat, counts = np.unique(red << 16 | green << 8 | blue, return_counts=True)
        raw: list[RawValue] = [(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in flat]
    else:
        all_counts = np.bincount(values.ravel())
        present = np.flatnonzero(all_counts)
        raw, counts = [int(value) for value in present], all_counts[present]
    if len(raw) > MOST_VALUES:
        raise InputError(f"{path}: holds {len(raw)} {_what(in_colours)}; {LOSSLESS}")
    return _Counted(path, dict(zip(raw, counts.tolist(), strict=True)), (values.shape[1], values.shape[0]), in_colours)


def _check_lossless(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    for name, is_it in (("JPEG", head[:2] == b"\xff\xd8"), ("lossy WebP", head[8:16] == b"WEBPVP8 ")):
        if is_it:
            raise InputError(f"{path}: is {name}, which blurs values; {LOSSLESS}")


def _image_sizes(path: Path) -> list[tuple[int, int]]:
    """Width and height as stored, and as turned by the orientation tag, if by that; nothing where it is no image."""
    try:
        with Image.open(path) as opened:
            size, orientation = opened.size, opened.getexif().get(0x0112, 1)
    except Exception:  # what a decoder raises on damaged bytes is anything at all
        try:
            picture = read_image(path)
        except UnusableFileError:
            return []
        size, orientation = (picture.pixels.shape[1], picture.pixels.shape[0]), picture.orientation
    return [size, size[::-1]] if orientation in (5, 6, 7, 8) else [size]


def _on_all_cores(work: Callable[[Path], T], paths: Iterable[Path], what: str) -> list[T]:
    paths = list(paths)
    pool = ThreadPoolExecutor()
    try:
        return list(tqdm(pool.map(work, paths), total=len(paths), desc=f"look at {what}", unit=" files", disable=None))
    finally:
        pool.shutdown(cancel_futures=True)


def _by_stem(folder: Path, option: str, doubles: list[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(
            f"{option}: {folder} is no folder" if folder.exists() else f"{option}: {folder} does not exist"
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        if not is_text(path.name):
            shown = path.name.encode("utf-8", "backslashreplace").decode()
            raise InputError(f"{folder}: the name {shown} is not in UTF-8: rename it")
        if path.stem in found:
            doubles.append(path.name)
        found.setdefault(path.stem, path)
    if not found:
        raise InputError(f"{option}: {folder} holds no image (no {', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def _suffix(images: Iterable[str], masks: Iterable[str]) -> str:
    """What most masks' names have more than that of an image; nothing, where as many have just its name."""
    stems, pairs = set(images), Counter[str]()
    for mask in masks:
        for end in range(1, len(mask) + 1):
            # 12 is not the mask of 1.
            if mask[:end] in stems and not mask[end : end + 1].isdigit():
                pairs[mask[end:]] += 1
    return min(pairs, key=lambda suffix: (-pairs[suffix], len(suffix), suffix), default="")


def _first(by_stem: dict[str, Path]) -> str:
    return next(iter(by_stem.values())).name


def _what(in_colours: bool) -> str:
    return "colours" if in_colours else "values"
