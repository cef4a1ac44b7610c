"""Taking a dataset from where `download.source` says that it lies on disk, as a folder or as archives."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from losslab.cards import Archive, ArchiveSource, Card
from losslab.data.download.archives import unpack
from losslab.data.readers import find_layout
from losslab.errors import InputError
from losslab.io.hashing import compute_file_md5


def copy_local(dataset: str, card: Card, source: Path, folder: Path, out: Path) -> None:
    """Copy or unpack `source` into `folder`, an empty one.

    Args:
        source: a folder that has the layout, at most two levels down; or one with the card's archives; or an archive.
        out: where the dataset is to appear in the end; it cannot be its own source.

    Raises:
        InputError: it is not there, or none of these, or holds a broken link.
    """
    archives = card.source.archives if isinstance(card.source, ArchiveSource) else []
    names = [archive.name for archive in archives]
    if not source.exists():
        raise InputError(f"download.source: {source} does not exist")
    if source.is_file():
        place = source.parent
        if not archives:
            unpack(source, folder)
        elif len(archives) == 1:  # whatever the user has called it
            unpack_checked(dataset, archives[0], source, folder)
        else:
            raise InputError(f"download.source is {source}; name a folder that holds {' and '.join(names)}")
        return
    place = source
    found = [name for name in names if (place / name).is_file()]
    if archives and len(found) == len(archives):
        for archive in archives:
            unpack_checked(dataset, archive, place / archive.name, folder)
        return
    try:
        there = find_layout(card.layout, source)
    except InputError as error:
        if found:
            missing = ", ".join(name for name in names if name not in found)
            raise InputError(f"download.source: {source} lacks {missing}; it holds {', '.join(found)}") from None
        raise InputError(f"download.source: {error}" + (f"; or {', '.join(names)}" if names else "")) from None
    _copy(there, folder, out)


def unpack_checked(dataset: str, archive: Archive, path: Path, folder: Path) -> None:
    """Unpack a file of the user's, which must be the archive of the card.

    Raises:
        InputError: its checksum is another, or it cannot be unpacked.
    """
    if archive.md5 is not None and (md5 := compute_file_md5(path)) != archive.md5:
        raise InputError(f"{path}: md5 is {md5}; {dataset}'s card says {archive.md5}. Is it complete?")
    unpack(path, folder, archive.unpacked)


def _copy(source: Path, folder: Path, out: Path) -> None:
    if out.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(out.resolve()):
        raise InputError(f"download.source: {source} cannot be copied to {out}, one is in the other")
    files = sorted(_files(source, (source.resolve(),)))
    for path in tqdm(files, desc=f"copy {source.name}", unit=" files", disable=None):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Content only: a read-only source must not make a read-only out.
        shutil.copyfile(path, target)


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The files below a folder, through links too; `above` are the real folders that lead to it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if not path.exists():
                raise InputError(f"download.source: {path} is a broken link, to {path.readlink()}")
            if path.is_dir():
                real = path.resolve()
                if real in above:
                    raise InputError(f"download.source: {path} is a link to a folder that it lies in")
                yield from _files(path, (*above, real))
            elif path.is_file():
                yield path
