"""One reader per on-disk layout: each lists pairs of image and mask, and the files that it skips."""

import os
from dataclasses import replace
from itertools import chain, takewhile
from pathlib import Path

from losslab.cards import Card, OwnSource
from losslab.data.images.names import IMAGE_SUFFIXES, get_stem, is_text, list_mask_files, normalize_name
from losslab.data.readers import folders, medical, scenes
from losslab.data.readers.listing import DatasetLayout, DatasetListing, get_relative
from losslab.errors import InputError
from losslab.plugins import Sample
from losslab.plugins.manifest import find_plugins

__all__ = [
    "IMAGE_SUFFIXES",
    "LAYOUTS",
    "check_layout",
    "check_not_linked",
    "check_own",
    "find_dataset_folder",
    "find_layout",
    "get_stem",
    "is_text",
    "normalize_name",
    "read_layout",
]

MAX_REASONS = 3
SHIPPED_PATTERNS = ("__pycache__", "*.pyc", ".*.partial")
"""Lines of losslab's own .dvcignore, which name no image."""


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
    samples = [(sample, [path.absolute() for path in _list_files(sample)]) for sample in listing.samples]
    around = {path.parent for _, paths in samples for path in paths}
    root = _find_root(folder)
    if root is None or not any(map(_has_patterns, around.union(*(each.parents for each in around)))):
        return
    from dvc.fs import localfs
    from dvc.ignore import DvcIgnoreFilter

    is_ignored = DvcIgnoreFilter(localfs, str(root)).is_ignored_file
    ignored = [(sample, [path for path in paths if is_ignored(str(path))]) for sample, paths in samples]
    listing.skip("ignored by DVC", (get_relative(path, folder.absolute()) for _, paths in ignored for path in paths))
    listing.samples = [sample for sample, paths in ignored if not paths]


def _list_files(sample: Sample) -> list[Path]:
    return [sample.image, *list_mask_files(sample.mask), *([] if sample.valid is None else [sample.valid])]


def _has_patterns(folder: Path) -> bool:
    """Return whether a folder has a .dvcignore with patterns for more than byte code and unfinished files."""
    try:
        lines = (folder / ".dvcignore").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return False
    return any(line.strip() and not line.startswith("#") and line.strip() not in SHIPPED_PATTERNS for line in lines)


def check_layout(layout: str, folder: Path) -> None:
    if missing := _list_missing(layout, folder):
        has = ", ".join(_find_reader(layout).folders)
        raise InputError(f"{folder}: lacks {', '.join(missing)}; the layout {layout} has {has}")


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
    below = [path for path in below if not get_relative(path, folder).startswith((".", "__MACOSX"))]
    matches = [path for path in below if not _list_missing(layout, path)]
    if len(matches) > 1:
        names = ", ".join(get_relative(path, folder) for path in matches)
        raise InputError(f"{folder}: {len(matches)} folders match the layout {layout}: {names}; name one of them")
    if not matches:
        check_layout(layout, folder)
    return matches[0]


def _list_missing(layout: str, folder: Path) -> list[str]:
    def is_there(name: str) -> bool:
        return any(folder.glob(name)) if "*" in name else (folder / name).exists()

    return [name for name in _find_reader(layout).folders if not is_there(name)]


def _find_reader(layout: str) -> DatasetLayout:
    if layout in LAYOUTS:
        return LAYOUTS[layout]
    from losslab.data.plugin_reader import read_samples

    entry = find_plugins().select("reader")[layout]

    def read(folder: Path, suffix: str, listing: DatasetListing) -> None:
        names = set[str]()
        for sample in read_samples(entry, folder):
            relative, name = get_relative(sample.image, folder), normalize_name(sample.name)
            if not is_text(name + relative):
                listing.skip("name that is no text", [relative.encode("utf-8", "backslashreplace").decode()])
            elif missing := [path for path in _list_files(sample) if not path.is_file()]:
                listing.skip("listed, but not on disk", [get_relative(path, folder) for path in missing])
            elif name in names:
                listing.skip("same name as another", [relative])
            else:
                listing.samples.append(replace(sample, name=name))
            names.add(name)

    return DatasetLayout(tuple(entry.facts.get("requires", ())), read)


LAYOUTS: dict[str, DatasetLayout] = folders.LAYOUTS | medical.LAYOUTS | scenes.LAYOUTS
