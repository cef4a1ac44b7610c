"""The part of losslab that a module needs, and the packages that it needs, found by following imports."""

import ast
import importlib.metadata
import shutil
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import losslab

SOURCE = Path(losslab.__file__).parent
TOGETHER = {"segmentation_models_pytorch": ["torchvision"]}
"""What a package imports in turn and that must fit another pinned one."""


@dataclass(frozen=True)
class CodeBundle:
    files: frozenset[Path]
    """Below losslab's own folder."""
    packages: frozenset[str]
    """Top-level modules of others."""

    def copy_to(self, folder: Path) -> None:
        """Write the files as `folder/losslab/…`."""
        for file in sorted(self.files):
            target = folder / "losslab" / file.relative_to(SOURCE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)

    def requirements(self) -> list[str]:
        """`name==version` of each package, as installed. A build such as 2.9.0+cpu is pinned by its version alone: only some
        indices have it.
        """
        owners = importlib.metadata.packages_distributions()
        wanted = self.packages | {extra for name in self.packages for extra in TOGETHER.get(name, [])}
        names = sorted({owners[package][0] for package in wanted}, key=str.lower)
        return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in names]


def collect_code(modules: Iterable[str], left_out: Container[str] = ()) -> CodeBundle:
    """What `modules` of losslab import, at their top or within functions, and what that imports in turn.

    Args:
        left_out: modules of losslab that are imported within functions which the shipped code never calls.
    """
    files: dict[str, Path] = {}
    packages: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if file is None or name in files or name in left_out:
            continue
        files[name] = file
        if parent := name.rpartition(".")[0]:
            waiting.append(parent)
        for imported in _imports(file):
            top = imported.partition(".")[0]
            if top == "losslab":
                waiting.append(imported)
            elif top not in sys.stdlib_module_names:
                packages.add(top)
    return CodeBundle(frozenset(files.values()), frozenset(packages))


def _file(module: str) -> Path | None:
    path = SOURCE.parent / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports(file: Path) -> Iterator[str]:
    """Names of modules; of `from a import b` both `a` and `a.b`, which may be one. Not those for types alone."""
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
