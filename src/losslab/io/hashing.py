"""Hashes of files and folders, as DVC computes them."""

import hashlib
import json
from pathlib import Path


def compute_folder_md5(folder: Path) -> str:
    """The md5 that DVC gives a folder, as it stands in dvc.lock: without what .dvcignore names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not _ignored(path.relative_to(folder)))
    entries = [{"md5": compute_file_md5(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _ignored(path: Path) -> bool:
    return path.suffix == ".pyc" or any(
        part == "__pycache__" or (part.startswith(".") and part.endswith(".partial")) for part in path.parts
    )


def compute_file_md5(path: Path) -> str:
    """The md5 of a file's bytes, as it stands in dvc.lock."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def compute_file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
