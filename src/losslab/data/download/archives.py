"""Archives from elsewhere, unpacked with care: only regular files, none outside the folder, no more than is allowed."""

import errno
import io
import lzma
import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tqdm import tqdm

from losslab.data.download.rar import is_cut_off
from losslab.data.download.unpack_programs import unpack_with_program
from losslab.errors import InputError
from losslab.io.files import name_errors, open_scratch_folder

try:
    from _compression import DecompressReader
except ImportError:  # Python 3.14
    from compression._common._streams import DecompressReader  # type: ignore[import-not-found,no-redef]

CHUNK_BYTES = 1 << 20
MAX_DEPTH = 100
"""Folders in a name: no dataset has more, and Python could not remove thousands of nested ones."""
MAX_NAME_SHOWN = 80
RAR_AND_7Z_SIGNATURES = (b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c")
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
FORMAT_ERRORS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)
DAMAGE_ERRORS = (*FORMAT_ERRORS, EOFError, RuntimeError, ValueError, OverflowError, LookupError)
"""Errors that Python's readers raise on broken archives."""
UNBOUNDED_METHODS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
"""Methods of zip that Python does not unpack in bounded pieces: two kilobytes of them can be gigabytes at once."""
LONG_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
"""Types of tar headers that Python reads as a whole, whatever their length."""
MAX_HEADER_BYTES = 1 << 20
MAX_XZ_BYTES = 1 << 28
"""Memory to unpack an .xz: `xz -9` needs a quarter of it."""
MEMORY_LIMIT = "Memory usage limit exceeded"
"""Text of LZMA's error."""
MAX_OVERHEAD_BYTES = 100_000_000
"""Bytes of a tar beside those of its files: headers, padding, and what follows its end."""
BAD_NAME_ERRNOS = {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ}


@dataclass(frozen=True)
class ArchiveMember:
    name: str
    content: IO[bytes] | None
    """None for a link."""
    link: str = ""
    """File in the archive that a link points to."""


def unpack(archive: Path, folder: Path, limit: int | None = None) -> None:
    """Unpack a zip, tar (compressed or not), RAR or 7z archive, recognised by its first bytes, below `folder`.

    Links to files in the archive become copies of them.

    Args:
        limit: bytes that it may unpack to, as its card says; None for 100 times its size and 100 MB.

    Raises:
        InputError: it is no such archive, damaged, encrypted, too large when unpacked, or has a member that leaves the
            folder, links to elsewhere, or is no file.
    """
    files = _UnpackedFiles(archive, folder, limit)
    with archive.open("rb") as file:
        start = file.read(8)
    if start.startswith(RAR_AND_7Z_SIGNATURES):
        if start.startswith(b"Rar!") and is_cut_off(archive):
            raise InputError(f"{archive}: ends too early. Is it complete?")
        with open_scratch_folder(folder.with_name(f".{folder.name}.program")) as apart:
            unpack_with_program(archive, apart, lambda name: _check_name(archive, name, True), files.check_size)
            for path in sorted(path for path in apart.rglob("*") if path.is_file()):
                files.move(path.relative_to(apart).as_posix(), path)
        return
    try:
        is_zip = start.startswith(ZIP_SIGNATURES)
        with _open_zip(archive) if is_zip else _open_tar(archive, files.check_overhead) as members:
            for member in tqdm(members, desc=f"unpack {archive.name}", unit=" files", disable=None):
                files.add(member)
        files.copy_links()
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{archive}: takes more memory to unpack than there is; refused") from None
    except DAMAGE_ERRORS as error:
        if str(error) == MEMORY_LIMIT:
            raise InputError(
                f"{archive}: takes more than {MAX_XZ_BYTES >> 20} MiB of memory to unpack; refused. If you trust it, unpack "
                "it and name the folder: download.source=FOLDER"
            ) from None
        # tarfile lists all formats that it tried, which does not help.
        reason = "" if str(error).startswith("file could not be opened") else f": {error}"
        raise InputError(f"{archive}: damaged, or not a zip, tar, RAR or 7z archive{reason}") from None
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # from gzip, bz2 and bad offsets; the disk is not at fault
            raise InputError(f"{archive}: damaged: {error}") from None
        raise


