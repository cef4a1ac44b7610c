"""Archives, good and evil: what is unpacked lies within its folder, is a file, and is no more than was allowed."""

import gzip
import lzma
import os
import random
import stat
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from losslab.data.download import archives
from losslab.data.download.archives import unpack
from losslab.errors import InputError
from tests.data.download.packing import content, make_tar, make_zip, tar_entry

FILES = {"a.txt": b"one", "deep/er/b.bin": bytes(range(256)) * 40, "leer/ö ü.txt": b""}
SIZE = sum(map(len, FILES.values()))


def unpacked(archive: Path, limit: int | None = SIZE) -> dict[str, bytes]:
    """What comes out; where nothing may, that no file has got out of the folder is checked."""
    folder = archive.parent / "out" / "side"
    folder.mkdir(parents=True)
    try:
        unpack(archive, folder, limit)
    finally:
        assert [path.name for path in archive.parent.iterdir() if path not in (archive, folder.parent)] == []
        assert [path.name for path in folder.parent.iterdir()] == ["side"]
        assert not [path for path in folder.rglob("*") if path.is_symlink()]
    return content(folder)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("name", ["data.tar", "data.zip", "data"])
def test_tar_is_unpacked_whatever_its_name(tmp_path: Path, mode: str, name: str) -> None:
    assert unpacked(make_tar(tmp_path / name, FILES, mode)) == FILES


@pytest.mark.parametrize("name", ["data.zip", "data.tar.gz"])
def test_zip_is_unpacked_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert unpacked(make_zip(tmp_path / name, FILES | {"empty/": b""})) == FILES


def test_tar_whose_last_file_is_a_zip_is_a_tar(tmp_path: Path) -> None:
    files = FILES | {"last.zip": make_zip(tmp_path / "x" / "last.zip", {"inner": b"inner"}).read_bytes()}
    assert unpacked(make_tar(tmp_path / "y" / "data.tar", files, "w"), None) == files


def test_tar_of_a_folder_itself_is_unpacked(tmp_path: Path) -> None:
    """`tar -c .` names the folder and begins each name with it."""
    dotted = {f"./{name}": pixels for name, pixels in FILES.items()}
    assert unpacked(make_tar(tmp_path / "data.tar", dotted, "w", tar_entry(".", tarfile.DIRTYPE))) == FILES


TARS: list[tuple[dict[str, bytes], list[tarfile.TarInfo], str]] = [
    ({"../evil": b""}, [], "which leaves the folder"),
    ({"/evil": b""}, [], "which leaves the folder"),
    ({"a/../../evil": b""}, [], "which leaves the folder"),
    ({"..\\evil": b""}, [], "which leaves the folder"),
    ({"\\evil": b""}, [], "which leaves the folder"),
    ({"C:\\evil": b""}, [], "which leaves the folder"),
    ({}, [tar_entry("../evil", tarfile.DIRTYPE)], "which leaves the folder"),
    ({}, [tar_entry("x", tarfile.SYMTYPE, "/etc/passwd")], "a link to '/etc/passwd', which leaves the folder"),
    ({}, [tar_entry("x/y", tarfile.SYMTYPE, "../../evil")], "a link to '../../evil', which leaves the folder"),
    ({}, [tar_entry("x", tarfile.LNKTYPE, "../evil")], "a link to '../evil', which leaves the folder"),
    ({}, [tar_entry("x", tarfile.LNKTYPE, "/etc/passwd")], "which leaves the folder"),
    ({}, [tar_entry("x", tarfile.SYMTYPE, "nowhere")], "a link to 'nowhere', which is not in the archive"),
    ({"d/a": b""}, [tar_entry("x", tarfile.SYMTYPE, "d")], "a link to 'd', which is not in the archive"),
    ({}, [tar_entry("x", tarfile.SYMTYPE, "y"), tar_entry("y", tarfile.SYMTYPE, "x")], "which is not in the archive"),
    ({"x": b""}, [tar_entry("x", tarfile.SYMTYPE, "x")], "'x' twice, once as a link"),
    ({}, [tar_entry("x", tarfile.FIFOTYPE)], "which is a device"),
    ({}, [tar_entry("x", tarfile.CHRTYPE)], "which is a device"),
    ({"a": b"", "a/b": b""}, [], "'a/b', which cannot be written: "),
    ({"a/b": b"", "a": b""}, [], "'a', which cannot be written: Is a directory"),
    ({"a" * 300: b""}, [], "'a{80}…', which cannot be written: File name too long"),
    ({"a/" * 101 + "b": b""}, [], "which cannot be a file's name"),
    ({".": b""}, [], "which cannot be a file's name"),
]


