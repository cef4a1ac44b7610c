"""The floors of the house: a room imports only rooms below its own, so no two rooms import each other."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

SRC = ROOT / "src"
FLOORS = [
    "errors",
    "formats",
    "io",
    "runtime",
    "project",
    "plugins",
    "schedules",
    "bands",
    "cards",
    "label_sets",
    "losses",
    "metrics",
    "models",
    "params",
    "stage_inputs",
    "stage",
    "data",
    "inference",
    "evaluation",
    "training",
    "prediction",
    "tracking",
    "experiments",
    "study",
    "advice",
    "comparison",
    "suspects",
    "export",
    "serving",
    "reporting",
    "api",
    "cli",
    "__main__",
]
"""The rooms and flat files of src/losslab from the ground up. The stage scripts stand on top of all."""


def find_room(path: Path) -> str:
    """The room that a file of src/losslab lies in; the name of a file that lies in none."""
    return path.relative_to(SRC / "losslab").parts[0].removesuffix(".py")


def read_imports(path: Path) -> set[str]:
    """The losslab modules that a file imports: at its top, within functions, and for types alone."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add("losslab.a relative import: name the module in full")
    return {name for name in imported if name.startswith("losslab.")}


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_file_imports_only_rooms_below_its_own(path: Path) -> None:
    if path.parent == SRC or path == SRC / "losslab/__init__.py":
        return
    floor = FLOORS.index(find_room(path))
    own = f"losslab.{FLOORS[floor]}"
    names = {name for name in read_imports(path) if name != own and not name.startswith(f"{own}.")}
    assert {name for name in names if name.split(".")[1] not in FLOORS[:floor]} == set()


def test_every_room_has_a_floor() -> None:
    rooms = {find_room(path) for path in (SRC / "losslab").glob("*") if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__", "py.typed"} == set(FLOORS)


def test_no_two_files_of_a_room_import_each_other() -> None:
    """Within a room too, what is imported is whole before it is used."""
    graph = {}
    for path in SRC.rglob("*.py"):
        module = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        graph[module] = path
    edges = {
        module: {name if name in graph else name.rpartition(".")[0] for name in read_imports(path)}
        & graph.keys() - {module}
        for module, path in graph.items()
    }
    while free := [module for module, below in edges.items() if not below & edges.keys()]:
        for module in free:
            del edges[module]
    assert not edges


def test_only_one_file_imports_torchmetrics() -> None:
    importers = [
        str(path.relative_to(SRC / "losslab"))
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torchmetrics")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "torchmetrics" for alias in node.names))
    ]
    assert set(importers) == {"metrics/torchmetrics.py"}


def test_only_tracking_imports_mlflow() -> None:
    importers = {
        find_room(path)
        for path in (SRC / "losslab").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mlflow")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "mlflow" for alias in node.names))
    }
    assert importers == {"tracking"}