class _UnpackedFiles:
    """The files that an archive has brought into a folder so far."""

    def __init__(self, archive: Path, folder: Path, limit: int | None) -> None:
        self.archive, self.folder, self.limit = archive, folder, limit
        self.size = 0
        self.files: set[str] = set()
        self.links: dict[str, str] = {}

    def check_size(self, size: int) -> None:
        """Raise InputError if `size` bytes are more than are allowed."""
        if self.limit is not None and size > self.limit:
            raise InputError(f"{self.archive}: unpacks to more than the card's {self.limit} bytes; refused")
        if self.limit is None and size > (most := 100 * self.archive.stat().st_size + 100_000_000):
            raise InputError(
                f"{self.archive}: unpacks to more than {most} bytes, far more than its own size; refused. If you trust "
                "it, unpack it and name the folder"
            )

    def check_overhead(self, position: int) -> None:
        """Raise InputError if far more bytes of a tar than those of its files lie before this position in it."""
        if position - self.size > MAX_OVERHEAD_BYTES + (self.limit or 100 * self.archive.stat().st_size):
            raise InputError(f"{self.archive}: holds far more than its files at byte {position}; refused")

    def add(self, member: ArchiveMember) -> None:
        if member.name in (self.links if member.content else self.links.keys() | self.files):
            raise InputError(f"{self.archive}: holds {member.name!r} twice, once as a link; refused")
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
                raise InputError(
                    f"{self.archive}: holds {name!r}, a link to {link!r}, which is not in the archive; refused"
                )
            with (self.folder / target).open("rb") as content:
                self._write(name, content)

    def move(self, name: str, path: Path) -> None:
        with self._make_place(name) as target:
            path.replace(target)

    def _write(self, name: str, content: IO[bytes]) -> None:
        with self._make_place(name) as target, name_errors(target), target.open("wb") as file:
            # Sizes that an archive states may be lies, so they are counted here.
            while chunk := content.read(CHUNK_BYTES):
                self.size += len(chunk)
                self.check_size(self.size)
                file.write(chunk)
        self.files.add(name)

    @contextmanager
    def _make_place(self, name: str) -> Iterator[Path]:
        """Yield the path for a file of this name; a name that the disk does not take is the archive's fault."""
        target = self.folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield target
        except OSError as error:
            if error.errno not in BAD_NAME_ERRNOS:
                raise
            raise InputError(
                f"{self.archive}: holds {_shorten(name)!r}, which cannot be written: {error.strerror}"
            ) from None


@contextmanager
def _open_zip(archive: Path) -> Iterator[Iterator[ArchiveMember]]:
    with zipfile.ZipFile(archive) as packed:
        yield (member for info in packed.infolist() if (member := _read_zip_member(archive, packed, info)))


