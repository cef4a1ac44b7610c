"""`losslab study …` as it is typed: what it prints, and one line where it cannot."""

import json
from itertools import product
from typing import Any

import pytest
from typer.testing import CliRunner

from losslab.cli import app
from losslab.study.plan import StudyRun, plan_runs
from losslab.study.state import StudyState
from tests.study.repository import STUDY, Repository


@pytest.fixture
def inside(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.chdir(repository.root)
    return repository


def study(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["study", *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_list_counts_cells_runs_and_what_is_done(inside: Repository) -> None:
    inside.experiment(plan_runs(inside.read())[0], 0.5)
    (about,) = json.loads(study("list", "--json"))
    assert about == {"name": "small", "title": "Small", "question": "Which?", "cells": 4, "runs": 8, "done": 1}
    assert "small" in study("list")


def test_list_tells_a_broken_study_and_shows_the_others(inside: Repository) -> None:
    inside.study("broken", {**STUDY, "seeds": []})
    output = study("list", code=1)
    assert "Small" in output and "ERROR: studies/broken.yaml: seeds is empty" in output


def test_list_tells_a_file_that_cannot_be_read_and_shows_the_others(inside: Repository) -> None:
    (inside.root / "studies/folder.yaml").mkdir()
    (inside.root / "studies/gone.yaml").symlink_to("nowhere")
    output = study("list", code=1)
    assert "Small" in output and "ERROR: studies/folder.yaml: Is a directory" in output
    assert "ERROR: studies/gone.yaml: No such file or directory" in output


def test_show_tells_cells_and_params(inside: Repository) -> None:
    output = study("show", "small", "--set", "train.epochs=1")
    assert "4 cells, seeds 0, 1: 8 runs" in output and "on tiny at 64 px, 1 epochs" in output
    shown = json.loads(study("show", "small", "--json"))
    assert len(shown["runs"]) == 8 and shown["runs"][0]["params"]["train"]["epochs"] == 3


@pytest.mark.parametrize("command", ["list", "show", "status"])
def test_grid_is_expanded_once_per_command(command: str, inside: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def build_run(name: str, *arguments: Any) -> StudyRun:
        runs.append(name)
        return StudyRun(name, *arguments)

    grids: list[int] = []

    def expand(*axes: Any) -> Any:
        grids.append(len(axes))
        return product(*axes)

    monkeypatch.setattr("losslab.study.plan.StudyRun", build_run)
    monkeypatch.setattr("losslab.study.plan.product", expand)
    study(command, *([] if command == "list" else ["small"]), "--json")
    assert grids == [2] and len(runs) == len(set(runs)) == 8


def test_status_tells_done_failed_and_missing(inside: Repository) -> None:
    small = inside.read()
    first, second, *_ = plan_runs(small)
    inside.experiment(first, 0.5)
    state = StudyState(inside.root, small.key)
    with state.claim(small, 1):
        state.record_failure(second, "train: it diverged")
        assert {row["state"] for row in json.loads(study("status", "small", "--json"))["runs"][2:]} == {"waiting"}
    rows = json.loads(study("status", "small", "--json"))["runs"]
    assert (rows[0]["state"], rows[0]["val_miou"], rows[0]["test_miou"]) == ("done", 0.5, 0.49)
    assert (rows[1]["state"], rows[1]["reason"]) == ("failed", "train: it diverged")
    assert {row["state"] for row in rows[2:]} == {"missing"}
    output = study("status", "small")
    assert "small: 1 done, 6 missing, 1 failed" in output
    assert f".losslab/study/small/logs/{second.name}.log" in output


def test_status_names_other_sets_and_knows_an_alias(inside: Repository) -> None:
    for other in (inside.read("small", "train.epochs=1"), inside.read("small", "train.lr=0.1", alias="quick")):
        with StudyState(inside.root, other.key).claim(other, 1):
            pass
    output = study("status", "small")
    assert "Also: losslab study status small --set train.epochs=1" in output
    assert "Also: losslab study status small --set train.lr=0.1 --as quick" in output
    assert json.loads(study("status", "quick", "--json"))["runs"][0]["name"] == "quick-cross_entropy-unet-s0"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "nope"], "no such study: nope (studies/ has small)"),
        (["status", "nope"], "no such study: nope"),
        (["stop", "nope"], "no such study: nope"),
        (["run", "nope"], "no such study: nope"),
        (["run", "small", "--set", "train.epoch=1"], "--set: no such key: train.epoch;"),
        (["run", "small", "--as", "a-b"], "--as a-b: use letters, digits"),
        (["run", "small", "--address", "auto"], "--address needs --engine ray"),
    ],
)
def test_wrong_input_ends_with_one_line(arguments: list[str], complaint: str, inside: Repository) -> None:
    output = study(*arguments, code=1)
    assert output.startswith("ERROR: ") and complaint in output and len(output.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["other"], ["small"], ["small", "--set", "train.lr=0.2"]])
def test_alias_of_another_study_or_of_other_sets_is_refused(arguments: list[str], inside: Repository) -> None:
    inside.study("other", STUDY)
    with StudyState(inside.root, "quick").claim(inside.read("small", "train.lr=0.1", alias="quick"), 1):
        pass
    output = study("run", *arguments, "--as", "quick", code=1)
    assert (
        output.startswith("ERROR: --as quick: already the alias of small --set train.lr=0.1; ")
        and len(output.splitlines()) == 1
    )
    assert "choose another, or remove .losslab/study/quick to" in output


def test_nothing_to_stop_is_no_error(inside: Repository) -> None:
    assert study("stop", "small") == "small was not running\n"


def test_outside_a_repository_one_line_says_so(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("empty"))
    assert "no such study: demo (studies/ has none)" in study("run", "demo", code=1)
