"""Masks of overlapping classes of your own data: a folder for each image, a folder for each class, or bands of a file."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from losslab.bands import BandFormat
from losslab.cards import IGNORE_INDEX, NONZERO, RawValue
from losslab.data.annotations.model import BACKGROUND_LABELS, Annotations
from losslab.data.annotations.paths import SPLITS_BY_FOLDER
from losslab.data.images.class_masks import ClassMasks
from losslab.data.images.decode import UnusableFileError
from losslab.data.new_dataset.classes import MaskClass, pick_colours
from losslab.data.new_dataset.label_classes import check_label_names, choose_void_labels, parse_groups
from losslab.data.new_dataset.masks import map_files
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.data.new_dataset.pairs import FilePairs, find_pairs, list_images, pair_files
from losslab.data.new_dataset.scan import ScanResult, measure_images
from losslab.data.readers import get_stem, normalize_name
from losslab.errors import InputError
from losslab.formats import format_list
from losslab.plugins import Sample

DRAWN, ANY = 1, NONZERO
"""The value of a class in masks that are drawn from annotations, and in those that are given."""
FOLDER_END = ".folder"
"""What stands for the ending of a file in the names of folders, which may have dots of their own."""


@dataclass(frozen=True)
class GivenMasks:
    pairs: FilePairs
    """Images with their masks: files with a band for each class, or folders with a file for each."""
    names: list[str]


def group_labels(options: NewDatasetOptions, annotations: Annotations) -> dict[str, list[str]]:
    """Return the labels of each overlapping class. Raises InputError for labels that are neither of a class nor void."""
    labels = [label for label in annotations.labels if label not in BACKGROUND_LABELS]
    groups = parse_groups(options.classes or [])
    named = [label for each in groups.values() for label in each]
    if unknown := [label for label in named if label not in labels]:
        raise InputError(f"--classes: no annotation has the label {unknown[0]}; there are {format_list(labels, 12)}")
    void = choose_void_labels(options, annotations, named)
    if not groups:
        groups = {label: [label] for label in labels if label not in void}
        check_label_names(groups)
    elif unlisted := [label for label in labels if label not in (*named, *void)]:
        raise InputError(
            f"--classes lacks {format_list(unlisted, 12)}, which the annotations have; name them too, join them to a class "
            f"(pet=dog+cat), or give --void {unlisted[0]} or --void rest"
        )
    _check_number(groups)
    return groups


def _check_number(names: Collection[str]) -> None:
    if len(names) < 2:
        raise InputError("--overlapping takes two classes or more; of one alone, nothing can overlap")


def find_class_masks(options: NewDatasetOptions, masks: Path, folder: Path, in_place: bool) -> GivenMasks:
    """Find the masks of each image, and copy those that lie in a folder for each class into `folder`, by image.

    Raises InputError if classes have no name, or images and masks do not belong together.
    """
    if not masks.is_dir():
        raise InputError(f"--masks: {masks} {'is not a folder' if masks.exists() else 'does not exist'}")
    if options.images.resolve() == masks.resolve():
        raise InputError(f"{masks}: with --overlapping, --images and --masks must be different folders")
    given = _find_masks(options, masks, folder, in_place)
    _check_number(given.names)
    return given


def _find_masks(options: NewDatasetOptions, masks: Path, folder: Path, in_place: bool) -> GivenMasks:
    below = _list_folders(masks)
    if below and all(path.name.lower() in SPLITS_BY_FOLDER for path in below):
        below = [inner for path in below for inner in _list_folders(path)]
    if not below:
        return _find_bands(options, masks, deep=not in_place)
    images = list_images(options.images, "--images", masks)
    stems = {get_stem(path) for path in images.values()}
    if any(normalize_name(path.name) in stems for path in below):
        return _find_image_folders(options, masks, images, below)
    if in_place:
        raise InputError(
            f"--overlapping: {masks} has no folder with the name of an image; masks that stay in place lie in a folder for each "
            "image, or are files with a band for each class; name another folder to have them copied"
        )
    if below[0].parent != masks:
        raise InputError(
            f"--overlapping: {below[0].parent} has no folder with the name of an image; folders of classes come first: "
            f"{below[0].name}/{below[0].parent.name}/im1.png"
        )
    return _find_class_folders(options, folder, below)


def _list_folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]


def _find_bands(options: NewDatasetOptions, masks: Path, deep: bool) -> GivenMasks:
    if not options.classes:
        raise InputError(
            f"--overlapping: {masks} holds files, not folders; name the classes of their bands with --classes, in order"
        )
    return GivenMasks(find_pairs(options.images, masks, None, deep), list(options.classes))


def _find_image_folders(
    options: NewDatasetOptions, masks: Path, images: Mapping[str, Path], below: Sequence[Path]
) -> GivenMasks:
    folders = {f"{path.relative_to(masks).as_posix()}{FOLDER_END}": path for path in below}
    pairs = pair_files(images, folders, options.images, masks)
    pairs = replace(pairs, masks_alone=[name.removesuffix(FOLDER_END) for name in pairs.masks_alone])
    found = {get_stem(path) for each in pairs.masks.values() for path in each.iterdir() if path.name[0] != "."}
    names = list(options.classes or sorted(found))
    check_label_names(names)
    if unlisted := sorted(found - set(names)):
        raise InputError(f"--classes lacks {format_list(unlisted, 12)}, of which {masks} has masks")
    return GivenMasks(pairs, names)


def _find_class_folders(options: NewDatasetOptions, folder: Path, below: Sequence[Path]) -> GivenMasks:
    names = list(options.classes or [path.name for path in below])
    check_label_names(names)
    if names_missing := [name for name in names if name not in {path.name for path in below}]:
        raise InputError(f"--classes: {below[0].parent} has no folder {names_missing[0]}")
    pairs = {path.name: find_pairs(options.images, path) for path in below if path.name in names}
    images: dict[str, Path] = {}
    for name, each in pairs.items():
        for key, mask in each.masks.items():
            images.setdefault(key, each.images[key])
            target = folder / key / f"{name}{mask.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(mask, target)
    first = next(iter(pairs.values()))
    alone = set.intersection(*(set(each.images_alone) for each in pairs.values()))
    merged = replace(
        first,
        images=images,
        masks={key: folder / key for key in images},
        suffix="",
        images_alone=sorted(alone),
        masks_alone=[f"{name}/{file}" for name, each in pairs.items() for file in each.masks_alone],
        doubles=sorted({file for each in pairs.values() for file in each.doubles}),
    )
    return GivenMasks(merged, names)


def scan_overlapping(
    pairs: FilePairs, names: Sequence[str], value: RawValue, void: Sequence[RawValue], bands: BandFormat
) -> tuple[ScanResult, list[MaskClass], dict[RawValue, float]]:
    """Read all masks and measure all images; return also the classes and void values with their shares of all pixels.

    A value that is void for a class is counted once for each class. Raises InputError for masks that are unreadable.
    """
    reader = ClassMasks(names, [[value]] * len(names), void)

    def measure(path: Path) -> tuple[tuple[int, int], list[int], int]:
        try:
            labels = reader.read(Sample(path.name, path, path))
        except UnusableFileError as error:
            raise InputError(f"{path}: {error}") from None
        present = np.count_nonzero(labels == 1, axis=(0, 1)).tolist()
        return (labels.shape[1], labels.shape[0]), present, int(np.count_nonzero(labels == IGNORE_INDEX))

    measured = dict(zip(pairs.masks, map_files(measure, pairs.masks.values(), "masks"), strict=True))
    total = sum(width * height for (width, height), _, _ in measured.values())
    counts = np.sum([present for _, present, _ in measured.values()], axis=0)
    if empty := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise InputError(f"no mask has a pixel of {format_list(empty)}; leave such classes out with --classes")
    colours = pick_colours(len(names) + 1)[1:]
    classes = [
        MaskClass(name, colour, (value,), float(count / total))
        for name, colour, count in zip(names, colours, counts, strict=True)
    ]
    scan = measure_images(pairs, {name: size for name, (size, _, _) in measured.items()}, bands)
    share = sum(count for _, _, count in measured.values()) / (total * len(names))
    return scan, classes, {each: share / len(void) for each in void}
