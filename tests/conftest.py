"""Small data for all tests: they shrink the data, not the logic."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import settings

from losslab.cards import Card, read_card
from losslab.data.download.fetch import fetch
from losslab.data.loading.arrays import PreparedData
from losslab.data.prepare.prepare import prepare
from losslab.params import Params, PrepareParams, SplitParams, load

if TYPE_CHECKING:
    from tests.study.repository import Repository

# The same examples every time: a suite that fails by chance tells nothing about the change that it ran on.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

TINY_CARD: dict[str, Any] = {
    "title": "Tiny lesions",
    "licence": "CC0-1.0",
    "citation": "none",
    "home": None,
    "source": {"generator": "lesions", "seed": 3, "pixels": 64, "images": {"train": 6, "val": 2, "test": 3}},
    "layout": "split_folders",
    "classes": [
        {"name": "skin", "color": [240, 200, 170], "values": [0]},
        {"name": "lesion", "color": [150, 50, 90], "values": [1]},
        {"name": "hair", "color": [20, 60, 160], "values": [2]},
    ],
    "void": [],
}
TINY_CHANGES: dict[str, Any] = {
    "dataset": "tiny",
    "encoder": "tu-mobilenetv3_small_050",
    "prepare": {"size": 64},
    "train": {"epochs": 2, "batch_size": 3},
    "evaluate": {"predictions": 3},
    "report": {"examples": 3},
}


for variable in {"COLUMNS", "LINES"} - set(os.environ):
    os.unsetenv(variable)  # readline, which pytest imports, sets them for all processes that tests start

gc.disable()  # until the tests are collected: none of what is imported is garbage


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


LONGEST_FILES = [
    "test_kills.py",
    "test_whole_runs.py",
    "test_studies.py",
    "test_readme.py",
    "test_versions.py",
    "test_suspects.py",
    "test_benchmarks.py",
    "test_processes.py",
]
"""Files that run first, because they take longest: the last to begin should be short."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: LONGEST_FILES.index(name) if (name := item.path.name) in LONGEST_FILES else len(LONGEST_FILES)
    )


@pytest.fixture(autouse=True)
def leave_deterministic_mode() -> Iterator[None]:
    """Leave the deterministic mode that training puts torch in, so that the next test does not depend on it."""
    yield
    torch.use_deterministic_algorithms(False)


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = merge(base[key], value) if isinstance(value, dict) and base.get(key) else value
    return merged


def write_params(folder: Path, changes: dict[str, Any]) -> Path:
    """Write the shipped params.yaml with changes, beside a catalog that also has the tiny card."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    catalog = folder / "data/catalog"
    catalog.mkdir(parents=True, exist_ok=True)
    for card in (ROOT / "data/catalog").glob("*.yaml"):
        (catalog / card.name).write_bytes(card.read_bytes())
    (catalog / "tiny.yaml").write_text(yaml.safe_dump(TINY_CARD), encoding="utf-8")
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(merge(params, changes)), encoding="utf-8")
    return path


@pytest.fixture
def tiny_params(tmp_path: Path) -> Params:
    return load(write_params(tmp_path, TINY_CHANGES))


@pytest.fixture(scope="session")
def tiny_card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY_CARD), encoding="utf-8")
    return read_card("tiny", folder)


@pytest.fixture(scope="session")
def tiny_data(tiny_card: Card, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Six training, two val and three test images of 64 x 64, drawn and prepared once."""
    folder = tmp_path_factory.mktemp("tiny")
    fetch("tiny", tiny_card, None, folder / "raw", folder / "downloads")
    split = SplitParams(method="official", val=0.2, test=0.2, seed=0, folds=5, fold=0)
    how = PrepareParams(size=64, fit="stretch", limit=None, audit="strict", split=split)
    prepare(tiny_card, folder / "raw", how, folder / "prepared")
    return PreparedData(folder / "prepared")


@pytest.fixture
def repository(tmp_path: Path) -> "Repository":
    """Build a small repository with studies and their experiments, none of which has run."""
    from tests.study.repository import Repository

    return Repository(tmp_path)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
