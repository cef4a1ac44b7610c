"""The names of image and mask files: their endings, and the spelling by which they are paired."""

import unicodedata
from pathlib import Path

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".npy"}


def list_mask_files(mask: Path) -> list[Path]:
    """List the files of a mask: itself, or those of a folder that has one for each object or class, sorted by name."""
    if not mask.is_dir():
        return [mask]
    return sorted(
        path for path in mask.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def get_stem(path: Path) -> str:
    """Return a file's name without its ending, in the one spelling by which images and masks are paired."""
    return normalize_name(path.stem)


def normalize_name(name: str) -> str:
    """Spell letters with accents as one character (NFC), whichever of two ways the system that wrote the name has."""
    return unicodedata.normalize("NFC", name)


def is_text(name: str) -> bool:
    """Tell whether a name is UTF-8: old archives hold names in other codes, which no table or JSON can hold."""
    return name.encode("utf-8", "ignore").decode() == name
