"""Whether a file is the archive that a card describes."""

from pathlib import Path

from losslab.cards import Archive
from losslab.io.hashing import compute_file_md5, compute_file_sha256


def find_mismatch(archive: Archive, path: Path, card: str = "the card") -> str | None:
    """Return which of the card's checksums a file does not have, and what it has instead; None if it has them all.

    Args:
        card: what the text calls the card.
    """
    for name, expected, compute in (
        ("md5", archive.md5, compute_file_md5),
        ("sha256", archive.sha256, compute_file_sha256),
    ):
        if expected is not None and (found := compute(path)) != expected:
            return f"{name} is {found}, but {card} says {expected}"
    return None
