"""A dataset's files, from its generator, the network or the disk, put into `data/raw/<dataset>/fetched`."""

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
from losslab.data.download.synthetic.dataset import generate_dataset
from losslab.data.readers import check_not_linked, check_own, find_layout, is_text
from losslab.errors import InputError, quote
from losslab.io.files import atomic_write, make_folder, open_scratch_folder

DEFAULT_RETRIES = RetryPolicy()


@dataclass(frozen=True)
class FetchedData:
    files: int
    origin: str
    """Source of the files, such as `from www.robots.ox.ac.uk`."""


def fetch(
    dataset: str,
    card: Card,
    source: Path | None,
    raw: Path,
    downloads: Path,
    by_hand: Path | None = None,
    say: Say = lambda line: None,
    retries: RetryPolicy = DEFAULT_RETRIES,
) -> FetchedData:
    """Fill `raw/fetched` with the dataset as published, junk included; the folder appears complete or not at all.

    Args:
        source: a folder that has the dataset's layout, or its archives, or its only archive; None for the card's own.
        downloads: the folder in which downloaded archives stay, so that a killed run need not fetch them again.
        by_hand: the folder in which the user puts archives that no program can fetch.
        say: is called with a line for each download and each obstacle.

    Raises InputError with a line that says what could not be fetched, and what to do.
    """
    check_not_linked(raw / "own")
    out = raw / "fetched"
    with _explain_full_disk(out, downloads), atomic_write(out) as folder:
        if isinstance(card.source, OwnSource):
            return _refer_to_own(dataset, card, source, raw / "own", folder)
        if isinstance(card.source, GeneratorSource):
            origin = _draw(dataset, card.source, source, folder)
        else:
            with open_scratch_folder(raw / ".unpacked.partial") as place:
                (place / "files").mkdir()
                if source is not None:
                    copy_local(dataset, card, source, place / "files", out)
                    origin = f"from {source}"
                elif isinstance(card.source, ArchiveSource):
                    manual = by_hand or Path("data/manual") / dataset
                    origin = _get_archives(dataset, card.source, downloads, manual, say, retries, place / "files")
                else:
                    raise InputError(
                        f"download.source is null, but the card of {dataset} has no address: name the folder that holds it"
                    )
                try:  # archives often have a folder around the dataset, and other files beside it
                    find_layout(card.layout, place / "files").replace(folder)
                except InputError as error:
                    raise InputError(str(error).replace(str(place / "files"), f"{dataset}, {origin}")) from None
        return FetchedData(_count_files(folder), origin)


def _count_files(folder: Path) -> int:
    """Count the files below a folder. Raises InputError for a name that is no UTF-8: DVC cannot store it."""
    paths = list(folder.rglob("*"))
    if foreign := next((path for path in paths if not is_text(path.name)), None):
        name = quote(str(foreign.relative_to(folder)))
        raise InputError(
            f"{name} is not a name in UTF-8, which DVC needs; rename it, and name the folder: download.source"
        )
    return sum(path.is_file() for path in paths)


def _refer_to_own(dataset: str, card: Card, source: Path | None, own: Path, folder: Path) -> FetchedData:
    if source is not None:
        raise InputError(f"download.source is {str(source)!r}, but the data of {dataset} are in {own}: use null")
    check_own(card.layout, own)
    folder.mkdir()
    (folder / "where.txt").write_text(f"The data of {dataset} lie beside this folder, in own.\n", encoding="utf-8")
    return FetchedData(_count_files(own), f"in {own}")


def _draw(dataset: str, drawn: GeneratorSource, source: Path | None, folder: Path) -> str:
    if source is not None:
        raise InputError(f"download.source is {str(source)!r}, but {dataset} is drawn, not downloaded: use null")
    folder.mkdir()
    with tqdm(total=sum(drawn.images.values()), desc="draw", unit=" images", disable=None) as bar:
        generate_dataset(drawn, folder, bar.update)
    return "drawn here"


def _get_archives(
    dataset: str, source: ArchiveSource, downloads: Path, manual: Path, say: Say, retries: RetryPolicy, folder: Path
) -> str:
    """Unpack archives, in place or from the network; return their origins, such as `from www.robots.ox.ac.uk`."""
    in_place = {archive.name for archive in source.archives if (manual / archive.name).is_file()}
    missing = [archive.name for archive in source.archives if not archive.urls and archive.name not in in_place]
    if missing:
        raise InputError(
            f"{dataset}: {' and '.join(missing)} cannot be fetched by a program: {source.manual}; put it at "
            f"{manual / missing[0]}, or name the folder that holds it, packed or unpacked: "
            "dvc exp run -S download.source=FOLDER"
        )
    origins = []
    with _lock_downloads(dataset, downloads, say):
        for archive in source.archives:
            if archive.name in in_place:
                say(f"{archive.name}, from {manual}")
                unpack_checked(dataset, archive, manual / archive.name, folder)
                origins.append(str(manual))
            else:
                path, host = download(archive, downloads, say, retries)
                unpack(path, folder, archive.unpacked)
                origins.append(host)
    return "from " + " and ".join(dict.fromkeys(origins))


@contextmanager
def _explain_full_disk(*places: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"no space left on the disk of {' or '.join(map(str, places))}") from None


@contextmanager
def _lock_downloads(dataset: str, downloads: Path, say: Say) -> Iterator[None]:
    """Let queued experiments fetch the same files one after the other, so that the second one finds them."""
    make_folder(downloads.parent)
    lock = FileLock(downloads.with_name(f"{dataset}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another process that downloads {dataset}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
