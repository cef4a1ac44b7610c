"""One reader per on-disk layout: each lists pairs of image and mask, and the files that it skips."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from losslab.cards import SPLITS, Card, OwnSource, SplitName
from losslab.errors import InputError
from losslab.plugins import Sample
from losslab.plugins.manifest import find_plugins

if TYPE_CHECKING:
    from losslab.data.findings import KindName

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".npy"}
MAX_REASONS = 3
SHIPPED_PATTERNS = ("__pycache__", "*.pyc", ".*.partial")
"""Lines of losslab's own .dvcignore, which name no image."""


@dataclass
class DatasetListing:
    samples: list[Sample] = field(default_factory=list)
    skipped: "list[tuple[KindName, str]]" = field(default_factory=list)
    """Files that are no samples: the kind of finding, and the path below the dataset's folder."""
    has_mask_folders: bool = False
    """Whether a mask may be a folder with a file for each class."""

    def skip(self, kind: "KindName", names: Iterable[str]) -> None:
        self.skipped += [(kind, name) for name in sorted(names)]


@dataclass(frozen=True)
class DatasetLayout:
    folders: tuple[str, ...]
    """Files and folders that every folder in this layout has."""
    read: Callable[[Path, str, DatasetListing], None]
    """Lists a folder; the string is the suffix of masks' names."""


def find_dataset_folder(card: Card, raw: Path) -> Path:
    """Return the folder below data/raw/<dataset> that download filled, or the one that the user keeps there."""
    return raw / ("own" if isinstance(card.source, OwnSource) else "fetched")


def read_layout(card: Card, folder: Path) -> DatasetListing:
    """List a dataset, sorted by name. Raises InputError if folders are missing, or there is no pair."""
    check_not_linked(folder)
    check = check_own if isinstance(card.source, OwnSource) else check_layout
    check(card.layout, folder)
    listing = DatasetListing(has_mask_folders=card.is_overlapping)
    _find_reader(card.layout).read(folder, card.mask_suffix, listing)
    _skip_ignored(folder, listing)
    if not listing.samples:
        reasons = sorted({f"{name} ({kind})" for kind, name in listing.skipped})[:MAX_REASONS]
        skipped = f"; skipped: {', '.join(reasons)}" if reasons else ""
        raise InputError(f"{folder}: no image with a mask in the layout {card.layout}{skipped}")
    listing.samples.sort(key=lambda sample: sample.name)
    return listing


def _skip_ignored(folder: Path, listing: DatasetListing) -> None:
    """Skip the samples of files that a .dvcignore names: DVC neither stores them nor sees that they change."""
    samples = [(sample, (sample.image.absolute(), sample.mask.absolute())) for sample in listing.samples]
    folders = {path.parent for _, paths in samples for path in paths}
    root = _find_root(folder)
    if root is None or not any(map(_has_patterns, folders.union(*(each.parents for each in folders)))):
        return
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter

    is_ignored = DvcIgnoreFilter(localfs, str(root)).is_ignored_file
    ignored = [(sample, [path for path in paths if is_ignored(str(path))]) for sample, paths in samples]
    listing.skip("ignored by DVC", (_get_relative(path, folder.absolute()) for _, paths in ignored for path in paths))
    listing.samples = [sample for sample, paths in ignored if not paths]


def _has_patterns(folder: Path) -> bool:
    """Return whether a folder has a .dvcignore with patterns for more than byte code and unfinished files."""
    try:
        lines = (folder / ".dvcignore").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return False
    return any(line.strip() and not line.startswith("#") and line.strip() not in SHIPPED_PATTERNS for line in lines)


def check_layout(layout: str, folder: Path) -> None:
    if missing := _list_missing(layout, folder):
        folders = ", ".join(_find_reader(layout).folders)
        raise InputError(f"{folder}: lacks {', '.join(missing)}; the layout {layout} has {folders}")


def check_own(layout: str, own: Path) -> None:
    """Raise InputError if data that the user keeps in the repository are not in this layout."""
    try:
        check_layout(layout, own)
    except InputError as error:
        raise InputError(
            f"{error}. Put data there with `losslab datasets new`, track your own with `dvc add {own}`, or restore tracked "
            "data with `dvc checkout`"
        ) from None