def _read_zip_member(archive: Path, packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> ArchiveMember | None:
    name = _check_name(archive, info.filename, info.is_dir())
    if info.is_dir():
        return None
    mode = info.external_attr >> 16  # 0 if it was made without one
    if info.flag_bits & 1:
        raise InputError(f"{archive}: is encrypted; unpack it, and name the folder: download.source=FOLDER")
    if info.compress_type in UNBOUNDED_METHODS:
        method = UNBOUNDED_METHODS[info.compress_type]
        raise InputError(
            f"{archive}: holds {_shorten(name)!r}, packed by {method}, which is refused as a few bytes can grow to any "
            "size; unpack it, and name the folder: download.source=FOLDER"
        )
    if stat.S_ISLNK(mode):
        with packed.open(info) as content:
            link = content.read(4096).decode()
        return ArchiveMember(name, None, _resolve_link(archive, name, posixpath.dirname(name), link))
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise InputError(f"{archive}: holds {name!r}, which is a device; refused")
    return ArchiveMember(name, packed.open(info))


class _BoundedTarInfo(tarfile.TarInfo):
    """A header of a tar that is refused before it, or the map of a sparse file, is read at any length."""

    def _proc_member(self, packed: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in LONG_HEADERS and self.size > MAX_HEADER_BYTES:
            raise InputError(
                f"{os.fsdecode(packed.name or '')}: has a header of {self.size} bytes, which no name needs; refused"
            )
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._proc_gnusparse_10(self, {}, packed)
        member: tarfile.TarInfo = super()._proc_member(packed)  # type: ignore[misc]
        return member

    def _proc_gnusparse_10(self, member: tarfile.TarInfo, headers: object, packed: tarfile.TarFile) -> None:
        raise InputError(
            f"{os.fsdecode(packed.name or '')}: holds {_shorten(member.name)!r}, which is stored as a sparse file; refused"
        )


class _BoundedTarFile(tarfile.TarFile):
    """A tar with bounded headers, unpacked in bounded memory: an .xz may ask for 4 GB with its first bytes."""

    tarinfo = _BoundedTarInfo

    @classmethod
    def xzopen(cls, name: Any, mode: Any = "r", fileobj: Any = None, preset: Any = None, **options: Any) -> Any:
        reader = DecompressReader(fileobj, lzma.LZMADecompressor, trailing_error=lzma.LZMAError, memlimit=MAX_XZ_BYTES)
        file = io.BufferedReader(reader)
        try:
            packed = cls.taropen(name, mode, file, **options)
        except (lzma.LZMAError, EOFError) as error:
            if str(error) == MEMORY_LIMIT:
                raise
            raise tarfile.ReadError("not an xz file") from error
        packed._extfileobj = False  # type: ignore[attr-defined]  # close it with the tar
        return packed


@contextmanager
def _open_tar(archive: Path, check_overhead: Callable[[int], None]) -> Iterator[Iterator[ArchiveMember]]:
    with archive.open("rb") as file, _BoundedTarFile.open(archive, "r:*", file) as packed:
        yield _read_tar_to_its_end(archive, packed, check_overhead)


def _read_tar_to_its_end(
    archive: Path, packed: tarfile.TarFile, check_overhead: Callable[[int], None]
) -> Iterator[ArchiveMember]:
    for info in packed:
        check_overhead(info.offset_data)
        if member := _read_tar_member(archive, packed, info):
            yield member
    # Python takes a header that is cut off or damaged for the end; a real end has a block of zeros.
    file = packed.fileobj
    assert file is not None
    file.seek(packed.offset)
    block = file.read(tarfile.BLOCKSIZE)
    is_plain = isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)
    if block != bytes(tarfile.BLOCKSIZE) and (block or is_plain):
        raise InputError(f"{archive}: damaged, or it ends too early. Is it complete?")
    while file.read(CHUNK_BYTES):
        check_overhead(file.tell())  # a compressed one has its checksum at the end


def _read_tar_member(archive: Path, packed: tarfile.TarFile, info: tarfile.TarInfo) -> ArchiveMember | None:
    name = _check_name(archive, info.name, info.isdir())
    if info.isdir():
        return None
    if info.issym() or info.islnk():
        base = posixpath.dirname(name) if info.issym() else ""
        return ArchiveMember(name, None, _resolve_link(archive, name, base, info.linkname))
    if not info.isreg():
        raise InputError(f"{archive}: holds {name!r}, which is a device; refused")
    return ArchiveMember(name, packed.extractfile(info))


def _resolve_link(archive: Path, name: str, base: str, link: str) -> str:
    target = posixpath.normpath(posixpath.join(base, link))
    if link.startswith("/") or target.startswith("../") or target == "..":
        raise InputError(f"{archive}: holds {name!r}, a link to {link!r}, which leaves the folder; refused")
    return target


def _check_name(archive: Path, name: str, is_folder: bool) -> str:
    """Return the name in its plainest form, if it stays in the folder on every system.

    On Windows a backslash is a slash, and a colon ends a drive's name.
    """
    path, windows_path = PurePosixPath(name), PurePosixPath(name.replace("\\", "/"))
    parts = windows_path.parts
    if path.is_absolute() or windows_path.is_absolute() or ".." in parts or ":" in "".join(parts[:1]):
        raise InputError(f"{archive}: holds {_shorten(name)!r}, which leaves the folder it is unpacked in; refused")
    if "\0" in name or not (path.parts or is_folder) or len(path.parts) > MAX_DEPTH:
        raise InputError(f"{archive}: holds {_shorten(name)!r}, which cannot be a file's name; refused")
    return path.as_posix()


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_SHOWN else f"{name[:MAX_NAME_SHOWN]}…"
