"""The files of two folders that belong together: images, and their masks by name."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from losslab.cards import SplitName
from losslab.data.annotations.paths import SPLITS_BY_FOLDER
from losslab.data.annotations.paths import find_split as find_words_split
from losslab.data.readers import IMAGE_SUFFIXES, is_text, normalize_name
from losslab.errors import InputError
from losslab.io.files import walk_files

KINDS = ("images", "masks")


@dataclass(frozen=True, kw_only=True)
class FilePairs:
    images: dict[str, Path]
    """Images that have a mask, by name, which begins with train/, val/ or test/ where there is an official split."""
    masks: dict[str, Path]
    """Their masks, by the same names."""
    suffix: str
    """What follows the image's name in the name of its mask; nothing where a pattern pairs them."""
    has_splits: bool
    images_alone: list[str]
    masks_alone: list[str]
    doubles: list[str]
    """Files that have the same name as another, but for the ending, or in which the pattern captures the same."""


def find_pairs(images: Path, masks: Path, pattern: re.Pattern[str] | None = None, deep: bool = True) -> FilePairs:
    """Pair files by name: a mask is named as its image, or with the same suffix on all: im1.jpg with im1_mask.png.

    Args:
        pattern: pairs files in whose names, with the folders before them, its brackets capture the same.
        deep: look into subfolders too.

    Raises InputError if a folder is missing or holds no image, both are the same folder, or there is no pair.
    """
    if images.resolve() == masks.resolve():
        if not list(images.glob("*/images")) or not list(images.glob("*/masks")):
            raise InputError(
                f"{images}: --images and --masks must be different folders, or hold train/images, train/masks"
            )
        all_images, all_masks = (_keep_kind(list_images(images, f"--{kind}", None, deep), kind) for kind in KINDS)
    else:
        all_images, all_masks = (
            list_images(images, "--images", masks, deep),
            list_images(masks, "--masks", images, deep),
        )
    return pair_files(all_images, all_masks, images, masks, pattern)


def pair_files(
    all_images: Mapping[str, Path],
    all_masks: Mapping[str, Path],
    images: Path,
    masks: Path,
    pattern: re.Pattern[str] | None = None,
) -> FilePairs:
    """Pair files by their paths below the folders of images and masks, as `find_pairs` does. Raises InputError for no pair."""
    for with_folders in (True, False):
        by_key, doubles = _index(all_images, "", pattern, with_folders)
        suffix = "" if pattern else _find_suffix(by_key, _index(all_masks, "", None, with_folders)[0])
        masks_by_key, mask_doubles = _index(all_masks, suffix, pattern, with_folders)
        if keys := sorted(by_key.keys() & masks_by_key.keys()):
            break
    else:
        first, first_mask = next(iter(all_images), "none"), next(iter(all_masks), "none")
        named = f"no mask in {masks} is named as an image in {images} ({first} and {first_mask})"
        if pattern:
            raise InputError(f"--pair: {pattern.pattern!r} captures the same in no image and mask, such as {named[3:]}")
        raise InputError(
            f"{named}; a mask needs its image's name, or the same suffix as all others: im1.jpg, im1_mask.png; or give --pair"
        )
    files = [by_key[key] for key in keys]
    names_by_file, has_splits = name_samples(files, {file: find_split(file) for file in files}, images)
    names = {key: names_by_file[by_key[key]] for key in keys}
    paired = {by_key[key] for key in keys} | set(doubles)
    masks_paired = {masks_by_key[key] for key in keys} | set(mask_doubles)
    return FilePairs(
        images={names[key]: all_images[by_key[key]] for key in keys},
        masks={names[key]: all_masks[masks_by_key[key]] for key in keys},
        suffix=suffix,
        has_splits=has_splits,
        images_alone=[file for file in all_images if file not in paired],
        masks_alone=[file for file in all_masks if file not in masks_paired],
        doubles=doubles + mask_doubles,
    )


