"""The files of a new project. Most are those of losslab's own repository, which the wheel carries; a few are of projects alone."""

import json
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from losslab.project.code import CODE, RECORD, REPOSITORY

CARRIED = Path(__file__).parent / "template"
"""Folder in the wheel with the repository's files; see pyproject.toml."""
OWN = Path(__file__).parent / "own"
"""Folder with the files that the repository itself has in another form, or not at all."""
WORKFLOWS = ".github/workflows"
DVC_CONFIG = ".dvc/config"
MERGED = (".gitignore", ".dvcignore", ".dvc/.gitignore", DVC_CONFIG)
"""Files that take the lines that they lack, where they are there already."""
LOCK = "requirements.lock"
LOCK_HEADING = (
    "# The versions that this project's results are made with, as `losslab init` found them. To check the files too:",
    f"# uv pip compile --generate-hashes --no-header --quiet --output-file {LOCK} {LOCK}",
)


def read_template(project: Path, repository: Path, name: str) -> dict[str, bytes]:
    """Return the content of each file of a project, by its path from the root of the project.

    Args:
        project: the root of the project.
        repository: the root of the Git repository that it is in, or will be: GitHub's workflows are there.
        name: the name of the project: that of the folder in which it was made.
    """
    files = {path: place.read_bytes() for path, place in list_carried().items()}
    files["dvc.yaml"] = _replace_code_deps(files["dvc.yaml"].decode()).encode()
    prefix = project.relative_to(repository).as_posix()
    slug = re.sub(r"[^a-z0-9]+", "-", (name if prefix == "." else prefix).lower()).strip("-") or "project"
    inserted = {
        "@PREFIX@/": "" if prefix == "." else f"{json.dumps(prefix, ensure_ascii=False)[1:-1]}/",
        "@PREFIX@": json.dumps(prefix, ensure_ascii=False)[1:-1],
        "@NAME@": json.dumps(name, ensure_ascii=False)[1:-1],
        "@SLUG@": slug,
        "@PYTHON@": f"{sys.version_info.major}.{sys.version_info.minor}",  # whose libraries requirements.lock has
    }
    for place in _list_files(OWN):
        text = place.read_text(encoding="utf-8")
        for mark, value in inserted.items():
            text = text.replace(mark, value)
        files[place.relative_to(OWN).as_posix()] = text.encode()
    if prefix != ".":
        to_root = "../" * (prefix.count("/") + 1)
        files[f"{to_root}{WORKFLOWS}/reproduce-{slug}.yml"] = files.pop(f"{WORKFLOWS}/reproduce.yml")
    files[LOCK] = list_requirements().encode()
    return files


def is_needed(path: str) -> bool:
    """Return whether a project works only with this file of ours, or also with one of the user's in its place."""
    return path in ("dvc.yaml", "params.yaml") or path.startswith("src/")


def merge(path: str, place: Path, content: bytes) -> bytes | None:
    """Return what a file of a project is to hold: our content; or, where it is there, its own with what it lacks of ours.

    None says that the file is there with other content and takes nothing of ours.
    """
    if not place.exists():
        return content
    current = place.read_bytes()
    if current == content:
        return content
    if path not in MERGED:
        return None
    lines, ours = current.decode("utf-8", "replace").splitlines(), content.decode().splitlines()
    if path == DVC_CONFIG:
        ours = ours[ours.index("[plots]") :] if "[plots]" not in lines else []
    missing = [line for line in ours if line not in lines]
    start = current if not current or current.endswith(b"\n") or not missing else current + b"\n"
    return start + "".join(f"{line}\n" for line in missing).encode()


def list_requirements() -> str:
    """Return the lines of a requirements.lock: losslab and all it needs, in the versions that are installed here.

    Local versions, such as that of a build for the CPU alone, are left out: PyPI has none.
    """
    pins: dict[str, str] = {}
    waiting, seen = [Requirement("losslab")], set()
    while waiting:
        requirement = waiting.pop()
        key = canonicalize_name(requirement.name)
        if (wanted := (key, *sorted(requirement.extras))) in seen:
            continue
        seen.add(wanted)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:  # an extra that is not installed
            continue
        pins[key] = Version(found.version).public
        inner = map(Requirement, found.requires or [])
        extras = ("", *requirement.extras)
        waiting += [
            each for each in inner if not each.marker or any(each.marker.evaluate({"extra": e}) for e in extras)
        ]
    lines = [f"{key}=={pins[key]}" for key in sorted(pins)]
    return "\n".join([*LOCK_HEADING, *lines, ""])


def get_version() -> str:
    return version("losslab")


def list_carried() -> dict[str, Path]:
    """Return the place of each file that projects share with losslab's own repository."""
    if CARRIED.is_dir():
        return {path.relative_to(CARRIED).as_posix(): path for path in _list_files(CARRIED)}
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    places = [
        REPOSITORY / path
        for path in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["project-files"]
    ]
    files = [path for place in places for path in ([place] if place.is_file() else _list_files(place))]
    return {path.relative_to(REPOSITORY).as_posix(): path for path in files}


def _list_files(folder: Path) -> list[Path]:
    """List the files of a folder, without the byte code that pip compiles on installation."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def _replace_code_deps(text: str) -> str:
    """Let each stage depend on its hash in losslab.yaml in the place of losslab's own files, which no project has."""
    lines, stage = [], ""
    for line in text.splitlines(keepends=True):
        if heading := re.match(r"  (\w+):", line):
            stage = heading[1]
        if not line.startswith("      - src/losslab/"):
            lines.append(line)
        if line.startswith("    params:"):
            lines.append(f"      - {RECORD}: [{CODE}.{stage}]\n")
    return "".join(lines)
