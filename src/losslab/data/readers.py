"""One reader per on-disk layout: each lists pairs of image and mask, and what it passes over."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from losslab.cards import SPLITS, Card, OwnSource, SplitName
from losslab.errors import InputError

if TYPE_CHECKING:
    from losslab.data.findings import KindName

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"}


@dataclass(frozen=True, slots=True)
class DatasetSample:
    name: str
    image: Path
    mask: Path
    split: SplitName | None
    """The official split, where there is one."""


@dataclass
class DatasetListing:
    samples: list[DatasetSample] = field(default_factory=list)
    found: "list[tuple[KindName, str]]" = field(default_factory=list)
    """What is no sample: of what kind, and which file below the dataset's folder."""

    def note(self, kind: "KindName", names: Iterable[str]) -> None:
        self.found += [(kind, name) for name in sorted(names)]


@dataclass(frozen=True)
class DatasetLayout:
    folders: tuple[str, ...]
    """What must be there for a folder to be in this layout."""
    read: Callable[[Path, str, DatasetListing], None]
    """From a folder, with the suffix of masks' names."""


def dataset_folder(card: Card, raw: Path) -> Path:
    """Where below data/raw/<dataset> the files lie: what download fetched, or what the user put there."""
    return raw / ("own" if isinstance(card.source, OwnSource) else "fetched")


def read_layout(card: Card, folder: Path) -> DatasetListing:
    """List a dataset, sorted by name. Raises InputError where folders are missing or no pair is found."""
    if isinstance(card.source, OwnSource):
        check_own(card.layout, folder)
    else:
        check_layout(card.layout, folder)
    listing = DatasetListing()
    LAYOUTS[card.layout].read(folder, card.mask_suffix, listing)
    if not listing.samples:
        reasons = sorted({f"{kind}: {name}" for kind, name in listing.found})[:3]
        raise InputError(
            f"{folder}: no image with a mask found in the layout {card.layout}"
            + (f"; found {', '.join(reasons)}" if reasons else "")
        )
    listing.samples.sort(key=lambda sample: sample.name)
    return listing


def check_layout(layout: str, folder: Path) -> None:
    missing = _missing(layout, folder)
    if missing:
        raise InputError(
            f"{folder}: no {', '.join(missing)} in it; the layout {layout} has {', '.join(LAYOUTS[layout].folders)}"
        )


def check_own(layout: str, own: Path) -> None:
    """As `check_layout`, for data that the user keeps in the repository."""
    try:
        check_layout(layout, own)
    except InputError as error:
        raise InputError(
            f"{error}. `losslab datasets new` puts data there, `dvc add {own}` keeps what you put there, `dvc checkout` "
            "brings back what was kept"
        ) from None


def find_layout(layout: str, folder: Path) -> Path:
    """The folder in this layout: the given one, or the only one in the two levels of folders below it, as archives have it.

    Raises:
        InputError: none, or more than one.
    """
    if not _missing(layout, folder):
        return folder
    below = sorted(path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_dir())
    # A zip made by macOS repeats its folders, with ._* files, below __MACOSX.
    below = [path for path in below if not _relative(path, folder).startswith((".", "__MACOSX/"))]
    found = [path for path in below if not _missing(layout, path)]
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found)
        raise InputError(f"{folder}: the layout {layout} is found {len(found)} times in it: {names}; name one")
    if not found:
        check_layout(layout, folder)
    return found[0]


def _missing(layout: str, folder: Path) -> list[str]:
    return [name for name in LAYOUTS[layout].folders if not (folder / name).exists()]


def _read_split_folders(folder: Path, suffix: str, listing: DatasetListing) -> None:
    for split in SPLITS:
        _pair(folder, f"{split}/images", f"{split}/masks", suffix, listing, split)


def _read_folders(folder: Path, suffix: str, listing: DatasetListing) -> None:
    _pair(folder, "images", "masks", suffix, listing, None)


