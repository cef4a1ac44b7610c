"""Downloads over HTTP: from several addresses, with retries, resumed where they were cut off, checked before use."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from losslab.cards import Archive
from losslab.data.download.checksums import find_mismatch
from losslab.errors import InputError
from losslab.formats import format_bytes
from losslab.io.files import make_folder, name_errors

Say = Callable[[str], object]
"""A function that shows the user a line."""
CHUNK_BYTES = 1 << 20
PROGRESS_BYTES = 1 << 20
"""Number of new bytes after which the attempts count from one again."""
MAX_RETRY_AFTER_S = 60


@dataclass(frozen=True)
class RetryPolicy:
    """The number of attempts of a download, and how long it waits."""

    attempts: int = 5
    """Attempts at one address without progress."""
    pause_s: float = 1.0
    """Pause before the second attempt; it doubles before each further one."""
    connect_s: float = 10.0
    silence_s: float = 30.0
    """Longest wait for the next byte."""


class _HitchError(Exception):
    """A failure that another attempt may not meet."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class _RefusedError(Exception):
    """An address that does not have the file."""


def download(archive: Archive, folder: Path, say: Say, retries: RetryPolicy) -> tuple[Path, str]:
    """Download `archive` into `folder`, as `<name>.part` until it is checked, and return its path and its host.

    What an earlier run has downloaded is used. Raises InputError if no address has it, with the reason of each.
    """
    target, part = folder / archive.name, folder / f"{archive.name}.part"
    hosts = {url: urlsplit(url).hostname or url for url in archive.urls}
    make_folder(folder)
    if target.is_file() and find_mismatch(archive, target) is None:
        say(f"{archive.name} is already downloaded")
        return target, next(iter(hosts.values()))
    target.unlink(missing_ok=True)
    reasons = []
    for url, host in hosts.items():
        size = f", {format_bytes(archive.bytes)}" if archive.bytes else ""
        say(f"{archive.name}{size}, from {host}")
        try:
            _fill(part, url, archive, say, retries)
        except _RefusedError as refused:
            reasons.append(f"{url}: {refused}")
        else:
            part.replace(target)
            return target, host
    raise InputError(
        f"{archive.name} could not be downloaded ({'; '.join(reasons)}). If you have it on disk: "
        "dvc exp run -S download.source=FOLDER"
    )


def _fill(part: Path, url: str, archive: Archive, say: Say, retries: RetryPolicy) -> None:
    """Try until `part` is complete and has the card's checksums."""
    furthest, failures = _get_size(part), 0
    while True:
        begun_at = _get_size(part)
        try:
            kind = _receive(part, url, archive, say, retries)
        except _HitchError as hitch:
            size = _get_size(part)
            failures = 1 if size >= furthest + PROGRESS_BYTES else failures + 1
            furthest = max(furthest, size)
            if failures >= retries.attempts:
                raise _RefusedError(f"{hitch}, {failures} times") from None
            wait_s = retries.pause_s * 2 ** (failures - 1) if hitch.wait_s is None else hitch.wait_s
            say(f"{archive.name}: {hitch}, trying again in {wait_s:g} s")
            sleep(wait_s)
            continue
        part.touch()
        if not (mismatch := find_mismatch(archive, part)):
            return
        part.unlink()
        if not begun_at:
            raise _RefusedError(f"{_describe_wrong_file(kind)}: its {mismatch}")
        say(f"{archive.name}: the resumed download is corrupt, starting over")