def check_not_linked(folder: Path, root: Path | None = None) -> None:
    """Raise InputError if a folder, one below it or one on the way to it from the repository's root is a link.

    Links to files are no trouble: DVC hashes what they link to. None stands for the root of the repository around the
    folder; outside of any, only the folder and those below it are checked.
    """
    top = root or _find_root(folder)
    way = takewhile(lambda path: path.absolute() != top.absolute(), folder.parents) if top else ()
    below = (Path(place) / name for place, names, _ in os.walk(folder) for name in sorted(names))
    for path in chain(reversed([folder, *way]), below):
        if path.is_symlink():
            raise InputError(
                f"{path}: is a link to a folder, which DVC does not follow: it would store nothing and see no change. Put "
                "the files themselves there"
            )


def _find_root(folder: Path) -> Path | None:
    """Find the root of the DVC repository that a folder lies in."""
    return next((parent for parent in folder.absolute().parents if (parent / ".dvc").is_dir()), None)


def find_layout(layout: str, folder: Path) -> Path:
    """Find the only folder in this layout: this one, or up to two levels below. Raises InputError for none or more."""
    if not _list_missing(layout, folder):
        return folder
    below = sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir())
    # A zip made by macOS repeats its folders, with ._* files, below __MACOSX.
    below = [path for path in below if not _get_relative(path, folder).startswith((".", "__MACOSX/"))]
    matches = [path for path in below if not _list_missing(layout, path)]
    if len(matches) > 1:
        names = ", ".join(_get_relative(path, folder) for path in matches)
        raise InputError(f"{folder}: {len(matches)} folders match the layout {layout}: {names}; name one of them")
    if not matches:
        check_layout(layout, folder)
    return matches[0]


def _list_missing(layout: str, folder: Path) -> list[str]:
    return [name for name in _find_reader(layout).folders if not (folder / name).exists()]


def _find_reader(layout: str) -> DatasetLayout:
    if layout in LAYOUTS:
        return LAYOUTS[layout]
    from losslab.data.plugin_reader import read_samples

    entry = find_plugins().select("reader")[layout]

    def read(folder: Path, suffix: str, listing: DatasetListing) -> None:
        names = set[str]()
        for sample in read_samples(entry, folder):
            relative, name = _get_relative(sample.image, folder), normalize_name(sample.name)
            if not is_text(name + relative):
                listing.skip("name that is no text", [relative.encode("utf-8", "backslashreplace").decode()])
            elif missing := [path for path in (sample.image, sample.mask) if not path.exists()]:
                listing.skip("listed, but not on disk", [_get_relative(path, folder) for path in missing])
            elif name in names:
                listing.skip("same name as another", [relative])
            else:
                listing.samples.append(replace(sample, name=name))
            names.add(name)

    return DatasetLayout(tuple(entry.facts.get("requires", ())), read)


