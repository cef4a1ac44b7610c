"""Unpacking archives that came from elsewhere: regular files only, none outside the folder, no more than is allowed."""

import errno
import io
import lzma
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from losslab.data.download.external import unpack_with_program
from losslab.data.download.rar import is_cut_off
from losslab.errors import InputError
from losslab.io.files import open_scratch_folder

CHUNK = 1 << 20
DEEPEST = 100
"""Folders in a name: no dataset has more, and Python's own clearing away would not get through thousands."""
BY_PROGRAM = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
    LookupError,
)
"""What Python's readers raise on broken archives."""
UNWRITABLE = {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ}


@dataclass(frozen=True)
class ArchiveMember:
    name: str
    content: IO[bytes] | None
    """None: a link."""
    link: str = ""
    """The file in the archive that it links to."""


def unpack(archive: Path, folder: Path, limit: int | None = None) -> None:
    """Unpack a zip, tar (compressed or not), RAR or 7z archive, told by its first bytes, below `folder`.

    Links to files in the archive become copies of them.

    Args:
        limit: bytes that it may unpack to, as its card says; None: 100 times its size and 100 MB.

    Raises:
        InputError: not such an archive, damaged, encrypted, too large when unpacked, or with a member that leaves the
            folder, is a link to elsewhere, or no file.
    """
    written = _Written(archive, folder, limit)
    with archive.open("rb") as file:
        start = file.read(8)
    if start.startswith(BY_PROGRAM):
        if start.startswith(b"Rar!") and is_cut_off(archive):
            raise InputError(f"{archive}: ends too early. Is it complete?")
        with open_scratch_folder(folder.with_name(f".{folder.name}.program")) as apart:
            unpack_with_program(archive, apart, lambda name: _checked_name(archive, name, True), written.check)
            for path in sorted(path for path in apart.rglob("*") if path.is_file()):
                written.move(path.relative_to(apart).as_posix(), path)
        return
    try:
        with _zip_members(archive) if start.startswith(ZIP) else _tar_members(archive) as members:
            for member in tqdm(members, desc=f"unpack {archive.name}", unit=" files", disable=None):
                written.add(member)
        written.copy_links()
    except InputError:
        raise
    except DAMAGED as error:
        # tarfile tells at length what it tried, which says no more.
        reason = "" if str(error).startswith("file could not be opened") else f": {error}"
        raise InputError(f"{archive}: damaged, or no zip, tar, RAR or 7z archive{reason}") from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # of gzip and bz2, and of seeking to nowhere: no fault of the disk
            raise InputError(f"{archive}: damaged: {error}") from None
        raise


class _Written:
    """What an archive has brought into a folder so far."""

    def __init__(self, archive: Path, folder: Path, limit: int | None) -> None:
        self.archive = archive
        self.folder = folder
        self.limit = limit
        self.size = 0
        self.files: set[str] = set()
        self.links: dict[str, str] = {}

    def check(self, size: int) -> None:
        """Raises InputError where `size` bytes are more than are allowed."""
        if self.limit is not None and size > self.limit:
            raise InputError(f"{self.archive}: unpacks to more than the card's {self.limit} bytes; refused")
        if self.limit is None and size > (most := 100 * self.archive.stat().st_size + 100_000_000):
            raise InputError(
                f"{self.archive}: unpacks to more than {most} bytes, far more than its own size; refused. If that is "
                "right, unpack it and name the folder"
            )

    def add(self, member: ArchiveMember) -> None:
        if member.name in (self.links if member.content else self.links.keys() | self.files):
            raise InputError(f"{self.archive}: holds {member.name!r} more than once, as a link; refused")
        if member.content is None:
            self.links[member.name] = member.link
        else:
            with member.content as content:
                self._write(member.name, content)

    def copy_links(self) -> None:
        for name, link in self.links.items():
            target, seen = link, {name}
            while target in self.links and target not in seen:
                seen.add(target)
                target = self.links[target]
            if target not in self.files:
                raise InputError(f"{self.archive}: holds {name!r}, a link to {link!r}, which is no file in it; refused")
            with (self.folder / target).open("rb") as content:
                self._write(name, content)

    def move(self, name: str, path: Path) -> None:
        with self._named(name) as target:
            path.replace(target)

    def _write(self, name: str, content: IO[bytes]) -> None:
        with self._named(name) as target, target.open("wb") as file:
            # Counted here: what an archive says of its sizes may be a lie.
            while chunk := content.read(CHUNK):
                self.size += len(chunk)
                self.check(self.size)
                file.write(chunk)
        self.files.add(name)

    @contextmanager
    def _named(self, name: str) -> Iterator[Path]:
        """Where a file of this name goes; a name that the disk does not take is the archive's fault."""
        target = self.folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield target
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            shown = name if len(name) <= 80 else f"{name[:80]}…"
            raise InputError(f"{self.archive}: holds {shown!r}, which cannot be written: {error.strerror}") from None


