"""The cards of data/catalog, and whether their data are on this disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from losslab.cards import SOURCE_KINDS, ArchiveSource, Card, OwnSource, read_card
from losslab.data.readers import IMAGE_SUFFIXES, find_dataset_folder
from losslab.errors import InputError

CATALOG = Path("data/catalog")


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    name: str
    card: Card | None
    """None if the card is broken."""
    fault: str | None
    images: int | None
    """Number of images that the card gives; for your own data, the number on disk."""
    on_disk: bool
    prepared: bool

    @property
    def bytes_to_download(self) -> int | None:
        """Size of all archives; None if nothing is downloaded, or the card does not say."""
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
        """Return everything that is known, as JSON."""
        about: dict[str, Any] = {"name": self.name, "fault": self.fault}
        about |= {"on_disk": self.on_disk, "prepared": self.prepared}
        if self.card is not None:
            about |= self.card.model_dump(include={"title", "licence", "citation", "home"})
            about |= {"images": self.images, "source": self.source}
            about |= {"bytes": self.bytes_to_download, "by_hand": self.by_hand}
            about |= self.card.model_dump(include={"layout", "classes", "void", "group"}, mode="json")
            about["official_split"] = self.card.has_official_split
        return about


def read_catalog(root: Path = Path()) -> list[CatalogEntry]:
    """Read every card, sorted by name; broken ones hide no others. Raises InputError if `root` has no catalog."""
    check_root(root)
    return [_read_entry(path.stem, root) for path in sorted((root / CATALOG).glob("*.yaml"))]


def check_root(root: Path) -> None:
    """Raise InputError if `root` is not the root of a losslab repository."""
    if not (root / CATALOG).is_dir():
        raise InputError(f"{CATALOG}: no such folder; run from the root of the repository")


def _read_entry(name: str, root: Path) -> CatalogEntry:
    raw, card, fault, images = root / "data/raw" / name, None, None, None
    try:
        card = read_card(name, root / CATALOG)
    except InputError as error:
        fault = str(error)
    except OSError as error:
        fault = f"{error.filename}: {error.strerror}"
    if card is not None:
        folder = find_dataset_folder(card, raw)
        images, on_disk = _count_images(card, folder), folder.is_dir()
    else:
        on_disk = (raw / "fetched").is_dir() or (raw / "own").is_dir()
    prepared = (root / "data/prepared" / name).is_dir()
    return CatalogEntry(name=name, card=card, fault=fault, images=images, on_disk=on_disk, prepared=prepared)


def _count_images(card: Card, folder: Path) -> int | None:
    folders = [*folder.glob("images"), *folder.glob("*/images")]
    if card.images is not None or not isinstance(card.source, OwnSource) or not folders:
        return card.images
    paths = [path for place in folders for path in place.iterdir()]
    return sum(path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") for path in paths)
