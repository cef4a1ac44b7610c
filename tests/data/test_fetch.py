"""Fetching from a local HTTP server, from folders and from archives; every way ends whole or with one line."""

import functools
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.data.cards import Card, read_card
from losslab.data.fetch import fetch
from losslab.errors import InputError
from tests.conftest import TINY_CARD

FILES = {f"{split}/{kind}/0.png": b"pixels" for split in ("train", "val", "test") for kind in ("images", "masks")}


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def make_tar(path: Path, files: dict[str, bytes], mode: Any = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def make_card(folder: Path, source: dict[str, Any] | None) -> Card:
    (folder / "mine.yaml").write_text(
        yaml.safe_dump(TINY_CARD | {"source": source or {"folder": None}}), encoding="utf-8"
    )
    return read_card("mine", folder)


def archive_card(folder: Path, archive: Path, *urls: str, md5: str | None = None) -> Card:
    found = md5 or hashlib.md5(archive.read_bytes()).hexdigest()
    return make_card(folder, {"archives": [{"name": archive.name, "md5": found, "urls": list(urls) or ["http://x/y"]}]})


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def get(card: Card, tmp_path: Path, source: Path | None = None) -> dict[str, bytes]:
    raw = tmp_path / "data/raw/mine"
    try:
        assert fetch("mine", card, source, raw, tmp_path / "downloads/mine") == len(FILES)
    except InputError:
        assert not raw.exists() and content(tmp_path / "data") == {}, "a failed fetch left something behind"
        raise
    return content(raw)


@pytest.mark.parametrize("mode", ["w:gz", "w"], ids=["gzip", "plain tar named .gz"])
def test_archive_is_downloaded_checked_and_unpacked(tmp_path: Path, server: str, mode: str) -> None:
    archive = make_tar(tmp_path / "www/data.tar.gz", FILES, mode)
    assert get(archive_card(tmp_path, archive, f"{server}/data.tar.gz"), tmp_path) == FILES
    assert not (tmp_path / "downloads/mine").exists()


def test_experiments_that_fetch_at_once_do_not_disturb_each_other(tmp_path: Path, server: str) -> None:
    archive = make_tar(tmp_path / "www/data.tar.gz", FILES | {"big.bin": os.urandom(3_000_000)})
    card = archive_card(tmp_path, archive, f"{server}/data.tar.gz")
    with ThreadPoolExecutor(3) as pool:
        counts = pool.map(
            lambda n: fetch("mine", card, None, tmp_path / f"run{n}/raw", tmp_path / "downloads/mine"), range(3)
        )
    assert list(counts) == [len(FILES) + 1] * 3


def test_second_address_is_used_when_the_first_fails(tmp_path: Path, server: str) -> None:
    archive = make_tar(tmp_path / "www/data.tar.gz", FILES)
    assert get(archive_card(tmp_path, archive, f"{server}/gone.tar.gz", f"{server}/data.tar.gz"), tmp_path) == FILES


def test_wrong_checksum_and_missing_file_are_told_with_the_address(tmp_path: Path, server: str) -> None:
    archive = make_tar(tmp_path / "www/data.tar.gz", FILES)
    card = archive_card(
        tmp_path, archive, f"{server}/data.tar.gz", f"{server}/gone", "http://127.0.0.1:9/x", md5="0" * 32
    )
    with pytest.raises(
        InputError, match=r"data.tar.gz: wrong checksum; .*/gone: HTTP 404; .*cannot connect.*download.source"
    ):
        get(card, tmp_path)


def test_folder_on_disk_is_copied_and_may_be_read_only(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    for name, pixels in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(pixels)
        (source / name).chmod(0o444)
    assert get(make_card(tmp_path, None), tmp_path, source) == FILES
    assert os.access(tmp_path / "data/raw/mine/train/images/0.png", os.W_OK)


def test_folder_with_archives_is_checked_and_unpacked(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "disk/data.tar.gz", FILES)
    card = archive_card(tmp_path, archive)
    assert get(card, tmp_path, archive.parent) == FILES
    assert get(card, tmp_path, archive) == FILES
    archive.write_bytes(archive.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"md5 is .* card says .* Is it complete\?"):
        fetch("mine", card, archive.parent, tmp_path / "other", tmp_path / "downloads")


def test_zip_on_disk_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as packed:
        for name, pixels in FILES.items():
            packed.writestr(name, pixels)
    assert get(make_card(tmp_path, None), tmp_path, tmp_path / "data.zip") == FILES


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png"])
def test_archive_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = make_tar(tmp_path / "disk/data.tar.gz", FILES | {name: b"evil"})
    with pytest.raises(InputError, match="which leaves the folder"):
        get(archive_card(tmp_path, archive), tmp_path, archive)
    assert not list(tmp_path.rglob("evil.png"))


def test_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "data.tar"
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("train/images/0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(InputError, match="is a link or device; refused"):
        get(make_card(tmp_path, None), tmp_path, archive)


def test_damaged_archive_is_told(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "data.tar.gz", FILES | {"big": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(InputError, match=r"data.tar.gz: damaged, or no tar or zip archive"):
        get(make_card(tmp_path, None), tmp_path, archive)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nowhere", "download.source: .*nowhere does not exist"),
        (".", "no train/images, .*the layout split_folders has"),
    ],
)
def test_wrong_source_is_told(tmp_path: Path, source: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        get(make_card(tmp_path, None), tmp_path, tmp_path / source)


def test_data_without_an_address_needs_a_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"download.source is null; mine has no address"):
        get(make_card(tmp_path, None), tmp_path)


def test_drawn_data_takes_no_source(tmp_path: Path, tiny_card: Card) -> None:
    with pytest.raises(InputError, match="tiny is drawn, not downloaded: use null"):
        fetch("tiny", tiny_card, tmp_path, tmp_path / "raw", tmp_path / "downloads")
