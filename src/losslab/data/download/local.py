"""Datasets on disk, copied or unpacked from the folder or archive that `download.source` names."""

import shutil
from pathlib import Path

from tqdm import tqdm

from losslab.cards import Archive, ArchiveSource, Card
from losslab.data.download.archives import unpack
from losslab.data.download.checksums import find_mismatch
from losslab.data.readers import find_layout
from losslab.errors import InputError
from losslab.io.files import walk_files


def copy_local(dataset: str, card: Card, source: Path, folder: Path, out: Path) -> None:
    """Copy or unpack `source` into `folder`, an empty one; `out` is where the dataset finally appears.

    The source is a folder that has the layout, at most two levels down, or one with the card's archives, or an archive.
    Raises InputError if it does not exist, is none of these, or holds a broken link.
    """
    archives = card.source.archives if isinstance(card.source, ArchiveSource) else []
    names = [archive.name for archive in archives]
    if not source.exists():
        raise InputError(f"download.source: {source} does not exist")
    if source.is_file():
        if not archives:
            unpack(source, folder)
        elif len(archives) == 1:  # the user may have renamed it
            unpack_checked(dataset, archives[0], source, folder)
        else:
            raise InputError(f"download.source is the file {source}; name a folder that holds {' and '.join(names)}")
        return
    present = [name for name in names if (source / name).is_file()]
    if archives and len(present) == len(archives):
        for archive in archives:
            unpack_checked(dataset, archive, source / archive.name, folder)
        return
    try:
        dataset_folder = find_layout(card.layout, source)
    except InputError as error:
        if present:
            missing = ", ".join(name for name in names if name not in present)
            raise InputError(f"download.source: {source} lacks {missing}; it holds {', '.join(present)}") from None
        raise InputError(f"download.source: {error}" + (f"; or {', '.join(names)}" if names else "")) from None
    _copy(dataset_folder, folder, out)


def unpack_checked(dataset: str, archive: Archive, path: Path, folder: Path) -> None:
    """Unpack a file of the user. Raises InputError if it is not the card's archive, or cannot be unpacked."""
    if mismatch := find_mismatch(archive, path, f"{dataset}'s card"):
        raise InputError(f"{path}: {mismatch}. Is it complete?")
    unpack(path, folder, archive.unpacked)


def _copy(source: Path, folder: Path, out: Path) -> None:
    if out.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(out.resolve()):
        raise InputError(f"download.source: cannot copy {source} to {out}: one contains the other")
    try:
        files = list(walk_files(source))
    except InputError as error:
        raise InputError(f"download.source: {error}") from None
    for path in tqdm(files, desc=f"copy {source.name}", unit=" files", disable=None):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copy no permissions: a read-only source must not make a read-only out.
        shutil.copyfile(path, target)