def _keep_kind(files: Mapping[str, Path], kind: str) -> dict[str, Path]:
    """Keep the files below folders such as train/images, as train/name."""
    parts = {file: Path(file).parts for file in files}
    return {"/".join((one[0], *one[2:])): files[file] for file, one in parts.items() if len(one) > 2 and one[1] == kind}


def list_images(folder: Path, option: str, other: Path | None, deep: bool = True) -> dict[str, Path]:
    """List the images by their path below the folder, through links too, without the other folder, should it lie in this.

    Raises InputError for a link that is broken, or leads in a circle.
    """
    if not folder.is_dir():
        raise InputError(f"{option}: {folder} {'is not a folder' if folder.exists() else 'does not exist'}")

    def is_kept(path: Path) -> bool:
        if path.name.startswith((".", "__MACOSX")):
            return False
        if path.is_dir():
            return deep and (other is None or not path.samefile(other))
        return path.suffix.lower() in IMAGE_SUFFIXES

    try:
        files = {path.relative_to(folder).as_posix(): path for path in walk_files(folder, is_kept)}
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
    for relative in files:
        if not is_text(relative):
            shown = relative.encode("utf-8", "backslashreplace").decode()
            raise InputError(f"{folder}: the name {shown} is not UTF-8; rename the file")
    if not files:
        raise InputError(f"{option}: {folder} holds no image (no {', '.join(sorted(IMAGE_SUFFIXES))})")
    return files


def _index(
    files: Iterable[str], suffix: str, pattern: re.Pattern[str] | None, with_folders: bool
) -> tuple[dict[str, str], list[str]]:
    """Index files by what pairs them; return also those with the same as another. `suffix` is what masks' names add."""
    by_key: dict[str, str] = {}
    doubles = []
    for file in files:
        stem = normalize_name(str(Path(file).with_suffix("")))
        key = stem if with_folders else stem.split("/")[-1]
        if pattern:
            match = pattern.search(stem)
            if match is None:
                continue
            split = find_split(file) if with_folders else None
            key = "/".join([split or "", *(part or "" for part in match.groups())])
        if by_key.setdefault(key.removesuffix(suffix), file) != file:
            doubles.append(file)
    return by_key, doubles


def find_split(file: str) -> SplitName | None:
    """Return the official split that the first folder of a path below the images names."""
    folder, _, rest = file.partition("/")
    return SPLITS_BY_FOLDER.get(folder.lower()) if rest else None


def are_official(splits: Iterable[SplitName | None]) -> bool:
    """Tell whether the splits of all images are official ones: none is missing, and there are train and another."""
    found = set(splits)
    return None not in found and "train" in found and len(found) > 1


def name_samples(
    files: Sequence[str], splits: Mapping[str, SplitName | None], folder: Path
) -> tuple[dict[str, str], bool]:
    """Name samples by the files of their images below a folder; return also whether names begin with an official split.

    Raises InputError for two that would have one name.
    """
    has_splits = are_official(splits.values())
    names = {file: _name(file, splits[file] if has_splits else None) for file in files}
    for name, count in Counter(names.values()).items():
        if count > 1:
            same = [file for file in files if names[file] == name]
            raise InputError(f"{folder}: {' and '.join(same)} would both be called {name}; rename one of them")
    return names, has_splits


def _name(file: str, split: SplitName | None) -> str:
    """Name a sample by its path, whose folders become part of the name, except that of its split."""
    parts = normalize_name(str(Path(file).with_suffix(""))).split("/")
    if place := next((each for each in parts[:-1] if split and find_words_split(each) == split), None):
        parts.remove(place)
    return f"{split}/{'_'.join(parts)}" if split else "_".join(parts)


def _find_suffix(images: Iterable[str], masks: Iterable[str]) -> str:
    """Return what follows an image's name in most masks' names; nothing where as many have just the image's name."""
    stems, pairs = set(images), Counter[str]()
    for mask in masks:
        for end in range(1, len(mask) + 1):
            # 12 is not the mask of 1.
            if mask[:end] in stems and not mask[end : end + 1].isdigit():
                pairs[mask[end:]] += 1
    return min(pairs, key=lambda suffix: (-pairs[suffix], len(suffix), suffix), default="")
