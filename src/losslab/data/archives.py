"""Unpacking archives that came from elsewhere: regular files only, and none outside the folder."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from losslab.errors import InputError

Member = tuple[str, IO[bytes]]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (compressed or not, whatever its name says) or zip archive below `folder`.

    Raises:
        InputError: not such an archive, damaged, or with a member that is a link or leaves the folder.
    """
    try:
        with _members(archive) as members:
            for name, content in tqdm(members, desc=f"unpack {archive.name}", unit=" files", disable=None):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
    ) as error:  # RuntimeError: encrypted
        raise InputError(f"{archive}: damaged, or no tar or zip archive: {error}") from None


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(archive, packed)
    else:
        with tarfile.open(archive, "r:*") as packed:
            yield _tar_members(archive, packed)


def _zip_members(archive: Path, packed: zipfile.ZipFile) -> Iterator[Member]:
    for info in packed.infolist():
        _check_name(archive, info.filename)
        if not info.is_dir():
            yield info.filename, packed.open(info)


def _tar_members(archive: Path, packed: tarfile.TarFile) -> Iterator[Member]:
    for info in packed:
        _check_name(archive, info.name)
        content = packed.extractfile(info) if info.isfile() else None
        if content is not None:
            yield info.name, content
        elif not info.isdir():
            raise InputError(f"{archive}: holds {info.name!r}, which is a link or device; refused")


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InputError(f"{archive}: holds {name!r}, which leaves the folder it is unpacked in; refused")
