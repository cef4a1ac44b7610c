"""What a reader lists: pairs of image and mask, and the files that it skips; and how files are paired by their names."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from losslab.cards import SplitName
from losslab.data.images.names import IMAGE_SUFFIXES, get_stem, is_text, normalize_name
from losslab.errors import InputError
from losslab.plugins import Sample

if TYPE_CHECKING:
    from losslab.data.findings import KindName


@dataclass
class DatasetListing:
    samples: list[Sample] = field(default_factory=list)
    skipped: "list[tuple[KindName, str]]" = field(default_factory=list)
    """Files that are no samples: the kind of finding, and the path below the dataset's folder."""
    has_mask_folders: bool = False
    """Whether a mask may be a folder with a file for each class."""

    def skip(self, kind: "KindName", names: Iterable[str]) -> None:
        self.skipped += [(kind, name) for name in sorted(names)]

    def skip_others(self, paths: Iterable[Path], folder: Path) -> None:
        """Skip what lies among the folders of images below `folder`."""
        for path in paths:
            self.skip("hidden file" if path.name.startswith(".") else "not an image", [get_relative(path, folder)])


@dataclass(frozen=True)
class DatasetLayout:
    folders: tuple[str, ...]
    """Files and folders that every folder in this layout has; * stands for any name."""
    read: Callable[[Path, str, DatasetListing], None]
    """Lists a folder; the string is the suffix of masks' names."""


def pair_files(
    folder: Path,
    images: str,
    masks: str,
    listing: DatasetListing,
    split: SplitName | Mapping[str, SplitName] | None,
    suffix: str = "",
    *,
    image_suffix: str = "",
    passed: tuple[str, ...] = (),
    prefix: str = "",
    all_have_masks: bool = True,
) -> None:
    """Pair the images of one folder with the masks of another by stem.

    Args:
        split: one for all, or one for each stem.
        suffix: what masks' stems end in, beside their images'.
        image_suffix: what images' stems end in, beside their masks'.
        passed: ends of the stems of other files that the dataset has there, which are neither.
        prefix: what a name has before the stem, where folders of their own repeat stems: val/001 is not train/001.
        all_have_masks: whether an image without a mask is a fault.
    """
    image_paths = list_by_stem(folder, images, image_suffix, listing, passed)
    mask_paths = list_by_stem(folder, masks, suffix, listing, passed, listing.has_mask_folders)
    for stem in sorted(image_paths.keys() & mask_paths.keys()):
        own_split = split.get(stem) if isinstance(split, Mapping) else split
        listing.samples.append(Sample(prefix + stem, image_paths[stem], mask_paths[stem], own_split))
    without_mask, without_image = image_paths.keys() - mask_paths.keys(), mask_paths.keys() - image_paths.keys()
    if all_have_masks:
        listing.skip("image without a mask", (get_relative(image_paths[stem], folder) for stem in without_mask))
    listing.skip("mask without an image", (get_relative(mask_paths[stem], folder) for stem in without_image))


def find_split(folder: Path, images: str, masks: str, listing: DatasetListing) -> bool:
    """Return whether a split has both its folders; where it has no masks, or neither, that is noted.

    Raises InputError if it has masks alone.
    """
    has_images, has_masks = (folder / images).is_dir(), (folder / masks).is_dir()
    if has_masks and not has_images:
        raise InputError(f"{folder}: lacks {images}, the images of {masks}")
    if not has_masks:
        listing.skip("split without masks" if has_images else "split without a folder", [images])
    return has_masks


def find_pair(folder: Path, images: str, masks: str, listing: DatasetListing) -> bool:
    """Return whether there are both a folder of images and the one of their masks; note one that is alone."""
    has_images, has_masks = (folder / images).is_dir(), (folder / masks).is_dir()
    if has_images and not has_masks:
        listing.skip("image without a mask", [images])
    if has_masks and not has_images:
        listing.skip("mask without an image", [masks])
    return has_images and has_masks


def list_by_stem(
    folder: Path,
    name: str,
    suffix: str,
    listing: DatasetListing,
    passed: tuple[str, ...] = (),
    takes_folders: bool = False,
) -> dict[str, Path]:
    """List the images of a folder by their stem without the suffix, with `takes_folders` also the folders in it."""
    paths: dict[str, Path] = {}
    for path in sorted((folder / name).iterdir()):
        relative = get_relative(path, folder)
        is_folder = takes_folders and path.is_dir()
        stem = (normalize_name(path.name) if is_folder else get_stem(path)).removesuffix(normalize_name(suffix))
        is_broken_link = path.is_symlink() and not path.exists()  # reported when it is read
        if not is_text(path.name):
            listing.skip("name that is no text", [relative.encode("utf-8", "backslashreplace").decode()])
        elif path.name.startswith("."):
            listing.skip("hidden file", [relative])
        elif stem.endswith(passed):
            continue
        elif not is_folder and (not (path.is_file() or is_broken_link) or path.suffix.lower() not in IMAGE_SUFFIXES):
            listing.skip("not an image", [relative])
        elif stem in paths:
            listing.skip("same name as another", [relative])
        else:
            paths[stem] = path
    return paths


def get_relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
