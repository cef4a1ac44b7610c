"""Getting a dataset's files, from its generator, the network, or a place on disk, into `data/raw/<dataset>/fetched`."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from losslab.cards import ArchiveSource, Card, GeneratorSource, OwnSource
from losslab.data.download.archives import unpack
from losslab.data.download.http import RetryPolicy, Say, download
from losslab.data.download.local import copy_local, unpack_checked
from losslab.data.download.synthetic import generate_dataset
from losslab.data.readers import check_own, find_layout
from losslab.errors import InputError
from losslab.io.files import atomic_write, open_scratch_folder

PATIENCE = RetryPolicy()


@dataclass(frozen=True)
class FetchedData:
    files: int
    origin: str
    """Where they are from, such as `from www.robots.ox.ac.uk`."""


def fetch(
    dataset: str,
    card: Card,
    source: Path | None,
    raw: Path,
    downloads: Path,
    by_hand: Path | None = None,
    say: Say = lambda line: None,
    patience: RetryPolicy = PATIENCE,
) -> FetchedData:
    """Fill `raw/fetched` with the dataset as it is published, junk included; the folder appears whole or not at all.

    Args:
        source: a folder that has the dataset's layout, or its archives, or its only archive; None for the card's own.
        downloads: where archives from the network lie, and stay, so that a killed run need not fetch them again.
        by_hand: where the user puts archives that no program can fetch.
        say: is told what is downloaded from where, and what hinders it.

    Raises:
        InputError: one line with what could not be had, and what to do.
    """
    out = raw / "fetched"
    with _told_when_full(out, downloads), atomic_write(out) as folder:
        if isinstance(card.source, OwnSource):
            return _point_to(dataset, card, source, raw / "own", folder)
        if isinstance(card.source, GeneratorSource):
            origin = _draw(dataset, card.source, source, folder)
        else:
            with open_scratch_folder(raw / ".unpacked.partial") as place:
                (place / "files").mkdir()
                if source is not None:
                    copy_local(dataset, card, source, place / "files", out)
                    origin = f"from {source}"
                elif isinstance(card.source, ArchiveSource):
                    origin = _get(dataset, card.source, downloads, by_hand, say, patience, place / "files")
                else:
                    raise InputError(
                        f"download.source is null; {dataset} has no address: name the folder that holds it"
                    )
                _keep_layout(card.layout, place / "files", folder, f"{dataset}, {origin}")
        return FetchedData(_count(folder), origin)


def _keep_layout(layout: str, unpacked: Path, folder: Path, what: str) -> None:
    """Archives often have a folder around what is asked for, and other things beside it."""
    try:
        find_layout(layout, unpacked).replace(folder)
    except InputError as error:
        raise InputError(str(error).replace(str(unpacked), what)) from None


def _count(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _point_to(dataset: str, card: Card, source: Path | None, own: Path, folder: Path) -> FetchedData:
    if source is not None:
        raise InputError(f"download.source is {str(source)!r}; {dataset}'s data lie in {own}: use null")
    check_own(card.layout, own)
    folder.mkdir()
    (folder / "where.txt").write_text(f"The data of {dataset} lie beside this folder, in own.\n", encoding="utf-8")
    return FetchedData(_count(own), f"in {own}")


def _draw(dataset: str, drawn: GeneratorSource, source: Path | None, folder: Path) -> str:
    if source is not None:
        raise InputError(f"download.source is {str(source)!r}; {dataset} is drawn, not downloaded: use null")
    folder.mkdir()
    with tqdm(total=sum(drawn.images.values()), desc="draw", unit=" images", disable=None) as bar:
        generate_dataset(drawn, folder, bar.update)
    return "drawn here"


def _get(
    dataset: str,
    source: ArchiveSource,
    downloads: Path,
    by_hand: Path | None,
    say: Say,
    patience: RetryPolicy,
    folder: Path,
) -> str:
    """Unpack all archives into `folder`: those that the user put in place, the others from the network."""
    manual = by_hand or Path("data/manual") / dataset
    there = {archive.name for archive in source.archives if (manual / archive.name).is_file()}
    missing = [archive.name for archive in source.archives if not archive.urls and archive.name not in there]
    if missing:
        raise InputError(
            f"{dataset}: {' and '.join(missing)} cannot be fetched by a program: {source.manual}; put it at "
            f"{manual / missing[0]}, or name the folder that holds it, packed or unpacked: "
            "dvc exp run -S download.source=FOLDER"
        )
    origins = []
    with _alone(dataset, downloads, say):
        for archive in source.archives:
            if archive.name in there:
                say(f"{archive.name}, from {manual}")
                unpack_checked(dataset, archive, manual / archive.name, folder)
                origins.append(str(manual))
            else:
                path, host = download(archive, downloads, say, patience)
                unpack(path, folder, archive.unpacked)
                origins.append(host)
    return "from " + " and ".join(dict.fromkeys(origins))


@contextmanager
def _told_when_full(*places: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"no space left on the disk that has {' or '.join(map(str, places))}") from None


@contextmanager
def _alone(dataset: str, downloads: Path, say: Say) -> Iterator[None]:
    """Queued experiments may fetch the same at once: one after the other, and the second finds it there."""
    downloads.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(downloads.with_name(f"{dataset}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waits for another process that downloads {dataset}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
