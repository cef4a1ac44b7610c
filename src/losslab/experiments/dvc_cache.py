"""Outs by their md5 in dvc.lock: from DVC's cache, else its remote, faster than through DVC.

DVC opens a complete repository at a commit to read one file; a comparison reads some thirty files of each of many runs.
"""

import hashlib
import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from losslab.errors import InputError
from losslab.io.hashing import compute_file_md5

FOLDER_SUFFIX = ".dir"


class DvcCache:
    """The content of a repository's DVC cache and default remote, for reading only.

    DVC trusts the files in its cache. Here a file whose md5 is not its name is an InputError.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = find_cache_folder(root) / "files/md5"

    def link(self, md5: str, target: Path) -> bool:
        """Make `target` this file or folder, of links into the cache or copies from the remote; return whether it is complete.

        Writing through a link would break the cache: use it for reading only.

        Args:
            target: a path where nothing is yet; files that neither cache nor remote has are missing below it.
        """
        if not md5.endswith(FOLDER_SUFFIX):
            return self._link_file(md5, target)
        if (entries := self.read_entries(md5)) is None:
            return False
        target.mkdir(parents=True, exist_ok=True)
        missing = [name for name, each in entries.items() if not self._link_file(each, target / name)]
        return not missing

    def read_entries(self, md5: str) -> dict[str, str] | None:
        """Return relative path → md5 of a folder's files; None if neither cache nor remote has it."""
        content = self.read(md5)
        return None if content is None else {entry["relpath"]: entry["md5"] for entry in json.loads(content)}

    def has(self, md5: str) -> bool:
        """Return whether the cache has the file, or the folder and all its files."""
        if not self._find_path(md5).is_file():
            return False
        if not md5.endswith(FOLDER_SUFFIX):
            return True
        return all(self._find_path(each).is_file() for each in (self.read_entries(md5) or {}).values())

    def check(self, md5: str) -> None:
        """Raise InputError if a file, or a folder or one of its files, is damaged in the cache."""
        for each in (md5, *((self.read_entries(md5) or {}).values() if md5.endswith(FOLDER_SUFFIX) else ())):
            if (path := self._find_path(each)).is_file():
                _check_content(path, compute_file_md5(path), each)

    def read(self, md5: str) -> bytes | None:
        """Return a file's content; None if neither cache nor remote has it."""
        path = self._find_path(md5)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return self._read_remote(md5)
        _check_content(path, hashlib.md5(content, usedforsecurity=False).hexdigest(), md5)
        return content

    def _find_path(self, md5: str) -> Path:
        return self.folder / md5[:2] / md5[2:]

    def _link_file(self, md5: str, target: Path) -> bool:
        path = self._find_path(md5)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            _check_content(path, compute_file_md5(path), md5)
            target.symlink_to(path)
            return True
        if (content := self._read_remote(md5)) is None:
            return False
        target.write_bytes(content)
        return True

    def _read_remote(self, md5: str) -> bytes | None:
        if self._remote is None:
            return None
        try:
            content: bytes = self._remote.fs.cat_file(self._remote.oid_to_path(md5))
        except Exception:  # from any library that reaches the remote: it cannot be had
            return None
        return content

    @cached_property
    def _remote(self) -> Any | None:
        try:
            with Repo(str(self.root)) as repo:
                return repo.cloud.get_remote_odb()
        except DvcException:  # there is none, or one that keeps no md5s
            return None


def _check_content(path: Path, found: str, md5: str) -> None:
    if found != md5.removesuffix(FOLDER_SUFFIX):
        raise InputError(
            f"{path} in DVC's cache is damaged: remove it, then run dvc fetch if there is a remote, or dvc repro"
        )


def find_cache_folder(root: Path) -> Path:
    """Return the folder of DVC's cache. Raises InputError if there is no DVC repository."""
    return _find_cache_folder(root.resolve())


@cache
def _find_cache_folder(root: Path) -> Path:
    with open_repository(root) as repo:
        return Path(repo.cache.local_cache_dir)


def open_repository(root: Path) -> Repo:
    """Open the DVC repository of a folder. Raises InputError if there is none."""
    try:
        return Repo(str(root))
    except DvcException as error:
        root = root.resolve()
        raise InputError(f"{root} is not a DVC repository ({error}); run this at the root of your project") from None
