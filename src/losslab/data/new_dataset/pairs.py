"""The files of two folders that belong together: images, and their masks by name."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from losslab.data.readers import IMAGE_SUFFIXES, get_stem, is_text
from losslab.errors import InputError


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
        if get_stem(path) in paths:
            doubles.append(path.name)
        paths.setdefault(get_stem(path), path)
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