@pytest.mark.parametrize(("files", "others", "complaint"), TARS)
def test_evil_tar_is_refused(
    tmp_path: Path, files: dict[str, bytes], others: list[tarfile.TarInfo], complaint: str
) -> None:
    archive = make_tar(tmp_path / "data.tar", files, "w", *others)
    with pytest.raises(InputError, match=rf"data.tar: holds .*{complaint}") as caught:
        unpacked(archive, None)
    assert len(str(caught.value).removeprefix(str(archive))) < 300


@pytest.mark.parametrize(
    ("name", "body", "mode", "complaint"),
    [
        ("../evil", b"", 0, "which leaves the folder"),
        ("/evil", b"", 0, "which leaves the folder"),
        ("..\\evil", b"", 0, "which leaves the folder"),
        ("C:/evil", b"", 0, "which leaves the folder"),
        ("x", b"/etc/passwd", stat.S_IFLNK | 0o777, "a link to '/etc/passwd', which leaves the folder"),
        ("d/x", b"../../evil", stat.S_IFLNK | 0o777, "which leaves the folder"),
        ("x", b"nowhere", stat.S_IFLNK | 0o777, "which is not in the archive"),
        ("x", b"", stat.S_IFIFO, "which is a device"),
        ("a.txt/b", b"", 0, "which cannot be written"),
        ("a" * 300, b"", 0, "which cannot be written: File name too long"),
    ],
)
def test_evil_zip_is_refused(tmp_path: Path, name: str, body: bytes, mode: int, complaint: str) -> None:
    with pytest.raises(InputError, match=rf"data.zip: holds .*{complaint}"):
        unpacked(make_zip(tmp_path / "data.zip", FILES | {name: body}, {name: mode}))


def test_links_within_a_tar_become_copies(tmp_path: Path) -> None:
    links = [
        tar_entry("deep/first", tarfile.SYMTYPE, "../later"),  # to a link that comes after it
        tar_entry("later", tarfile.SYMTYPE, "deep/er/../er/b.bin"),
        tar_entry("deep/hard", tarfile.LNKTYPE, "a.txt"),
    ]
    copies = {"deep/first": FILES["deep/er/b.bin"], "later": FILES["deep/er/b.bin"], "deep/hard": b"one"}
    archive = make_tar(tmp_path / "data.tar.gz", FILES, "w:gz", *links)
    assert unpacked(archive, 4 * SIZE) == FILES | copies


def test_links_within_a_zip_become_copies(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "data.zip", {"deep/x": b"../a.txt"} | FILES, {"deep/x": stat.S_IFLNK | 0o777})
    assert unpacked(archive, 2 * SIZE) == FILES | {"deep/x": b"one"}


MAKERS: dict[str, Any] = {"tar": make_tar, "zip": make_zip}


