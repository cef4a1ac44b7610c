"""`losslab upgrade`: a project's files as the installed losslab has them, but for those that its user has changed."""

from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.io.files import write_bytes
from losslab.io.git import find_repository
from losslab.io.hashing import compute_bytes_md5
from losslab.project.code import CODE, RECORD, compute_code_hashes, is_losslabs_own, read_record, write_record
from losslab.project.new_params import add_missing_keys
from losslab.project.template import MERGED, get_version, merge, read_template

PARAMS = "params.yaml"


@dataclass
class Upgrade:
    """What an upgrade changes, and what it leaves to the user."""

    before: str
    """The version of losslab that the project was of."""
    after: str
    changed: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """Content before and after of the files that it writes; nothing stands for a file that is not there."""
    left: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """Content before and after of files that both losslab and the user have changed, which stay as they are."""
    stages: list[str] = field(default_factory=list)
    """Stages that DVC runs again, as their code or script is another."""

    @property
    def is_empty(self) -> bool:
        return not (self.changed or self.left or self.stages) and self.before == self.after

    def format_diffs(self) -> list[str]:
        """Return the lines of a unified diff of all files, those that are left last."""
        lines: list[str] = []
        for path, (old, new) in {**self.changed, **self.left}.items():
            before, after = (content.decode("utf-8", "replace").splitlines() for content in (old, new))
            here, there = f"a/{path}" if old else "/dev/null", f"b/{path}" if new else "/dev/null"
            lines += unified_diff(before, after, here, there, lineterm="")
        return lines


def plan_upgrade(folder: Path) -> Upgrade:
    """Compare a project with the installed losslab. Raises InputError if the folder is no project."""
    record = read_record(folder)
    if record is None and is_losslabs_own(folder):
        raise InputError(
            "this is losslab's own repository: `git pull` moves it to another version, and `make setup` installs it"
        )
    if record is None:
        raise InputError(f"{RECORD}: no such file, so this is no project that `losslab init` made")
    known, upgrade = record["files"], Upgrade(record["version"], get_version())
    files = read_template(folder.resolve(), find_repository(folder) or folder.resolve(), _get_name(folder, record))
    for path in {**files, **known}:
        place, new = folder / path, files.get(path, b"")
        old = place.read_bytes() if place.is_file() else b""
        if path in MERGED:
            new = merge(path, place, new) or old
            mine = False
        elif not place.is_file():
            mine = path in known  # the user has removed it
        else:
            mine = compute_bytes_md5(old) != known.get(path)
        filled = _fill_params(path, old, new) if mine and old else old
        if old == new:
            continue
        if filled != old:
            upgrade.changed[path] = (old, filled)
        elif not mine:
            upgrade.changed[path] = (old, new)
        elif old and path in known and compute_bytes_md5(new) != known[path]:
            upgrade.left[path] = (old, new)
    hashes = compute_code_hashes()
    upgrade.stages = [
        stage for stage in hashes if record[CODE].get(stage) != hashes[stage] or f"src/{stage}.py" in upgrade.changed
    ]
    return upgrade


def apply_upgrade(folder: Path, upgrade: Upgrade) -> None:
    """Write what an upgrade changes, and record the installed losslab."""
    for path, (_, new) in upgrade.changed.items():
        if new:
            write_bytes(folder / path, new)
        else:
            (folder / path).unlink()
    record = read_record(folder) or {}
    name, known = _get_name(folder, record), record.get("files", {})
    files = read_template(folder.resolve(), find_repository(folder) or folder.resolve(), name)
    ours = {path: content for path, content in files.items() if path in known or path in upgrade.changed}
    write_record(folder, name, ours)


def _fill_params(path: str, old: bytes, new: bytes) -> bytes:
    """Return a file of the user's, and params.yaml with the keys that stages of this losslab need and it lacks."""
    if path != PARAMS:
        return old
    try:
        return add_missing_keys(old.decode(), new.decode()).encode()
    except UnicodeDecodeError:
        return old


def _get_name(folder: Path, record: dict[str, Any]) -> str:
    return str(record.get("name", folder.resolve().name))
