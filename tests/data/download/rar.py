"""RAR 5 archives of stored files, written by hand: no free program writes them. https://www.rarlab.com/technote.htm"""

import struct
import zlib
from pathlib import Path

SYMLINK, HARDLINK = 1, 4


def make_rar(path: Path, files: dict[str, bytes], links: dict[str, tuple[int, str]] | None = None) -> Path:
    """`links`: their kind and target, by name."""
    blocks = [_block(1, 0, _number(0))]  # of the archive
    blocks += [_file(name, content) for name, content in files.items()]
    blocks += [_file(name, b"", _link(*link)) for name, link in (links or {}).items()]
    path.write_bytes(b"Rar!\x1a\x07\x01\x00" + b"".join(blocks) + _block(5, 0, _number(0)))
    return path


def _file(name: str, content: bytes, extra: bytes = b"") -> bytes:
    fields = [
        _number(0x4),  # with a checksum
        _number(len(content)),
        _number(0o120777 if extra else 0o100644),
        struct.pack("<I", zlib.crc32(content)),
        _number(0),  # stored
        _number(1),  # on Unix
        _number(len(name.encode())),
        name.encode(),
    ]
    return _block(2, 0x2, b"".join(fields), content, extra)


def _link(kind: int, target: str) -> bytes:
    record = _number(5) + _number(kind) + _number(0) + _number(len(target.encode())) + target.encode()
    return _number(len(record)) + record


def _block(kind: int, flags: int, fields: bytes, content: bytes = b"", extra: bytes = b"") -> bytes:
    header = _number(kind) + _number(flags | (1 if extra else 0))
    header += (_number(len(extra)) if extra else b"") + (_number(len(content)) if flags & 0x2 else b"")
    header += fields + extra
    header = _number(len(header)) + header
    return struct.pack("<I", zlib.crc32(header)) + header + content


def _number(value: int) -> bytes:
    """Seven bits to a byte, the lowest first."""
    content = bytearray()
    while value > 0x7F:
        content.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes(content) + bytes([value])