@pytest.mark.parametrize("kind", MAKERS)
def test_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, kind: str) -> None:
    archive = MAKERS[kind](tmp_path / "data", {"bomb": bytes(20_000_000)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(InputError, match=r"data: unpacks to more than the card's 10000000 bytes; refused"):
        unpacked(archive, 10_000_000)
    assert sum(map(len, content(tmp_path / "out").values())) <= 10_000_000


def test_copies_of_links_count_too(tmp_path: Path) -> None:
    links = [tar_entry(f"copy{n}", tarfile.SYMTYPE, "big") for n in range(9)]
    with pytest.raises(InputError, match="unpacks to more than the card's 5000000 bytes"):
        unpacked(make_tar(tmp_path / "data", {"big": bytes(1_000_000)}, "w:gz", *links), 5_000_000)


def test_archive_without_a_card_may_grow_a_hundredfold(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "data", {"bomb": bytes(150_000_000)})
    assert archive.stat().st_size > 100_000
    with pytest.raises(InputError, match=r"unpacks to more than 11[0-9]{7} bytes, far more than its own size"):
        unpacked(archive, None)


def test_size_in_a_zip_is_not_believed(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "data.zip", {"bomb": bytes(1_000_000)})
    packed = archive.read_bytes()
    length = (1_000_000).to_bytes(4, "little")
    assert packed.count(length) == 2
    archive.write_bytes(packed.replace(length, (10).to_bytes(4, "little")))
    with pytest.raises(InputError, match=r"data.zip: (damaged|unpacks to more)"):
        unpacked(archive, 1000)
    assert sum(map(len, content(tmp_path / "out").values())) <= 1000


def test_encrypted_zip_is_reported(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "data.zip", {"a": b"secret"})
    packed = bytearray(archive.read_bytes())
    packed[6] |= 1  # in the header of the file
    packed[packed.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    archive.write_bytes(packed)
    with pytest.raises(InputError, match=r"data.zip: is encrypted; unpack it, and name the folder"):
        unpacked(archive)


@pytest.mark.parametrize("body", [b"", b"x", b"<html></html>", b"PK\x03\x04", b"\x1f\x8b\x08" + b"x" * 50])
def test_what_is_no_archive_is_reported(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "data").write_bytes(body)
    with pytest.raises(InputError, match=r"data: damaged, or not a zip, tar, RAR or 7z archive"):
        unpacked(tmp_path / "data")


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_archive_that_is_cut_off_anywhere_is_reported(tmp_path: Path, kind: str) -> None:
    """Python takes a tar whose next header is cut off for complete."""
    files = {f"{n}.bin": random.Random(n).randbytes(700) for n in range(3)}
    packed = (make_zip(tmp_path / "w", files) if kind == "zip" else make_tar(tmp_path / "w", files, kind)).read_bytes()
    end = 3 * (512 + 1024) if kind == "w" else len(packed) - 1  # what follows in a plain one are zeros
    for length in range(0, end + 1, 64 if kind == "w" else 97):
        (tmp_path / "data").write_bytes(packed[:length])
        with pytest.raises(InputError, match=r"data: damaged"):
            unpack(tmp_path / "data", tmp_path / "out")


def test_damaged_header_within_a_tar_is_reported(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "data", FILES, "w")
    packed = bytearray(archive.read_bytes())
    packed[1024 + 150] ^= 1  # the checksum of the second header
    archive.write_bytes(packed)
    with pytest.raises(InputError, match=r"data: damaged, or it ends too early"):
        unpacked(archive)


def test_wrong_content_within_a_compressed_tar_is_reported(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "data", FILES, "w")
    packed = bytearray(gzip.compress(archive.read_bytes()))
    packed[-8] ^= 1  # the checksum of all
    archive.write_bytes(packed)
    with pytest.raises(InputError, match=r"data: damaged: CRC check failed"):
        unpacked(archive)


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_damage_anywhere_ends_in_one_line_or_in_files(tmp_path: Path, kind: str) -> None:
    """Bytes changed at random: whatever Python's readers make of it, no other error, and nothing outside."""
    chance = random.Random(0)
    path = tmp_path / "data"
    packed = (make_zip(path, FILES) if kind == "zip" else make_tar(path, FILES, kind)).read_bytes()
    refusals = 0
    for number in range(60):
        damaged = bytearray(packed)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(packed))] = chance.randrange(256)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "data").write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                unpacked(folder / "data", None)
            except InputError:
                refusals += 1
    assert refusals > 0


def test_second_archive_goes_into_the_same_folder(tmp_path: Path) -> None:
    unpack(make_tar(tmp_path / "one", FILES), tmp_path / "out", SIZE)
    unpack(make_zip(tmp_path / "two", {"deep/c": b"two"}), tmp_path / "out", SIZE)
    assert content(tmp_path / "out") == FILES | {"deep/c": b"two"}


