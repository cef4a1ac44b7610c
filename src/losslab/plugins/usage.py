"""A record of the plug-ins that a run uses: stages depend on it, and not on all that is in plugins/."""

import ast
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.io.files import flatten
from losslab.io.hashing import compute_file_md5
from losslab.io.yaml import read_yaml
from losslab.plugins.loading import LOADED
from losslab.plugins.manifest import FOLDER, PluginEntry, find_plugins

USERS = {
    "prepare": ("layout",),
    "train": ("loss", "arch", "train.augmentation"),
    "evaluate": ("layout", "arch", "evaluate.metrics"),
}
"""Stage → params that name the plug-ins which it runs; `layout` is that of the dataset's card."""
KINDS = {
    "layout": "reader",
    "loss": "loss",
    "arch": "net",
    "train.augmentation": "augmentation",
    "evaluate.metrics": "metric",
}


def describe_usage(params: Mapping[str, Any], project: Path = Path()) -> dict[str, str]:
    """Return, for each stage, JSON of the plug-ins that it runs with these params and the md5s of their files."""
    return {stage: _format([*_find_used(params, keys, project)], project) for stage, keys in USERS.items()}


def list_used_files(every: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the files of the project's plug-ins that runs with these params use."""
    entries = (entry for params in every for keys in USERS.values() for entry in _find_used(params, keys, Path()))
    origins = {entry.origin for entry in entries if entry.package is None}
    return {path.as_posix() for origin in origins for path in list_files(Path(origin))}


def get_usage_path(stage: str) -> Path:
    """Return where the stage `plugins` writes the record of another stage."""
    return Path("data/plugins") / f"{stage}.json"


def read_usage(stage: str) -> str:
    """Return the record of a stage; nothing outside a project's folder."""
    path = get_usage_path(stage)
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def check_usage(stage: str, params: Mapping[str, Any]) -> None:
    """Raise InputError if plug-ins are not what the stage `plugins` has recorded, before they are run and as they were run."""
    if not (text := read_usage(stage)):
        return
    recorded = json.loads(text)
    if not LOADED:
        now = json.loads(describe_usage(params)[stage])
        changed = next((name for name in recorded | now if recorded.get(name) != now.get(name)), None)
        if changed is not None:
            raise InputError(f"{changed} is not what it was when the stage plugins ran: run dvc repro again")
    known = {file: md5 for files in recorded.values() if isinstance(files, dict) for file, md5 in files.items()}
    for place, md5 in LOADED.items():
        file = Path(os.path.relpath(place)).as_posix()
        if file not in known:
            raise InputError(
                f"{file} was imported, but the stage plugins does not know of it: write `import {place.stem}`, and keep "
                "helpers beside the plug-in"
            )
        if known[file] != md5:
            raise InputError(f"{file} changed before this stage imported it: run dvc repro again")


def describe_code(entry: PluginEntry, project: Path = Path()) -> Any:
    """Return the md5s of a plug-in's files, by their path in the project; of a package, its name and version."""
    if entry.package is not None:
        return entry.package
    return {path.relative_to(project).as_posix(): compute_file_md5(path) for path in list_files(Path(entry.origin))}


def _find_used(params: Mapping[str, Any], keys: tuple[str, ...], project: Path) -> list[PluginEntry]:
    manifest = find_plugins(project / FOLDER)
    values = flatten(params) | {"evaluate.metrics": " ".join(params.get("evaluate", {}).get("metrics", {}))}
    card = project / f"data/catalog/{params.get('dataset')}.yaml"
    if manifest.select("reader") and card.is_file():
        values["layout"] = read_yaml(card)["layout"]
    words = {key: set(re.findall(r"\w+", str(values.get(key)))) for key in keys}
    return [
        entry for entry in manifest.entries for key in keys if entry.kind == KINDS[key] and entry.name in words[key]
    ]


def _format(entries: list[PluginEntry], project: Path) -> str:
    entries = sorted(entries, key=lambda entry: (entry.kind, entry.name))
    used = {f"{entry.kind} {entry.name}": describe_code(entry, project) for entry in entries}
    return json.dumps(used, indent=2) + "\n"


def list_files(file: Path) -> list[Path]:
    """Return a file of plugins/ and the files beside it that it imports, directly or indirectly."""
    found, waiting = [file], [file]
    while waiting:
        tree = ast.parse(waiting.pop().read_text(encoding="utf-8"))
        names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        beside = [file.with_name(f"{name.partition('.')[0]}.py") for name in names]
        fresh = [path for path in dict.fromkeys(beside) if path.is_file() and path not in found]
        found, waiting = found + fresh, waiting + fresh
    return sorted(found)
