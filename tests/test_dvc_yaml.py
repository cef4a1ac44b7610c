"""dvc.yaml against the code: a stage depends on all the code it runs, and on nothing that it does not."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.experiments.clone import STAGES
from losslab.losses.registry import LOSSES
from losslab.params import RECORDING
from tests.conftest import ROOT

SRC = ROOT / "src"
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PLUMBING = {
    "__init__",
    "data/__init__",
    "data/download/http",
    "data/download/__init__",
    "data/images/__init__",
    "data/loading/__init__",
    "data/prepare/__init__",
    "errors",
    "experiments/__init__",
    "experiments/member_files",
    "inference/__init__",
    "io/__init__",
    "io/faults",
    "io/files",
    "io/git",
    "io/hashing",
    "io/windows",
    "io/yaml",
    "metrics/__init__",
    "metrics/torchmetrics",
    "models/hub",
    "params",
    "plugins/__init__",
    "plugins/loading",
    "plugins/manifest",
    "plugins/options",
    "project/code",
    "reporting/__init__",
    "runtime/__init__",
    "runtime/parallel",
    "runtime/processes",
    "stage",
    "stage_inputs",
    "tracking/__init__",
    "training/trial",
}
"""Carries data and messages but shapes no out: params and io hold no default and write what they are given, hub only
finds out whether weights can be had, http brings the file with the card's checksum or none, windows gives parts of
what is read whole, trial runs plug-ins and writes nothing, member_files brings the files with the params' md5s or none."""


@cache
def imports(path: Path) -> frozenset[Path]:
    """The losslab files that a file imports, at its top or within functions, but not for types alone."""
    imported: set[Path] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in for_types and (node.module or "").startswith("losslab"):
            module = SRC / str(node.module).replace(".", "/")
            names = [module / alias.name for alias in node.names]
            imported |= {
                file
                for name in [module, *names]
                for file in (name.with_suffix(".py"), name / "__init__.py")
                if file.is_file()
            }
    return frozenset(imported)


def closure(path: Path) -> set[Path]:
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            plumbing = (
                str(current.relative_to(SRC / "losslab").with_suffix("")) in PLUMBING
                if current.parent != SRC
                else False
            )
            waiting += [] if plumbing else imports(current)
    return seen


def templates(path: Path) -> set[Path]:
    """The templates and scripts that a file names, and those that they include."""
    text = path.read_text(encoding="utf-8")
    named = {SRC / "losslab/reporting" / name for name in re.findall(r'"([\w./]+\.(?:j2|js))"', text)}
    return named.union(*(templates(template) for template in named))


def test_five_stages_follow_the_record_of_plug_ins() -> None:
    assert list(DVC["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_exactly_the_code_it_runs(stage: str) -> None:
    declared = [ROOT / dep for dep in DVC["stages"][stage]["deps"] if dep.startswith("src/")]
    used = {
        path
        for path in closure(SRC / f"{stage}.py")
        if str(path.relative_to(SRC)).removeprefix("losslab/").removesuffix(".py") not in PLUMBING
    }
    used |= {template for path in used for template in templates(path)}
    missing = {path for path in used if not any(path == dep or dep in path.parents for dep in declared)}
    assert {str(path.relative_to(ROOT)) for path in missing} == set()
    unused = {dep for dep in declared if not any(path == dep or dep in path.parents for path in used)}
    assert {str(dep.relative_to(ROOT)) for dep in unused} == set()


OWNED = [
    param
    for name, stage in DVC["stages"].items()
    for param in stage["params"]
    if isinstance(param, str) and name != "plugins"  # it owns nothing
]


def leaves(values: Any, prefix: str = "") -> list[str]:
    if not isinstance(values, dict) or not values:
        return [prefix.removesuffix(".")]
    return [leaf for key, value in values.items() for leaf in leaves(value, f"{prefix}{key}.")]


def read_stage_params() -> dict[str, Any]:
    """params.yaml without the section that changes no out."""
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return {key: value for key, value in params.items() if key != RECORDING}


def test_every_param_belongs_to_one_stage() -> None:
    for leaf in leaves(read_stage_params()):
        assert sum(leaf == param or leaf.startswith(f"{param}.") for param in OWNED) == 1, leaf


def test_run_cache_sees_every_param() -> None:
    """DVC leaves keys called size and nfiles out of the run cache's hash, wherever they stand, so none may be nested."""
    for leaf in leaves(read_stage_params()):
        (param,) = (param for param in OWNED if leaf == param or leaf.startswith(f"{param}."))
        assert not {"size", "nfiles"} & set(leaf.removeprefix(param).split(".")), leaf
    for path in (ROOT / "data/catalog").glob("*.yaml"):
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
        for leaf in leaves({"source": card["source"]}):
            assert not {"size", "nfiles"} & set(leaf.split(".")), leaf
    for spec in LOSSES.values():
        assert not {"size", "nfiles"} & set(spec.options.model_fields), spec.name


def test_metrics_alone_are_committed() -> None:
    outs = [out for stage in DVC["stages"].values() for out in stage.get("outs", [])]
    assert all(isinstance(out, str) for out in outs), "an out with options (persist, cache) breaks the run cache"
    metrics = [out for stage in DVC["stages"].values() for out in stage.get("metrics", [])]
    assert metrics == [{"reports/metrics.json": {"cache": False}}]


def test_download_depends_on_its_part_of_the_card_alone() -> None:
    """A changed colour or title must not fetch a dataset again."""
    stage = DVC["stages"]["download"]
    assert [param for param in stage["params"] if isinstance(param, dict)] == [
        {"data/catalog/${dataset}.yaml": ["source", "layout"]}
    ]
    assert not [dep for dep in stage["deps"] if not dep.startswith("src/")]
