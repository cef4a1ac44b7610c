"""Hashes of files and folders, as DVC computes them."""

import hashlib
import json
from pathlib import Path


def compute_folder_md5(folder: Path) -> str:
    """Compute the md5 that DVC writes for a folder in dvc.lock; files that .dvcignore names do not count."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(map(is_ignored, path.relative_to(folder).parts))
    )
    entries = [{"md5": compute_file_md5(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def is_ignored(name: str) -> bool:
    """Return whether .dvcignore names a file or folder."""
    return name == "__pycache__" or name.endswith(".pyc") or (name.startswith(".") and name.endswith(".partial"))


def compute_file_md5(path: Path) -> str:
    """Compute the md5 that DVC writes for a file in dvc.lock: that of its bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def compute_bytes_md5(content: bytes) -> str:
    """Compute the md5 that DVC writes for a file with this content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def compute_file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
