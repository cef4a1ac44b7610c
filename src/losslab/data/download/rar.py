"""Whether a RAR archive goes to its end. The programs that unpack it take one that was cut off between two files for whole."""

import struct
from pathlib import Path
from typing import IO

RAR_4, RAR_5 = b"Rar!\x1a\x07\x00", b"Rar!\x1a\x07\x01\x00"


def is_cut_off(archive: Path) -> bool:
    """Whether a RAR archive ends before its end block. Blocks are hopped over, not checked: the programs do that.

    Formats: https://www.rarlab.com/technote.htm and, for RAR 4, libarchive's archive_read_support_format_rar.c.
    """
    size = archive.stat().st_size
    with archive.open("rb") as file:
        start = file.read(len(RAR_5))
        hop = _hop_5 if start == RAR_5 else _hop_4
        file.seek(len(RAR_5 if start == RAR_5 else RAR_4))
        try:
            while file.tell() <= size:
                if hop(file):
                    return file.tell() > size
        except EOFError:
            pass
    return True


def _hop_5(file: IO[bytes]) -> bool:
    """To behind the next block; returns whether nothing is to be read after it."""
    _read(file, 4)  # its checksum
    length = _number(file)
    begin = file.tell()
    kind, flags = _number(file), _number(file)
    if flags & 0x1:
        _number(file)  # the size of what is extra, within `length`
    data = _number(file) if flags & 0x2 else 0
    file.seek(begin + length + data)
    return kind in (4, 5)  # encrypted from here on, or the end


def _hop_4(file: IO[bytes]) -> bool:
    begin = file.tell()
    _, kind, flags, length = struct.unpack("<HBHH", _read(file, 7))
    data = struct.unpack("<I", _read(file, 4))[0] if flags & 0x8000 else 0
    if kind in (0x74, 0x7A) and flags & 0x100:
        file.seek(begin + 32)
        data += struct.unpack("<I", _read(file, 4))[0] << 32
    file.seek(begin + max(length, 7) + data)
    return kind == 0x7B or (kind == 0x73 and bool(flags & 0x80))


def _read(file: IO[bytes], count: int) -> bytes:
    found = file.read(count)
    if len(found) < count:
        raise EOFError
    return found


def _number(file: IO[bytes]) -> int:
    """Seven bits to a byte, the lowest first; at most ten bytes."""
    value = 0
    for shift in range(0, 70, 7):
        byte = _read(file, 1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value