def _read_split_folders(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read a folder for each split; where val or test is missing altogether, prepare draws it from train."""
    for split in SPLITS:
        present = [(folder / split / kind).exists() for kind in ("images", "masks")]
        if any(present) and not all(present):
            raise InputError(f"{folder / split}: lacks {'masks' if present[0] else 'images'}")
        if all(present):
            _pair(folder, f"{split}/images", f"{split}/masks", suffix, listing, split)
        else:
            listing.skip("split without a folder", [split])


def _read_folders(folder: Path, suffix: str, listing: DatasetListing) -> None:
    _pair(folder, "images", "masks", suffix, listing, None)


def _read_camvid(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read SegNet's folders; where names of frames repeat between splits, the split becomes part of the name."""
    stems = [get_stem(path) for split in SPLITS for path in (folder / split).iterdir()]
    repeats = len(set(stems)) < len(stems)
    for split in SPLITS:
        official: dict[str, SplitName] = {get_stem(path): split for path in (folder / split).iterdir()}
        _pair(folder, split, f"{split}annot", suffix, listing, split if repeats else official)


def _read_ph2(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read one folder per case: IMD002/IMD002_Dermoscopic_Image/IMD002.bmp, IMD002/IMD002_lesion/IMD002_lesion.bmp."""
    for case in sorted((folder / PH2_CASES).iterdir()):
        name = case.name
        image_folder, mask_folder = case / f"{name}_Dermoscopic_Image", case / f"{name}_lesion"
        if not case.is_dir() or not (image_folder.is_dir() or mask_folder.is_dir()):
            listing.skip("hidden file" if name.startswith(".") else "not an image", [_get_relative(case, folder)])
        elif not image_folder.is_dir():
            listing.skip("mask without an image", [_get_relative(mask_folder, folder)])
        elif not mask_folder.is_dir():
            listing.skip("image without a mask", [_get_relative(image_folder, folder)])
        else:
            case_listing = DatasetListing()
            images, masks = _get_relative(image_folder, folder), _get_relative(mask_folder, folder)
            _pair(folder, images, masks, "_lesion", case_listing, {})
            listing.skipped += case_listing.skipped
            listing.samples += [
                sample if sample.name == normalize_name(name) else replace(sample, name=f"{name}/{sample.name}")
                for sample in case_listing.samples
            ]


PH2_CASES = "PH2 Dataset images"


def _read_oxford_pet(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """Read official lists that name the split; among the images are .mat files, among the masks macOS's `._*` files."""
    official: dict[str, SplitName] = {}
    for name, split in _PET_LISTS.items():
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                official[normalize_name(line.split()[0])] = split
    _pair(folder, "images", "annotations/trimaps", suffix, listing, official)
    present = {sample.name for sample in listing.samples}
    listing.skip("listed, but not on disk", official.keys() - present)


_PET_LISTS: dict[str, SplitName] = {"annotations/trainval.txt": "train", "annotations/test.txt": "test"}


def _pair(
    folder: Path,
    images: str,
    masks: str,
    suffix: str,
    listing: DatasetListing,
    split: SplitName | Mapping[str, SplitName] | None,
) -> None:
    """Pair the images of one folder with the masks of another by stem; `split` is one for all, or one for each stem."""
    image_paths = _list_by_stem(folder, images, "", listing)
    mask_paths = _list_by_stem(folder, masks, suffix, listing, listing.has_mask_folders)
    for stem in sorted(image_paths.keys() & mask_paths.keys()):
        own_split = split.get(stem) if isinstance(split, Mapping) else split
        # Folders of their own may repeat a name: val/001 is not train/001.
        name = f"{split}/{stem}" if isinstance(split, str) else stem
        listing.samples.append(Sample(name, image_paths[stem], mask_paths[stem], own_split))
    without_mask, without_image = image_paths.keys() - mask_paths.keys(), mask_paths.keys() - image_paths.keys()
    listing.skip("image without a mask", (_get_relative(image_paths[stem], folder) for stem in without_mask))
    listing.skip("mask without an image", (_get_relative(mask_paths[stem], folder) for stem in without_image))


def _list_by_stem(
    folder: Path, name: str, suffix: str, listing: DatasetListing, takes_folders: bool = False
) -> dict[str, Path]:
    """List the images of a folder by their stem without the suffix, with `takes_folders` also the folders in it."""
    paths: dict[str, Path] = {}
    for path in sorted((folder / name).iterdir()):
        relative = _get_relative(path, folder)
        is_folder = takes_folders and path.is_dir()
        stem = (normalize_name(path.name) if is_folder else get_stem(path)).removesuffix(normalize_name(suffix))
        is_broken_link = path.is_symlink() and not path.exists()  # reported when it is read
        if not is_text(path.name):
            listing.skip("name that is no text", [relative.encode("utf-8", "backslashreplace").decode()])
        elif path.name.startswith("."):
            listing.skip("hidden file", [relative])
        elif not is_folder and (not (path.is_file() or is_broken_link) or path.suffix.lower() not in IMAGE_SUFFIXES):
            listing.skip("not an image", [relative])
        elif stem in paths:
            listing.skip("same name as another", [relative])
        else:
            paths[stem] = path
    return paths


def get_stem(path: Path) -> str:
    """Return a file's name without its ending, in the one spelling by which images and masks are paired."""
    return normalize_name(path.stem)


def normalize_name(name: str) -> str:
    """Spell letters with accents as one character (NFC), whichever of two ways the system that wrote the name has."""
    return unicodedata.normalize("NFC", name)


def is_text(name: str) -> bool:
    """Tell whether a name is UTF-8: old archives hold names in other codes, which no table or JSON can hold."""
    return name.encode("utf-8", "ignore").decode() == name


def _get_relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


LAYOUTS: dict[str, DatasetLayout] = {
    "split_folders": DatasetLayout(("train/images", "train/masks"), _read_split_folders),
    "folders": DatasetLayout(("images", "masks"), _read_folders),
    "oxford_pet": DatasetLayout(("images", "annotations/trimaps", *_PET_LISTS), _read_oxford_pet),
    "camvid": DatasetLayout(tuple(f"{split}{kind}" for split in SPLITS for kind in ("", "annot")), _read_camvid),
    "ph2": DatasetLayout((PH2_CASES,), _read_ph2),
}
