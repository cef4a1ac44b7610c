"""The plug-ins of a project by name, described once for each version of their files: a look at them imports nothing."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from losslab.errors import InputError, suggest_name
from losslab.io.files import make_folder, read_json, write_json
from losslab.io.hashing import compute_bytes_md5, compute_file_md5
from losslab.plugins import FACTS, MARK, PluginKind, PluginMark
from losslab.plugins.loading import INPUTS, build_options, load_module

FOLDER = Path("plugins")
CARRIED = Path(__file__).parents[1] / "carried_plugins"
"""Folder that a served model's copy of losslab has in the place of a project's."""
GROUP = "losslab.plugins"
CACHE = Path(".losslab/plugins")
TIMEOUT_S = 120
NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class PluginEntry:
    """A plug-in as its file declares it."""

    kind: PluginKind
    name: str
    origin: str
    """The file, such as `plugins/mine.py`, or the module of a package."""
    attribute: str
    line: int
    package: str | None
    """`name==version` of the package; None for a file of the project."""
    summary: str
    facts: dict[str, Any]
    """The arguments of the decorator."""
    options: dict[str, Any]
    """JSON schema of the options."""

    @property
    def place(self) -> str:
        return f"{self.origin}:{self.line}"


@dataclass(frozen=True)
class Manifest:
    """All plug-ins, and a line for each file or plug-in that is not usable."""

    entries: tuple[PluginEntry, ...] = ()
    errors: tuple[str, ...] = ()

    def select(self, kind: PluginKind) -> dict[str, PluginEntry]:
        return {entry.name: entry for entry in self.entries if entry.kind == kind}


def find_plugins(folder: Path | None = None) -> Manifest:
    """Return the plug-ins of a project's folder, that of the working directory by default, and of installed packages.

    Files are imported by a process of their own, when one of them is new or has changed, and never in this one.
    """
    if folder is None and CARRIED.is_dir():
        return _describe_carried()
    folder = folder or FOLDER
    files = _list_files(folder)
    stamps = tuple((str(path), (stat := path.stat()).st_mtime_ns, stat.st_size) for path in files)
    return _describe_folder(folder, stamps, str(Path.cwd()))


def find_entry(kind: PluginKind, name: str, builtin: Container[str]) -> PluginEntry | None:
    """Return the plug-in of a name; None if there is none. Raises InputError for one that has the name of losslab's."""
    if name in builtin and not any(FOLDER.glob("*.py")):
        return None
    entry = find_plugins().select(kind).get(name)
    if entry is not None and name in builtin:
        raise InputError(f"{entry.place}: {name} is a {kind} of losslab; give yours another name")
    return entry


def explain_unknown(error: str, name: str, known: Iterable[str]) -> str:
    """Return an error about an unknown name with its cause: the plug-ins that cannot be used, or else a typing error."""
    faults = find_plugins().errors
    return "; ".join((*faults, error)) if faults else error + suggest_name(name, known)


def list_modules(folder: Path) -> list[tuple[str, str | None]]:
    """Return the origins of plug-ins, and the package of each that is not a file of the project."""
    own = [(str(path), None) for path in _list_files(folder) if not path.name.startswith("_")]
    installed = sorted(
        (point.module, f"{point.dist.name}=={point.dist.version}" if point.dist else point.module)
        for point in entry_points(group=GROUP)
    )
    return [*own, *installed]


def describe_modules(folder: Path) -> Manifest:
    """Import all plug-ins, and describe them."""
    entries: list[PluginEntry] = []
    errors = []
    twins: set[tuple[str, str]] = set()
    for origin, package in list_modules(folder):
        try:
            marked = _list_marked(load_module(origin))
            if not marked:
                errors.append(f"{origin}: it defines no plug-in; write a decorator, such as @loss, before the function")
        except InputError as error:
            marked = []
            errors.append(str(error))
        for attribute, target in marked:
            try:
                entry = _describe(attribute, target, origin, package)
                twin = next((e for e in entries if (e.kind, e.name) == (entry.kind, entry.name)), None)
                if twin is not None:
                    twins.add((entry.kind, entry.name))
                    raise InputError(f"{entry.place}: {entry.name} is a {entry.kind} of {twin.place} too: rename one")
                entries.append(entry)
            except InputError as error:
                errors.append(str(error))
    usable = (entry for entry in entries if (entry.kind, entry.name) not in twins)
    return Manifest(tuple(usable), tuple(errors))


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if path.is_file())


