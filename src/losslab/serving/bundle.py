"""The files of losslab and the packages that a module needs, as its imports show."""

import ast
import importlib.metadata
import shutil
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import losslab
from losslab.plugins.manifest import CARRIED

SOURCE = Path(losslab.__file__).parent
PINNED_WITH = {"segmentation_models_pytorch": ["torchvision"], "tifffile": ["imagecodecs"]}
"""Package → packages that it imports: one whose version must match another pinned one, and one that it may lack."""


@dataclass(frozen=True)
class CodeBundle:
    files: frozenset[Path]
    """Files in losslab's own folder."""
    packages: frozenset[str]
    """Top-level modules of other packages."""
    plugins: tuple[Path, ...] = ()
    """Files of a project's own."""

    def copy_to(self, folder: Path) -> None:
        """Copy the files to `folder/losslab/…`."""
        for file in sorted(self.files):
            target = folder / "losslab" / file.relative_to(SOURCE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        for file in self.plugins:
            target = folder / "losslab" / CARRIED.name / file.name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)

    def list_requirements(self) -> list[str]:
        """List `name==version` of each installed package, without a build such as +cpu, which only some indexes have."""
        owners = importlib.metadata.packages_distributions()
        packages = self.packages | {extra for name in self.packages for extra in PINNED_WITH.get(name, [])}
        names = sorted({owners[package][0] for package in packages}, key=str.lower)
        return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def collect_code(modules: Iterable[str], left_out: Container[str] = (), plugins: Iterable[Path] = ()) -> CodeBundle:
    """Collect everything that `modules` of losslab import, directly or indirectly, within functions too.

    Args:
        left_out: modules of losslab that only functions import which the shipped code never calls.
        plugins: files of a project's own, to be shipped with what they import.
    """
    files: dict[str, Path] = {}
    plugins = tuple(plugins)
    packages: set[str] = set()
    waiting = list(modules)
    for imported in (name for plugin in plugins for name in _list_imports(plugin)):
        top = imported.partition(".")[0]
        if top == "losslab":
            waiting.append(imported)
        elif top not in sys.stdlib_module_names and top not in {plugin.stem for plugin in plugins}:
            packages.add(top)
    while waiting:
        name = waiting.pop()
        file = _find_file(name)
        if file is None or name in files or name in left_out:
            continue
        files[name] = file
        if parent := name.rpartition(".")[0]:
            waiting.append(parent)
        for imported in _list_imports(file):
            top = imported.partition(".")[0]
            if top == "losslab":
                waiting.append(imported)
            elif top not in sys.stdlib_module_names:
                packages.add(top)
    return CodeBundle(frozenset(files.values()), frozenset(packages), plugins)


def _find_file(module: str) -> Path | None:
    path = SOURCE.parent / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _list_imports(file: Path) -> Iterator[str]:
    """List the modules that a file imports, except for types alone; `from a import b` gives both `a` and `a.b`."""
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            waiting += ast.iter_child_nodes(node)
