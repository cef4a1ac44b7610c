"""`losslab advise` on a dataset of drawn masks, with made-up rows of an odyssey."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from losslab.cli import app
from losslab.study.spec import read_spec
from tests.advice.rows import KINDS, write_rows
from tests.conftest import TINY_CARD, TINY_CHANGES, write_params
from tests.data.test_measures import draw, write


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_params(tmp_path, TINY_CHANGES | {"loss": "focal", "loss_options": {"gamma": 3.0}})
    write(tmp_path / "data/prepared/tiny", draw())
    write_rows(tmp_path / "results/odyssey")
    (tmp_path / "studies").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def advise(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["advise", *arguments])


def make_overlapping(project: Path) -> None:
    write_params(project, TINY_CHANGES | {"loss": "bce", "prepare": {"size": 64, "split": {"method": "random"}}})
    card = TINY_CARD | {
        "labels": "overlapping",
        "classes": [{"name": "a", "color": [1, 2, 3], "values": [1]}, {"name": "b", "color": [4, 5, 6], "values": [1]}],
    }
    card |= {"source": {"own": None}, "layout": "folders", "void": []}
    (project / "data/catalog/tiny.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")


def test_advice_is_printed_and_its_study_can_run(project: Path) -> None:
    done = advise("tiny")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Tiny lesions: 2 training images of about 100 pixels a side"
    assert any(line.startswith("  vessels, 51.1 %: because of ") for line in lines)
    assert any(line.startswith("  bce, 1.3: on vessels the best of 5, 8.0 above focal") for line in lines)
    assert any(line.startswith("Left-out kinds: the first advice loses ") for line in lines)
    assert lines[-1].startswith("wrote studies/advise_tiny.yaml")
    spec = read_spec("advise_tiny")
    cells = spec.axes["loss"]
    assert {"bce", "dice+cross_entropy", "present"} <= cells.keys() and len(cells) == 4
    assert cells["present"] == {("loss",): "focal", ("loss_options",): {"gamma": 3.0}}
    assert cells["bce"] == {("loss",): "bce", ("loss_options",): {}}
    assert (spec.params, spec.seeds, spec.tuned) == (
        {"dataset": "tiny"},
        [0, 1, 2],
        {"train.lr": [0.0003, 0.001, 0.003]},
    )


def test_json_has_everything(project: Path) -> None:
    said = json.loads(advise("tiny", "--json", "-o", "studies/mine.yaml").stdout)
    assert [len(said[key]) for key in ("losses", "kinds", "regret")] == [3, 3, 3]
    assert said["study"] == "studies/mine.yaml" and (project / "studies/mine.yaml").is_file()
    assert said["measures"]["images"] == 2


def test_study_that_is_there_stays(project: Path) -> None:
    path = project / "studies/advise_tiny.yaml"
    path.write_bytes(b"m\xefne")
    done = advise("tiny")
    assert (done.exit_code, path.read_bytes()) == (0, b"m\xefne")
    assert "studies/advise_tiny.yaml is there with other content and stays as it is" in done.stderr


def test_overlapping_classes_get_losses_of_single_classes(project: Path) -> None:
    make_overlapping(project)
    masks = np.zeros((2, 50, 50, 2), np.uint8)
    masks[..., :25, :] = 1
    np.save(project / "data/prepared/tiny/train/masks.npy", masks)
    done = advise("tiny")
    assert done.exit_code == 0, done.stderr
    assert "No kind of data has overlapping classes" in done.stdout
    assert sorted(read_spec("advise_tiny").axes["loss"]) == ["bce", "dice", "dice+bce"]


def test_one_kind_of_data_says_that_regret_is_unknown(project: Path) -> None:
    for path in (project / "results/odyssey").iterdir():
        path.unlink()
    (project / "results/odyssey").rmdir()
    write_rows(project / "results/odyssey", {"lesions": KINDS["lesions"]})
    assert "cannot be measured yet: it takes 3 kinds of data, and there are rows of 1." in advise("tiny").stdout


WRONG: list[Any] = [
    (
        ("nuclei",),
        lambda: None,
        "ERROR: data/catalog/nuclei.yaml: no such card; `losslab datasets` lists those there are",
    ),
    (("tinny",), lambda: None, "ERROR: data/catalog/tinny.yaml: no such card; did you mean tiny?"),
    (
        ("tiny",),
        lambda: shutil.rmtree("data/catalog"),
        "ERROR: data/catalog/tiny.yaml: no such card; is this the folder of a losslab project?",
    ),
    (
        ("tiny",),
        lambda: Path("data/prepared/tiny").rename("data/prepared/gone"),
        "ERROR: data/prepared/tiny: tiny is not prepared here; run `dvc repro prepare`",
    ),
    (
        ("tiny",),
        lambda: Path("data/prepared/tiny/train/masks.npy").unlink(),
        "ERROR: data/prepared/tiny/train/masks.npy: No such file or directory",
    ),
    (
        ("tiny",),
        lambda: np.save("data/prepared/tiny/train/masks.npy", np.full((2, 9, 9), 255, np.uint8)),
        "ERROR: data/prepared/tiny: its training images have no label but void; look at its masks and its card",
    ),
    (
        ("tiny",),
        lambda: Path("results/odyssey/lesions.runs.csv").unlink(),
        "ERROR: results/odyssey/lesions.runs.csv: no such file, but datasets.csv has a row of this kind",
    ),
    (
        ("tiny", "-o", "a-b.yaml"),
        lambda: None,
        "ERROR: a-b.yaml: a study is studies/NAME.yaml, with letters, digits, _ and . in its name",
    ),
    (
        ("tiny",),
        lambda: Path("params.yaml").unlink(),
        "ERROR: params.yaml: no such file; run from the root of the repository",
    ),
]


@pytest.mark.parametrize(("arguments", "break_project", "error"), WRONG)
def test_bad_input_is_one_line_and_writes_nothing(
    project: Path, arguments: Any, break_project: Any, error: str
) -> None:
    break_project()
    done = advise(*arguments)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{error}\n")
    assert not list((project / "studies").iterdir())
