"""Outs by the md5 that dvc.lock has of them: from DVC's cache, else its remote, past DVC's own slower ways.

DVC opens a whole repository at a commit to give out one file; a comparison reads some thirty files of each of many runs.
"""

import json
from functools import cache as once
from functools import cached_property
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from losslab.errors import InputError

FOLDER = ".dir"
"""What the md5 of a folder ends with."""


class DvcCache:
    """What a repository's DVC cache and default remote hold. Nothing is ever written to either."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = find_cache_folder(root) / "files/md5"

    def link(self, md5: str, target: Path) -> bool:
        """Make `target` this file or folder, of links into the cache, or of copies from the remote; it must not be there.

        Who writes through a link would break the cache: for readers alone. Returns whether all of it was found; what was
        not is missing in `target`.
        """
        if not md5.endswith(FOLDER):
            return self._link_file(md5, target)
        entries = self.entries(md5)
        if entries is None:
            return False
        target.mkdir(parents=True, exist_ok=True)
        missing = [name for name, each in entries.items() if not self._link_file(each, target / name)]
        return not missing

    def entries(self, md5: str) -> dict[str, str] | None:
        """Relative path → md5 of a folder's files; None where neither cache nor remote has it."""
        path = self._path(md5)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            content = self._from_remote(md5)
            if content is None:
                return None
            text = content.decode()
        return {entry["relpath"]: entry["md5"] for entry in json.loads(text)}

    def has(self, md5: str) -> bool:
        """Whether all of it is in the cache, so that nothing need be fetched."""
        if not self._path(md5).is_file():
            return False
        if not md5.endswith(FOLDER):
            return True
        return all(self._path(each).is_file() for each in (self.entries(md5) or {}).values())

    def read(self, md5: str) -> bytes | None:
        """A file's content; None where neither cache nor remote has it."""
        try:
            return self._path(md5).read_bytes()
        except FileNotFoundError:
            return self._from_remote(md5)

    def _path(self, md5: str) -> Path:
        return self.folder / md5[:2] / md5[2:]

    def _link_file(self, md5: str, target: Path) -> bool:
        path = self._path(md5)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            target.symlink_to(path)
            return True
        content = self._from_remote(md5)
        if content is None:
            return False
        target.write_bytes(content)
        return True

    def _from_remote(self, md5: str) -> bytes | None:
        if self._remote is None:
            return None
        try:
            content: bytes = self._remote.fs.cat_file(self._remote.oid_to_path(md5))
        except Exception:  # of whatever library that reaches the remote: it is not to be had
            return None
        return content

    @cached_property
    def _remote(self) -> Any | None:
        try:
            with Repo(str(self.root)) as repo:
                return repo.cloud.get_remote_odb()
        except DvcException:  # there is none, or one that keeps no md5s
            return None


def find_cache_folder(root: Path) -> Path:
    """The folder of DVC's cache. Raises InputError where there is no DVC repository."""
    return _cache(root.resolve())


@once
def _cache(root: Path) -> Path:
    try:
        with Repo(str(root)) as repo:
            return Path(repo.cache.local_cache_dir)
    except DvcException as error:
        raise InputError(f"{root} is no DVC repository ({error}); run at the root of your clone") from None
