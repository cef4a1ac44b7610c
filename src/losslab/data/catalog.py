"""The cards of data/catalog, and what of their data is on this disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losslab.cards import SOURCE_KINDS, ArchiveSource, Card, OwnSource, read_card
from losslab.data.readers import IMAGE_SUFFIXES, dataset_folder
from losslab.errors import InputError

CATALOG = Path("data/catalog")


@dataclass(frozen=True)
class CatalogEntry:
    name: str
    card: Card | None
    """None where the card is broken."""
    fault: str | None
    images: int | None
    """As published; of your own data, as many as there are."""
    on_disk: bool
    prepared: bool

    @property
    def bytes_to_download(self) -> int | None:
        """None where nothing is downloaded, or nobody says how much."""
        if self.card is None or not isinstance(self.card.source, ArchiveSource):
            return None
        sizes = [archive.bytes for archive in self.card.source.archives]
        return sum(size for size in sizes if size is not None) if None not in sizes else None

    @property
    def by_hand(self) -> bool:
        """Whether a person must get the files."""
        archives = self.card.source.archives if self.card and isinstance(self.card.source, ArchiveSource) else []
        return any(not archive.urls for archive in archives)

    @property
    def source(self) -> str | None:
        """The kind of source: generator, archives, folder, own."""
        if self.card is None:
            return None
        return next(kind for kind, schema in SOURCE_KINDS.items() if isinstance(self.card.source, schema))

    def describe(self) -> dict[str, Any]:
        """All there is to know, as JSON."""
        about: dict[str, Any] = {
            "name": self.name,
            "fault": self.fault,
            "on_disk": self.on_disk,
            "prepared": self.prepared,
        }
        if self.card is not None:
            about |= self.card.model_dump(include={"title", "licence", "citation", "home"})
            about |= {
                "images": self.images,
                "source": self.source,
                "bytes": self.bytes_to_download,
                "by_hand": self.by_hand,
            }
            about |= self.card.model_dump(include={"layout", "classes", "void", "group"}, mode="json")
            about["official_split"] = self.card.has_official_split
        return about


def read_catalog(root: Path = Path()) -> list[CatalogEntry]:
    """Every card, by name; a broken one hides none of the others.

    Raises:
        InputError: `root` has no catalog.
    """
    check_root(root)
    return [_entry(path.stem, root) for path in sorted((root / CATALOG).glob("*.yaml"))]


def check_root(root: Path) -> None:
    """Raises InputError where `root` is not the root of a losslab repository."""
    if not (root / CATALOG).is_dir():
        raise InputError(f"{CATALOG}: no such folder; run from the root of the repository")


def _entry(name: str, root: Path) -> CatalogEntry:
    raw = root / "data/raw" / name
    prepared = (root / "data/prepared" / name).is_dir()
    try:
        card = read_card(name, root / CATALOG)
    except InputError as error:
        fault = str(error)
    except OSError as error:
        fault = f"{error.filename}: {error.strerror}"
    else:
        folder = dataset_folder(card, raw)
        return CatalogEntry(name, card, None, _images(card, folder), folder.is_dir(), prepared)
    return CatalogEntry(name, None, fault, None, (raw / "fetched").is_dir() or (raw / "own").is_dir(), prepared)


def _images(card: Card, folder: Path) -> int | None:
    if card.images is not None or not isinstance(card.source, OwnSource) or not (folder / "images").is_dir():
        return card.images
    return sum(
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        for path in (folder / "images").iterdir()
    )