def _receive(part: Path, url: str, archive: Archive, say: Say, retries: RetryPolicy) -> str:
    """Get the rest of the file in one request, and return its content type."""
    limit = archive.bytes or archive.unpacked  # no archive is longer than its content
    if _get_size(part) > limit:
        part.unlink()
    have = _get_size(part)
    if have and have == archive.bytes:
        return ""
    # A server that compresses in transit would send other bytes than those of the checksum.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    timeout = (retries.connect_s, retries.silence_s)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            kind = response.headers.get("Content-Type", "").split(";")[0]
            if response.status_code == 416 and have:
                return kind  # nothing follows `have`, so it may be complete
            _check_status(response)
            begin = _find_begin(response, have, part)
            length = response.headers.get("Content-Length", "")
            total = begin + int(length) if re.fullmatch("[0-9]{1,18}", length) else None
            wrong = _describe_wrong_file(kind)
            if archive.bytes is not None and total not in (None, archive.bytes):
                raise _RefusedError(f"{wrong}: it has {total} bytes, but the card says {archive.bytes}")
            if have and not begin and kind == "text/html":
                raise _RefusedError(wrong)  # a login page must not replace what is there
            if begin:
                say(f"{archive.name}: resuming at {format_bytes(begin)}")
            size = _append(response, part, begin, limit, total)
    except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:  # the last for odd addresses
        raise _explain(error, part, archive, retries) from None
    if archive.bytes is not None and size < archive.bytes:
        raise _HitchError(f"cut off at {format_bytes(size)}")
    return kind


def _append(response: requests.Response, part: Path, begin: int, limit: int, total: int | None) -> int:
    """Write what comes from `begin` on, and return the length of the file then."""
    size = begin
    bar = tqdm(
        total=total, initial=begin, desc=part.stem, unit="B", unit_scale=True, disable=None, leave=False, miniters=1
    )
    with bar, name_errors(part), part.open("ab" if begin else "wb") as file:
        # Undecoded: some servers send a .tar.gz with `Content-Encoding: x-gzip`, and yet mean the file itself.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            size += len(chunk)
            if size > limit:
                break
            file.write(chunk)
            file.flush()  # received bytes must survive a kill
            bar.update(len(chunk))
    if size > limit:
        part.unlink()
        raise _RefusedError(f"wrong file: it has more than the {limit} bytes that the card allows")
    return size


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status in (408, 425, 429) or status >= 500:
        after = response.headers.get("Retry-After", "").strip()
        wait_s = float(min(int(after), MAX_RETRY_AFTER_S)) if re.fullmatch("[0-9]{1,9}", after) else None
        raise _HitchError(f"HTTP {status}", wait_s)
    if status not in (200, 206):
        raise _RefusedError(f"HTTP {status}")


def _find_begin(response: requests.Response, have: int, part: Path) -> int:
    """Return the position of the body in the file: `have`, or 0 if the server does not support ranges."""
    if response.status_code == 200:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if match is None or int(match.group(1)) != have:
        part.unlink(missing_ok=True)  # or the next attempt would request the same
        raise _HitchError("the server sent another range than requested")
    return have


def _describe_wrong_file(kind: str) -> str:
    return f"wrong file, a web page ({kind})" if kind in ("text/html", "application/xhtml+xml") else "wrong file"


def _explain(error: Exception, part: Path, archive: Archive, retries: RetryPolicy) -> Exception:
    text = str(error)
    if isinstance(error, requests.ConnectTimeout):
        return _HitchError(f"no connection in {retries.connect_s:g} s")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return _HitchError(f"no answer in {retries.silence_s:g} s")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return _RefusedError("its certificate is not trusted here")
    if isinstance(error, requests.TooManyRedirects):
        return _RefusedError("too many redirects")
    if isinstance(error, urllib3.exceptions.HTTPError):
        return _HitchError(f"cut off at {format_bytes(_get_size(part))}")
    if isinstance(error, requests.exceptions.ProxyError):
        return _HitchError("cannot connect to the proxy")
    if isinstance(error, requests.ConnectionError):
        unknown = any(sign in text for sign in ("NameResolution", "resolve", "getaddrinfo"))
        return _HitchError("cannot connect, host not found" if unknown else "cannot connect")
    return _RefusedError(f"cannot request {archive.name}: {' '.join(text.split())}")


def _get_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
