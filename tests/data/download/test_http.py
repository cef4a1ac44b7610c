"""Downloads from a local server that misbehaves in every way that servers do."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from losslab.cards import Archive
from losslab.data.download import http
from losslab.data.download.http import RetryPolicy, download
from losslab.errors import InputError
from losslab.formats import format_bytes
from tests.data.download.site import Answer, Site, serving

BODY = bytes(range(256)) * 2000  # 512 kB
PAGE = Answer(b"<html>Sign in</html>", headers={"Content-Type": "text/html; charset=utf-8"})
IMPATIENT = RetryPolicy(attempts=3, pause_s=0.001, silence_s=0.3)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as server:
        yield server


MD5, SHA256 = hashlib.md5(BODY).hexdigest(), hashlib.sha256(BODY).hexdigest()


def archive(*urls: str, size: int | None = len(BODY), md5: str | None = MD5, sha256: str | None = None) -> Archive:
    return Archive(name="data.tar.gz", md5=md5, sha256=sha256, bytes=size, unpacked=2 * len(BODY), urls=list(urls))


def get(folder: Path, *urls: str, size: int | None = len(BODY), retries: RetryPolicy = IMPATIENT) -> list[str]:
    """Download BODY; returns what was said."""
    said: list[str] = []
    path, _ = download(archive(*urls, size=size), folder, said.append, retries)
    assert path.read_bytes() == BODY
    assert [other.name for other in folder.iterdir()] == ["data.tar.gz"], "something is left over"
    return said


def test_says_what_comes_from_where(tmp_path: Path, site: Site) -> None:
    assert get(tmp_path, site.put("data", Answer(BODY))) == ["data.tar.gz, 512 kB, from 127.0.0.1"]
    assert [format_bytes(size) for size in (12, 1_234_000, 791_918_971, 4_000_000_000)] == [
        "12 bytes",
        "1.2 MB",
        "792 MB",
        "4.0 GB",
    ]


@pytest.mark.parametrize("size", [len(BODY), None])
def test_cut_off_download_goes_on_where_it_was(tmp_path: Path, site: Site, size: int | None) -> None:
    url = site.put("data", Answer(BODY, ranges=True, sends=300_000), Answer(BODY, ranges=True))
    said = get(tmp_path, url, size=size)
    assert said[1:] == ["data.tar.gz: cut off at 300 kB, trying again in 0.001 s", "data.tar.gz: resuming at 300 kB"]
    assert site.requests == [("/data", None), ("/data", "bytes=300000-")]
    assert site.sent == len(BODY)


def test_stalled_download_goes_on_where_it_was(tmp_path: Path, site: Site) -> None:
    url = site.put("data", Answer(BODY, ranges=True, sends=300_000, stalls=True), Answer(BODY, ranges=True))
    assert "data.tar.gz: no answer in 0.3 s, trying again in 0.001 s" in get(tmp_path, url)
    assert site.requests[-1] == ("/data", "bytes=300000-")


def test_server_without_ranges_begins_again(tmp_path: Path, site: Site) -> None:
    url = site.put("data", Answer(BODY, sends=300_000), Answer(BODY))
    get(tmp_path, url)
    assert [byte_range for _, byte_range in site.requests] == [None, "bytes=300000-"]


def test_part_that_a_killed_run_left_is_used(tmp_path: Path, site: Site) -> None:
    (tmp_path / "data.tar.gz.part").write_bytes(BODY[:500_000])
    get(tmp_path, site.put("data", Answer(BODY, ranges=True)))
    assert site.requests == [("/data", "bytes=500000-")]
    assert site.sent == len(BODY) - 500_000


@pytest.mark.parametrize(("size", "requests"), [(len(BODY), 0), (None, 1)], ids=["length known", "length unknown"])
def test_complete_part_is_used_as_it_is(tmp_path: Path, site: Site, size: int | None, requests: int) -> None:
    (tmp_path / "data.tar.gz.part").write_bytes(BODY)
    get(tmp_path, site.put("data", Answer(BODY, ranges=True)), size=size)
    assert (len(site.requests), site.sent) == (requests, 0)


def test_finished_download_is_not_requested_again(tmp_path: Path, site: Site) -> None:
    (tmp_path / "data.tar.gz").write_bytes(BODY)
    assert get(tmp_path, site.put("data", Answer(BODY))) == ["data.tar.gz is already downloaded"]
    (tmp_path / "data.tar.gz").write_bytes(BODY[1:])
    get(tmp_path, site.put("data", Answer(BODY)))
    assert len(site.requests) == 1


@pytest.mark.parametrize("size", [len(BODY), None])
@pytest.mark.parametrize(
    "left", [b"x" * 1000, b"x" * len(BODY), b"x" * (4 * len(BODY))], ids=["short", "equal", "long"]
)
def test_part_of_another_file_is_given_up(tmp_path: Path, site: Site, left: bytes, size: int | None) -> None:
    (tmp_path / "data.tar.gz.part").write_bytes(left)
    get(tmp_path, site.put("data", Answer(BODY, ranges=True)), size=size)


def test_wrong_range_is_not_appended(tmp_path: Path, site: Site) -> None:
    (tmp_path / "data.tar.gz.part").write_bytes(BODY[:1000])
    wrong = Answer(BODY, ranges=True, headers={"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"})
    said = get(tmp_path, site.put("data", wrong, Answer(BODY, ranges=True)))
    assert "data.tar.gz: the server sent another range than requested, trying again in 0.001 s" in said


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_busy_server_is_tried_again(tmp_path: Path, site: Site, status: int) -> None:
    said = get(tmp_path, site.put("data", Answer(status=status), Answer(status=status), Answer(BODY)))
    assert said[1:] == [f"data.tar.gz: HTTP {status}, trying again in {pause} s" for pause in ("0.001", "0.002")]


@pytest.mark.parametrize(
    ("after", "pause"),
    [("7", 7.0), ("3600", 60.0), ("Fri, 31 Dec 2027 23:59:59 GMT", 1.0), ("-1", 1.0), (None, 1.0)],
)
def test_wait_that_a_server_asks_for_is_kept(
    tmp_path: Path, site: Site, after: str | None, pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(http, "sleep", slept.append)
    headers = {"Retry-After": after} if after else {}
    get(tmp_path, site.put("data", Answer(status=429, headers=headers), Answer(BODY)), retries=RetryPolicy())
    assert slept == [pause]


def test_pauses_double(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(http, "sleep", slept.append)
    with pytest.raises(InputError, match=r"/data: HTTP 500, 5 times\)\. If you have it on disk: .*download.source="):
        get(tmp_path, site.put("data", Answer(status=500)), retries=RetryPolicy())
    assert slept == [1, 2, 4, 8]


def test_download_that_gains_each_time_is_not_given_up(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "PROGRESS_BYTES", 50_000)
    get(tmp_path, site.put("data", Answer(BODY, ranges=True, sends=60_000)))  # 9 attempts of 3
    assert len(site.requests) == 9


def test_redirect_is_followed_with_its_range(tmp_path: Path, site: Site) -> None:
    (tmp_path / "data.tar.gz.part").write_bytes(BODY[:1000])
    site.put("there", Answer(BODY, ranges=True))
    get(tmp_path, site.put("data", Answer(status=302, headers={"Location": "/there"})))
    assert site.requests[-1] == ("/there", "bytes=1000-")


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "odd"])
def test_redirect_leads_to_no_file_and_nowhere_but_http(tmp_path: Path, site: Site, scheme: str) -> None:
    (tmp_path / "own.tar.gz").write_bytes(BODY)
    there = {
        "file": (tmp_path / "own.tar.gz").as_uri(),
        "ftp": f"ftp{site.url[4:]}",
        "data": "data:,x",
        "odd": "//[bad",
    }
    with pytest.raises(InputError, match=r"could not be downloaded \(.*cannot request data.tar.gz"):
        get(tmp_path, site.put("data", Answer(status=302, headers={"Location": there[scheme]})))
    assert len(site.requests) == 1


def test_encoded_name_of_a_tar_is_not_decoded(tmp_path: Path, site: Site) -> None:
    """Some servers send .tar.gz as a tar in the content encoding x-gzip; the file is asked for, not the tar."""
    get(tmp_path, site.put("data", Answer(BODY, headers={"Content-Encoding": "x-gzip"})))


def test_length_need_not_be_reported(tmp_path: Path, site: Site) -> None:
    get(tmp_path, site.put("data", Answer(BODY, chunked=True)), size=None)
    (tmp_path / "data.tar.gz").unlink()
    get(tmp_path, site.put("data", Answer(BODY, chunked=True, sends=200_000), Answer(BODY, ranges=True)))
    assert site.requests[-1] == ("/data", "bytes=200000-")


LOOP = Answer(status=302, headers={"Location": "/bad"})


@pytest.mark.parametrize(
    ("bad", "size", "reason"),
    [
        (Answer(status=404), len(BODY), "HTTP 404"),
        (Answer(status=403), len(BODY), "HTTP 403"),
        (LOOP, len(BODY), "too many redirects"),
        (Answer(BODY[::-1]), len(BODY), "wrong file: its md5 is [0-9a-f]{32}, but the card says [0-9a-f]{32}"),
        (Answer(BODY[:-1]), len(BODY), "wrong file: it has 511999 bytes, but the card says 512000"),
        (Answer(BODY[:-1]), None, "wrong file: its md5 is"),
        (PAGE, len(BODY), r"wrong file, a web page \(text/html\): it has 20 bytes"),
        (PAGE, None, r"wrong file, a web page \(text/html\): its md5 is"),
        (Answer(BODY * 2, chunked=True), len(BODY), "wrong file: it has more than the 512000 bytes"),
        (Answer(BODY * 3, chunked=True), None, "wrong file: it has more than the 1024000 bytes"),
        (Answer(b""), None, "wrong file: its md5 is d41d8cd98f00b204e9800998ecf8427e"),
        (Answer(status=500), len(BODY), "HTTP 500, 3 times"),
        (Answer(BODY, sends=1000), len(BODY), "cut off at 1.0 kB, 3 times"),
        (Answer(BODY, sends=1000, stalls=True), len(BODY), "no answer in 0.3 s, 3 times"),
    ],
)
def test_bad_address_is_reported_and_the_next_one_used(
    tmp_path: Path, site: Site, bad: Answer, size: int | None, reason: str
) -> None:
    url = site.put("bad", bad)
    with pytest.raises(InputError, match=rf"data.tar.gz could not be downloaded \({url}: {reason}.*\)") as caught:
        get(tmp_path, url, size=size)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data.tar.gz").exists()
    get(tmp_path, url, site.put("good", Answer(BODY, ranges=True)), size=size)


@pytest.mark.parametrize("right", [{"md5": None, "sha256": SHA256}, {"md5": MD5, "sha256": SHA256}])
def test_each_checksum_of_the_card_is_checked(tmp_path: Path, site: Site, right: dict[str, Any]) -> None:
    url, said = site.put("data", Answer(BODY)), list[str]()
    assert download(archive(url, **right), tmp_path, said.append, IMPATIENT)[0].read_bytes() == BODY
    download(archive(url, **right), tmp_path, said.append, IMPATIENT)
    assert said[-1] == "data.tar.gz is already downloaded"
    for name in (name for name, checksum in right.items() if checksum):
        wrong = right | {name: "0" * len(right[name])}
        with pytest.raises(InputError, match=rf"wrong file: its {name} is {right[name]}, but the card says 0+\)"):
            download(archive(url, **wrong), tmp_path, said.append, IMPATIENT)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/x", "cannot connect, 3 times"),
        ("http://nowhere.invalid/x", "cannot connect, host not found, 3 times"),
        ("http://127.0.0.1:99999/x", "cannot request data.tar.gz: Failed to parse"),
    ],
)
def test_without_a_network_one_line_says_what_else_to_do(
    tmp_path: Path, url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=rf"{reason}.*dvc exp run -S download.source=FOLDER$") as caught:
        get(tmp_path, url)
    assert url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_web_page_does_not_cost_what_has_come(tmp_path: Path, site: Site) -> None:
    """A hotel's network answers everything with its own page."""
    (tmp_path / "data.tar.gz.part").write_bytes(BODY[:400_000])
    with pytest.raises(InputError, match="a web page"):
        get(tmp_path, site.put("data", PAGE), size=None)
    get(tmp_path, site.put("data", Answer(BODY, ranges=True)), size=None)
    assert site.requests[-1] == ("/data", "bytes=400000-")


def test_long_download_is_stopped_early(tmp_path: Path, site: Site) -> None:
    endless = Answer(BODY * 100, chunked=True)
    with pytest.raises(InputError, match="more than the 512000 bytes"):
        get(tmp_path, site.put("data", endless))
    assert site.sent < 20 * len(BODY)