@contextmanager
def _zip_members(archive: Path) -> Iterator[Iterator[ArchiveMember]]:
    with zipfile.ZipFile(archive) as packed:
        yield (member for info in packed.infolist() if (member := _zip_member(archive, packed, info)))


def _zip_member(archive: Path, packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> ArchiveMember | None:
    name = _checked_name(archive, info.filename, info.is_dir())
    if info.is_dir():
        return None
    mode = info.external_attr >> 16  # 0 where it was made without one
    if info.flag_bits & 1:
        raise InputError(f"{archive}: is encrypted; unpack it, and name the folder: download.source=FOLDER")
    if stat.S_ISLNK(mode):
        with packed.open(info) as content:
            return ArchiveMember(
                name, None, _target(archive, name, posixpath.dirname(name), content.read(4096).decode())
            )
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise InputError(f"{archive}: holds {name!r}, which is a device; refused")
    return ArchiveMember(name, packed.open(info))


@contextmanager
def _tar_members(archive: Path) -> Iterator[Iterator[ArchiveMember]]:
    with tarfile.open(archive, "r:*") as packed:
        yield _tar_members_to_the_end(archive, packed)


def _tar_members_to_the_end(archive: Path, packed: tarfile.TarFile) -> Iterator[ArchiveMember]:
    for info in packed:
        member = _tar_member(archive, packed, info)
        if member:
            yield member
    # Python takes a header that is cut off or damaged for the end; there a tar has a block of zeros.
    file = packed.fileobj
    assert file is not None
    file.seek(packed.offset)
    block = file.read(tarfile.BLOCKSIZE)
    is_plain = isinstance(file, io.BufferedReader)
    if block != bytes(tarfile.BLOCKSIZE) and (block or is_plain):
        raise InputError(f"{archive}: damaged, or it ends too early. Is it complete?")
    while file.read(CHUNK):
        pass  # a compressed one has its checksum at the end


def _tar_member(archive: Path, packed: tarfile.TarFile, info: tarfile.TarInfo) -> ArchiveMember | None:
    name = _checked_name(archive, info.name, info.isdir())
    if info.isdir():
        return None
    if info.issym():
        return ArchiveMember(name, None, _target(archive, name, posixpath.dirname(name), info.linkname))
    if info.islnk():
        return ArchiveMember(name, None, _target(archive, name, "", info.linkname))
    if not info.isreg():
        raise InputError(f"{archive}: holds {name!r}, which is a device; refused")
    return ArchiveMember(name, packed.extractfile(info))


def _target(archive: Path, name: str, base: str, link: str) -> str:
    target = posixpath.normpath(posixpath.join(base, link))
    if link.startswith("/") or target.startswith("../") or target == "..":
        raise InputError(f"{archive}: holds {name!r}, a link to {link!r}, which leaves the folder; refused")
    return target


def _checked_name(archive: Path, name: str, is_folder: bool) -> str:
    """The name in its plainest form. On Windows a backslash is a slash, and a colon ends a drive's name."""
    path, there = PurePosixPath(name), PurePosixPath(name.replace("\\", "/"))
    shown = name if len(name) <= 80 else f"{name[:80]}…"
    if path.is_absolute() or there.is_absolute() or ".." in there.parts or ":" in "".join(there.parts[:1]):
        raise InputError(f"{archive}: holds {shown!r}, which leaves the folder it is unpacked in; refused")
    if "\0" in name or not (path.parts or is_folder) or len(path.parts) > DEEPEST:
        raise InputError(f"{archive}: holds {shown!r}, which is no name to write; refused")
    return path.as_posix()