def test_permissions_are_not_taken_over(tmp_path: Path) -> None:
    info = tar_entry("locked", tarfile.REGTYPE)
    info.mode = 0
    unpacked(make_tar(tmp_path / "data", {}, "w", info))
    assert (tmp_path / "out/side/locked").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_compression_that_python_cannot_do_is_reported(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "data.zip", {"a": b"text"})
    packed = bytearray(archive.read_bytes())
    packed[8] = packed[packed.index(b"PK\x01\x02") + 10] = 9  # Deflate64
    archive.write_bytes(packed)
    assert zipfile.is_zipfile(archive)
    with pytest.raises(InputError, match=r"data.zip: damaged, or not .*compression"):
        unpacked(archive)


@pytest.mark.parametrize(("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")])
def test_zip_member_that_grows_at_once_is_refused(tmp_path: Path, method: int, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w", method) as packed:
        packed.writestr("a.txt", b"one")
    with pytest.raises(
        InputError, match=f"data.zip: holds 'a.txt', packed by {name}, .*; unpack it, and name the folder"
    ):
        unpacked(tmp_path / "data.zip")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("packed", [False, True])
def test_endless_header_of_a_tar_is_refused_before_it_is_read(tmp_path: Path, kind: bytes, packed: bool) -> None:
    """The file is a short one that says otherwise, so memory is not at stake here."""
    info = tar_entry("a", kind)
    info.size = 8_000_000_000
    archive = tmp_path / "data.tar"
    whole = info.tobuf() + bytes(2048)
    archive.write_bytes(gzip.compress(whole) if packed else whole)
    with pytest.raises(InputError, match=r"data.tar: has a header of 8000000000 bytes, which no name needs; refused"):
        unpacked(archive)


def test_name_of_any_length_that_a_disk_takes_is_unpacked(tmp_path: Path) -> None:
    name = "/".join(["n" * 200] * 3) + "/a"
    assert unpacked(make_tar(tmp_path / "data.tar", {name: b"one"}, "w")) == {name: b"one"}


def test_sparse_file_is_refused_before_its_map_is_read(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "data.tar", FILES, "w", tar_entry("a", tarfile.GNUTYPE_SPARSE))
    with pytest.raises(InputError, match=r"data.tar: holds 'a', which is stored as a sparse file; refused"):
        unpacked(archive)


def test_tar_of_many_headers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_OVERHEAD_BYTES", 20_000)
    archive = make_tar(tmp_path / "data.tar.gz", {f"{number}": b"" for number in range(200)}, "w:gz")
    with pytest.raises(InputError, match="holds far more than its files at byte"):
        unpacked(archive, 10_000)


def test_endless_tail_of_a_tar_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_OVERHEAD_BYTES", 1_000_000)
    archive = make_tar(tmp_path / "data.tar", FILES, "w")
    archive.write_bytes(gzip.compress(archive.read_bytes() + bytes(9_000_000)))
    with pytest.raises(InputError, match="holds far more than its files at byte"):
        unpacked(archive)


def test_memory_that_runs_out_is_not_blamed_on_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(archives, "_read_tar_member", fail)
    with pytest.raises(InputError, match=r"data.tar: takes more memory to unpack than there is; refused"):
        unpacked(make_tar(tmp_path / "data.tar", FILES, "w"))


def _ask_for_memory(xz: bytes) -> bytes:
    """Let the header of the first block of an .xz ask for a dictionary of 4 GB."""
    end = 12 + (xz[12] + 1) * 4 - 4
    header = xz[12:16] + b"\x28" + xz[17:end]
    return xz[:12] + header + zlib.crc32(header).to_bytes(4, "little") + xz[end + 4 :]


@pytest.mark.parametrize(
    ("before", "complaint"), [(0, "takes more than 256 MiB of memory to unpack; refused"), (512, "damaged")]
)
def test_xz_that_asks_for_gigabytes_is_refused_before_they_are_taken(
    tmp_path: Path, before: int, complaint: str
) -> None:
    """Also where a later one of its streams does: what cannot be read behind a stream is taken for the file's end."""
    archive = make_tar(tmp_path / "data.tar", FILES, "w")
    tar = archive.read_bytes()
    archive.write_bytes((lzma.compress(tar[:before]) if before else b"") + _ask_for_memory(lzma.compress(tar[before:])))
    with pytest.raises(InputError, match=f"data.tar: {complaint}"):
        unpacked(archive)
