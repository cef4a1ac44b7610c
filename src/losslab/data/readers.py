"""One reader per on-disk layout: each lists pairs of image and mask, and counts what it passes over."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from losslab.data.cards import SPLITS, SplitName
from losslab.errors import InputError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"}


@dataclass(frozen=True)
class Sample:
    name: str
    image: Path
    mask: Path
    split: SplitName | None
    """The official split, where there is one."""


@dataclass
class Listing:
    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """Reason → files below the dataset's folder that are no part of it."""

    def skip(self, reason: str, names: Iterable[str]) -> None:
        for name in sorted(names):
            self.skipped.setdefault(reason, []).append(name)


@dataclass(frozen=True)
class Layout:
    folders: tuple[str, ...]
    """What must be there for a folder to be in this layout."""
    read: Callable[[Path, Listing], None]


def read_layout(layout: str, folder: Path) -> Listing:
    """List a dataset, sorted by name. Raises InputError where folders are missing or no pair is found."""
    check_layout(layout, folder)
    listing = Listing()
    LAYOUTS[layout].read(folder, listing)
    if not listing.samples:
        raise InputError(f"{folder}: no image with a mask found in the layout {layout}")
    listing.samples.sort(key=lambda sample: sample.name)
    return listing


def check_layout(layout: str, folder: Path) -> None:
    missing = [name for name in LAYOUTS[layout].folders if not (folder / name).exists()]
    if missing:
        raise InputError(
            f"{folder}: no {', '.join(missing)} in it; the layout {layout} has {', '.join(LAYOUTS[layout].folders)}"
        )


def _read_split_folders(folder: Path, listing: Listing) -> None:
    for split in SPLITS:
        _pair(folder, f"{split}/images", f"{split}/masks", listing, split)


def _read_folders(folder: Path, listing: Listing) -> None:
    _pair(folder, "images", "masks", listing, None)


def _read_oxford_pet(folder: Path, listing: Listing) -> None:
    """The official lists name the split; `images` also holds .mat files, `annotations/trimaps` macOS's `._*` files."""
    official: dict[str, SplitName] = {}
    for name, split in _PET_LISTS.items():
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                official[line.split()[0]] = split
    _pair(folder, "images", "annotations/trimaps", listing, official)
    present = {sample.name for sample in listing.samples}
    listing.skip("listed, but not on disk", official.keys() - present)


_PET_LISTS: dict[str, SplitName] = {"annotations/trainval.txt": "train", "annotations/test.txt": "test"}


def _pair(
    folder: Path, images: str, masks: str, listing: Listing, split: SplitName | Mapping[str, SplitName] | None
) -> None:
    """Pair the images of one folder with the masks of another by stem; `split` is that of all, or by stem."""
    image_paths, mask_paths = _images_by_stem(folder, images, listing), _images_by_stem(folder, masks, listing)
    for stem in sorted(image_paths.keys() & mask_paths.keys()):
        own_split = split.get(stem) if isinstance(split, Mapping) else split
        # Folders of their own may repeat a name: val/001 is not train/001.
        name = f"{split}/{stem}" if isinstance(split, str) else stem
        listing.samples.append(Sample(name, image_paths[stem], mask_paths[stem], own_split))
    for reason, paths, others in (
        ("image without a mask", image_paths, mask_paths),
        ("mask without an image", mask_paths, image_paths),
    ):
        listing.skip(reason, (str(path.relative_to(folder)) for stem, path in paths.items() if stem not in others))


def _images_by_stem(folder: Path, name: str, listing: Listing) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted((folder / name).iterdir()):
        relative = str(path.relative_to(folder))
        if path.name.startswith("."):
            listing.skip("hidden file", [relative])
        elif not path.is_file() or path.suffix.lower() not in IMAGE_SUFFIXES:
            listing.skip("not an image", [relative])
        elif path.stem in found:
            listing.skip("same name as another", [relative])
        else:
            found[path.stem] = path
    return found


LAYOUTS: dict[str, Layout] = {
    "split_folders": Layout(tuple(f"{s}/{kind}" for s in SPLITS for kind in ("images", "masks")), _read_split_folders),
    "folders": Layout(("images", "masks"), _read_folders),
    "oxford_pet": Layout(("images", "annotations/trimaps", *_PET_LISTS), _read_oxford_pet),
}
