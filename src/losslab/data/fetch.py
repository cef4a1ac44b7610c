"""Getting a dataset's files, from its generator, the network, or a place on disk, into `data/raw/<dataset>`."""

import logging
import shutil
import sys
from pathlib import Path

import pooch
import requests
from filelock import FileLock
from tqdm import tqdm

from losslab.data.archives import unpack
from losslab.data.cards import Archive, Archives, Card, Generator
from losslab.data.readers import check_layout
from losslab.data.synthetic import generate
from losslab.errors import InputError
from losslab.files import file_md5, whole

TIMEOUT_S = 30


def fetch(dataset: str, card: Card, source: Path | None, raw: Path, downloads: Path) -> int:
    """Fill `raw` with the dataset as it is published, junk included; the folder appears whole or not at all.

    Args:
        source: a folder in the dataset's layout, or one with its archives, or its only archive; None for the card's own.
        downloads: where archives lie between download and unpacking.

    Returns:
        the number of files in `raw`.

    Raises:
        InputError: one line with what could not be had, and what to do.
    """
    with whole(raw) as folder:
        folder.mkdir()
        if isinstance(card.source, Generator):
            if source is not None:
                raise InputError(f"download.source is {str(source)!r}; {dataset} is drawn, not downloaded: use null")
            _draw(card.source, folder)
        elif source is not None:
            _take(dataset, card, source, folder)
        elif isinstance(card.source, Archives):
            downloads.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(downloads.with_name(f"{dataset}.lock")):  # queued experiments may fetch the same at once
                for archive in card.source.archives:
                    unpack(_download(dataset, archive, downloads), folder)
                shutil.rmtree(downloads)
        else:
            raise InputError(f"download.source is null; {dataset} has no address: name the folder that holds it")
        check_layout(card.layout, folder)
        return sum(path.is_file() for path in folder.rglob("*"))


def _draw(source: Generator, folder: Path) -> None:
    with tqdm(total=sum(source.images.values()), desc="draw", unit=" images", disable=None) as bar:
        generate(source, folder, bar.update)


def _take(dataset: str, card: Card, source: Path, folder: Path) -> None:
    if not source.exists():
        raise InputError(f"download.source: {source} does not exist")
    archives = {archive.name: archive for archive in card.source.archives} if isinstance(card.source, Archives) else {}
    if source.is_file() and not archives:
        unpack(source, folder)
        return
    place = source.parent if source.is_file() and list(archives) == [source.name] else source
    found = [name for name in archives if (place / name).is_file()]
    if archives and len(found) == len(archives):
        for name, archive in archives.items():
            if (md5 := file_md5(place / name)) != archive.md5:
                raise InputError(f"{place / name}: md5 is {md5}; {dataset}'s card says {archive.md5}. Is it complete?")
            unpack(place / name, folder)
    elif found or source.is_file():
        missing = ", ".join(name for name in archives if name not in found)
        raise InputError(f"download.source: {source} lacks {missing}; name a folder that holds {', '.join(archives)}")
    else:
        try:
            check_layout(card.layout, source)
        except InputError as error:
            raise InputError(
                f"download.source: {error}" + (f"; or {', '.join(archives)}" if archives else "")
            ) from None
        _copy(source, folder)


def _copy(source: Path, folder: Path) -> None:
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for path in tqdm(files, desc=f"copy {source.name}", unit=" files", disable=None):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Content only: a read-only source must not make a read-only out.
        shutil.copyfile(path, target)


def _download(dataset: str, archive: Archive, downloads: Path) -> Path:
    logging.getLogger("pooch").setLevel(logging.WARNING)
    reasons = []
    for url in archive.urls:
        downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=TIMEOUT_S)
        try:
            return Path(pooch.retrieve(url, f"md5:{archive.md5}", archive.name, downloads, downloader=downloader))
        except (requests.RequestException, ValueError, OSError) as error:
            reasons.append(f"{url}: {_short(error)}")
    raise InputError(
        f"{dataset}: {archive.name} could not be downloaded ({'; '.join(reasons)}). If you have it on disk: "
        "dvc exp run -S download.source=FOLDER"
    )


def _short(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return f"no answer in {TIMEOUT_S} s"
    if isinstance(error, requests.ConnectionError):
        return "cannot connect"
    return "wrong checksum" if isinstance(error, ValueError) else str(error)
