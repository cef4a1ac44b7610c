"""A check that a RAR archive has its end, as the programs that unpack it miss a cut between two files."""

import struct
from pathlib import Path
from typing import IO

RAR_4, RAR_5 = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"


def is_cut_off(archive: Path) -> bool:
    """Tell whether a RAR archive ends before its end block.

    Blocks are skipped, not checked, as the programs check them. The formats are described in
    https://www.rarlab.com/technote.htm and, for RAR 4, in libarchive's archive_read_support_format_rar.c.
    """
    size = archive.stat().st_size
    with archive.open("rb") as file:
        start = file.read(len(RAR_5))
        skip_block = _skip_block_5 if start == RAR_5 else _skip_block_4
        file.seek(len(RAR_5 if start == RAR_5 else RAR_4))
        try:
            while file.tell() <= size:
                if skip_block(file):
                    return file.tell() > size
        except EOFError:
            pass
    return True


def _skip_block_5(file: IO[bytes]) -> bool:
    """Seek to the end of the next block, and return whether nothing can be read after it."""
    _read(file, 4)  # checksum
    length = _read_number(file)
    begin = file.tell()
    kind, flags = _read_number(file), _read_number(file)
    if flags & 0x1:
        _read_number(file)  # size of the extra area, which is part of `length`
    data = _read_number(file) if flags & 0x2 else 0
    file.seek(begin + length + data)
    return kind in (4, 5)  # encrypted from here on, or the end


def _skip_block_4(file: IO[bytes]) -> bool:
    begin = file.tell()
    _, kind, flags, length = struct.unpack("<HBHH", _read(file, 7))
    data = struct.unpack("<I", _read(file, 4))[0] if flags & 0x8000 else 0
    if kind in (0x74, 0x7A) and flags & 0x100:
        file.seek(begin + 32)
        data += struct.unpack("<I", _read(file, 4))[0] << 32
    file.seek(begin + max(length, 7) + data)
    return kind == 0x7B or (kind == 0x73 and bool(flags & 0x80))


def _read(file: IO[bytes], count: int) -> bytes:
    content = file.read(count)
    if len(content) < count:
        raise EOFError
    return content


def _read_number(file: IO[bytes]) -> int:
    """Read a number of at most ten bytes, seven bits in each, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = _read(file, 1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value
