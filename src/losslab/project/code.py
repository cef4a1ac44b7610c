"""The code of losslab that each stage runs: losslab.yaml records it, so that DVC sees when another losslab is installed."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from losslab.errors import InputError
from losslab.io.files import write_text
from losslab.io.hashing import compute_bytes_md5, compute_file_md5, compute_folder_md5
from losslab.io.yaml import parse_yaml, read_yaml

RECORD = "losslab.yaml"
"""File of a project with its name, the version of losslab, a hash of its code for each stage, and the md5s of its files."""
CODE = "code"
TRACKED = ("src", "data/catalog", "data/raw/*.dvc", "dvc.yaml", "plugins", RECORD)
"""What a run takes from its commit; only params are given to it."""
HEADING = """\
# losslab writes this file: do not edit it, and keep it in Git. `losslab upgrade` moves the project to another losslab.
# code: what each stage runs of losslab, as a hash; DVC runs a stage again when it changes.
# files: losslab's files in this project as losslab wrote them, as md5s, to know which of them you have changed.
"""
REPOSITORY = Path(__file__).parents[3]
"""Root of losslab's own repository, where this file is not in a wheel."""
_PACKAGE = Path(__file__).parents[1]


def find_root(here: Path) -> Path | None:
    """Return the project that a folder is, or lies in; None if there is none."""
    root = next((folder for folder in (here, *here.parents) if (folder / "params.yaml").is_file()), None)
    return root if root is not None and ((root / ".dvc").is_dir() or (root / "dvc.yaml").is_file()) else None


def find_in_project(path: Path) -> Path:
    """Return a path as it is if it is here, else the same path in the project that the working directory is in."""
    root = find_root(Path.cwd())
    return path if root is None or path.exists() or not (root / path).exists() else root / path


def is_losslabs_own(repository: Path) -> bool:
    """Return whether a folder is the root of losslab's own repository."""
    return (repository / "src/losslab/project").is_dir()


@cache
def compute_code_hashes(only: str | None = None) -> dict[str, str]:
    """Return a hash for each stage, or `only` one, of the installed losslab's files that it runs, as its dvc.yaml lists them."""
    carried = _PACKAGE / "project/template/dvc.yaml"
    pipeline = parse_yaml((carried if carried.is_file() else REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))
    hashes = {}
    for stage, entry in pipeline["stages"].items():
        if only not in (None, stage):
            continue
        paths = [dep.removeprefix("src/losslab/") for dep in entry["deps"] if dep.startswith("src/losslab/")]
        md5s = [(path, _compute_md5(_PACKAGE / path)) for path in sorted(paths)]
        hashes[stage] = hashlib.md5(repr(md5s).encode(), usedforsecurity=False).hexdigest()
    return hashes


def check_code(stage: str, folder: Path) -> None:
    """Raise InputError if the installed losslab runs a stage otherwise than a project's losslab.yaml says.

    A folder without losslab.yaml, such as losslab's own repository, has losslab's code itself among its stages' deps.
    """
    record = read_record(folder)
    if record and record[CODE].get(stage) != compute_code_hashes(stage).get(stage):
        from importlib.metadata import version

        old, new = record["version"], version("losslab")
        raise InputError(
            f"{RECORD}: this project is of losslab {old}, and the installed losslab {new} has other code for {stage}: run "
            "`losslab upgrade`" + (f", or install losslab=={old}" if old != new else "")
        )


def read_record(folder: Path) -> dict[str, Any] | None:
    """Read a project's losslab.yaml; None if it has none. Raises InputError for one that is not as losslab writes it."""
    path = folder / RECORD
    if not path.is_file():
        return None
    record = read_yaml(path)
    shape = {"version": str, CODE: dict, "files": dict}
    if not isinstance(record, dict) or not all(isinstance(record.get(key), kind) for key, kind in shape.items()):
        raise InputError(f"{path}: it must have version, code and files; get it back with git checkout {path}")
    return record


def write_record(folder: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Write losslab.yaml of the installed losslab, and of a project's name and files as losslab has them."""
    from importlib.metadata import version

    record = {
        "name": name,
        "version": version("losslab"),
        CODE: compute_code_hashes(),
        "files": {path: compute_bytes_md5(files[path]) for path in sorted(files)},
    }
    write_text(folder / RECORD, HEADING + yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=1000))


def _compute_md5(path: Path) -> str:
    return compute_file_md5(path) if path.is_file() else compute_folder_md5(path)