@lru_cache(maxsize=1)
def _describe_carried() -> Manifest:
    return describe_modules(CARRIED)


@lru_cache(maxsize=4)
def _describe_folder(folder: Path, stamps: tuple[Any, ...], cwd: str) -> Manifest:
    modules = list_modules(folder)
    if not modules:
        return Manifest()
    files = [(path.name, compute_file_md5(path)) for path in _list_files(folder)]
    code = [(path.name, compute_file_md5(path)) for path in sorted(Path(__file__).parent.glob("*.py"))]
    key = compute_bytes_md5(json.dumps([str(folder), files, modules, code]).encode())
    path = Path(os.environ.get("DVC_ROOT", ".")).resolve() / CACHE / f"{key}.json"
    if not path.is_file():
        make_folder(path.parent)
        _start_description(folder, path)
    content = read_json(path)
    return Manifest(tuple(PluginEntry(**entry) for entry in content["entries"]), tuple(content["errors"]))


def _start_description(folder: Path, path: Path) -> None:
    package = str(Path(__file__).parents[2])
    modules = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "losslab.plugins.manifest", str(folder), str(path)],
            env=os.environ | {"PYTHONPATH": modules},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{folder}: its files were not imported within {TIMEOUT_S} seconds") from None
    if not path.is_file():
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise InputError(f"{folder}: importing its files ended the process: {lines[-1]}")


def _list_marked(module: ModuleType) -> list[tuple[str, Any]]:
    """List the functions and classes of a module that a decorator made plug-ins, by attribute."""
    return [
        (attribute, target)
        for attribute, target in vars(module).items()
        if isinstance(getattr(target, MARK, None), PluginMark)
        and getattr(target, "__module__", None) == module.__name__
    ]


def _describe(attribute: str, target: Any, origin: str, package: str | None) -> PluginEntry:
    """Describe a plug-in. Raises InputError for one that losslab could not use."""
    mark: PluginMark = getattr(target, MARK)
    line = inspect.unwrap(target).__code__.co_firstlineno if inspect.isfunction(target) else _find_line(target)
    where, name = f"{origin}:{line}", mark.name or target.__name__
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{where}: {name!r} is no name for a {mark.kind}; use small letters, digits and _")
    _check_facts(mark, where)
    _check_arguments(mark.kind, target, where)
    return PluginEntry(
        kind=mark.kind,
        name=name,
        origin=origin,
        attribute=attribute,
        line=line,
        package=package,
        summary=(inspect.getdoc(target) or "").partition("\n")[0],
        facts=mark.facts,
        options=build_options(target, where).model_json_schema(),
    )


def _check_facts(mark: PluginMark, where: str) -> None:
    """Raise InputError for an argument that the decorator does not take, or of another type."""
    known = FACTS[mark.kind]
    for key, value in mark.facts.items():
        if key not in known:
            takes = f"; it takes {', '.join(('name', *known))}{suggest_name(key, known)}"
            raise InputError(f"{where}: @{mark.kind} takes no {key}{takes}")
        if value is not None and not isinstance(value, known[key]):
            raise InputError(f"{where}: {key} of @{mark.kind} is {value!r}; it must be of type {known[key].__name__}")


def _find_line(target: Any) -> int:
    try:
        return inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return 1


def _check_arguments(kind: PluginKind, target: Any, where: str) -> None:
    """Raise InputError for a function that losslab could not call."""
    if isinstance(target, type):
        if kind == "loss" and not callable(getattr(target, "compute", None)):
            raise InputError(
                f"{where}: class {target.__name__} has no compute(batch); derive it from losslab.losses.base.Loss"
            )
        if kind != "net":
            return
    known = INPUTS[kind]
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name not in known:
            raise InputError(
                f"{where}: {target.__name__} takes {parameter.name}; {format_kind(kind)} takes {', '.join(known)} by name, "
                "and options after *"
            )


def format_kind(kind: PluginKind) -> str:
    """Return the kind with its article."""
    return f"an {kind}" if kind == "augmentation" else f"a {kind}"


if __name__ == "__main__":
    described = describe_modules(Path(sys.argv[1]))
    write_json(
        Path(sys.argv[2]), {"entries": [asdict(entry) for entry in described.entries], "errors": list(described.errors)}
    )