def _read_camvid(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """SegNet's folders. Its frames have names of their own; where they have not, they are called by their folder too."""
    stems = [path.stem for split in SPLITS for path in (folder / split).iterdir()]
    repeats = len(set(stems)) < len(stems)
    for split in SPLITS:
        official: dict[str, SplitName] = {path.stem: split for path in (folder / split).iterdir()}
        _pair(folder, split, f"{split}annot", suffix, listing, split if repeats else official)


def _read_ph2(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """A folder per case: IMD002/IMD002_Dermoscopic_Image/IMD002.bmp with IMD002/IMD002_lesion/IMD002_lesion.bmp."""
    for case in sorted((folder / PH2_CASES).iterdir()):
        name = case.name
        image_folder, mask_folder = case / f"{name}_Dermoscopic_Image", case / f"{name}_lesion"
        if not case.is_dir() or not (image_folder.is_dir() or mask_folder.is_dir()):
            listing.note("hidden file" if name.startswith(".") else "not an image", [_relative(case, folder)])
        elif not image_folder.is_dir() or not mask_folder.is_dir():
            there = image_folder if image_folder.is_dir() else mask_folder
            kind: KindName = "image without a mask" if there == image_folder else "mask without an image"
            listing.note(kind, [_relative(there, folder)])
        else:
            case_listing = DatasetListing()
            _pair(folder, _relative(image_folder, folder), _relative(mask_folder, folder), "_lesion", case_listing, {})
            listing.found += case_listing.found
            listing.samples += [
                sample if sample.name == name else replace(sample, name=f"{name}/{sample.name}")
                for sample in case_listing.samples
            ]


PH2_CASES = "PH2 Dataset images"


def _read_oxford_pet(folder: Path, suffix: str, listing: DatasetListing) -> None:
    """The official lists name the split; `images` also holds .mat files, `annotations/trimaps` macOS's `._*` files."""
    official: dict[str, SplitName] = {}
    for name, split in _PET_LISTS.items():
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            if line.strip() and not line.startswith("#"):
                official[line.split()[0]] = split
    _pair(folder, "images", "annotations/trimaps", suffix, listing, official)
    present = {sample.name for sample in listing.samples}
    listing.note("listed, but not on disk", official.keys() - present)


_PET_LISTS: dict[str, SplitName] = {"annotations/trainval.txt": "train", "annotations/test.txt": "test"}


def _pair(
    folder: Path,
    images: str,
    masks: str,
    suffix: str,
    listing: DatasetListing,
    split: SplitName | Mapping[str, SplitName] | None,
) -> None:
    """Pair the images of one folder with the masks of another by stem; `split` is that of all, or by stem."""
    image_paths = _images_by_stem(folder, images, "", listing)
    mask_paths = _images_by_stem(folder, masks, suffix, listing)
    for stem in sorted(image_paths.keys() & mask_paths.keys()):
        own_split = split.get(stem) if isinstance(split, Mapping) else split
        # Folders of their own may repeat a name: val/001 is not train/001.
        name = f"{split}/{stem}" if isinstance(split, str) else stem
        listing.samples.append(DatasetSample(name, image_paths[stem], mask_paths[stem], own_split))
    kinds: tuple[tuple[KindName, dict[str, Path], dict[str, Path]], ...] = (
        ("image without a mask", image_paths, mask_paths),
        ("mask without an image", mask_paths, image_paths),
    )
    for kind, paths, others in kinds:
        listing.note(kind, (_relative(path, folder) for stem, path in paths.items() if stem not in others))


def _images_by_stem(folder: Path, name: str, suffix: str, listing: DatasetListing) -> dict[str, Path]:
    """The images of a folder, by their stem less the suffix."""
    found: dict[str, Path] = {}
    for path in sorted((folder / name).iterdir()):
        relative = _relative(path, folder)
        stem = path.stem.removesuffix(suffix)
        is_broken_link = path.is_symlink() and not path.exists()  # told when it is read
        if not is_text(path.name):
            listing.note("name that is no text", [relative.encode("utf-8", "backslashreplace").decode()])
        elif path.name.startswith("."):
            listing.note("hidden file", [relative])
        elif not (path.is_file() or is_broken_link) or path.suffix.lower() not in IMAGE_SUFFIXES:
            listing.note("not an image", [relative])
        elif stem in found:
            listing.note("same name as another", [relative])
        else:
            found[stem] = path
    return found


def is_text(name: str) -> bool:
    """Old archives hold names in other codes than UTF-8, which no table or JSON can hold."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


LAYOUTS: dict[str, DatasetLayout] = {
    "split_folders": DatasetLayout(
        tuple(f"{s}/{kind}" for s in SPLITS for kind in ("images", "masks")), _read_split_folders
    ),
    "folders": DatasetLayout(("images", "masks"), _read_folders),
    "oxford_pet": DatasetLayout(("images", "annotations/trimaps", *_PET_LISTS), _read_oxford_pet),
    "camvid": DatasetLayout(tuple(f"{split}{kind}" for split in SPLITS for kind in ("", "annot")), _read_camvid),
    "ph2": DatasetLayout((PH2_CASES,), _read_ph2),
}
