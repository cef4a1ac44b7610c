"""`losslab compare …` as it is typed, on finished runs that nobody trained."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from losslab.cli import app
from losslab.study.plan import plan_runs
from tests.comparison.runs_on_disk import write_run
from tests.study.repository import STUDY, Repository

QUALITY = {"cross_entropy": 0.8, "dice": 0.9}


@pytest.fixture
def inside(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.chdir(repository.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere/at/all")
    repository.study("small", STUDY | {"seeds": [0, 1, 2, 3]})
    return repository


def finish(repository: Repository, tmp: Path, but: int = 0) -> None:
    """Finish all runs of the study but the last so many."""
    planned = plan_runs(repository.read())
    for run in planned[: len(planned) - but]:
        left = tmp / "left" / run.name
        write_run(left, QUALITY[dict(run.cell.labels)["loss"]], run.seed)
        repository.experiment(run, 0.5, left=left)


def compare(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["compare", *arguments, "--no-timing"])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_study_is_compared_as_far_as_it_is_done(inside: Repository, tmp_path_factory: pytest.TempPathFactory) -> None:
    finish(inside, tmp_path_factory.mktemp("outs"), but=1)
    output = compare("small")
    assert "WARNING: 1 of 16 runs is missing: see `losslab study status small`" in output
    table = next(line.split() for line in output.splitlines() if line.startswith("#"))
    assert table[:3] == ["#", "loss", "net"] and "seeds" in table and "mean ± standard deviation over seeds" in output
    assert "On average the best loss is dice (" in output and "--until-decided" in output
    assert output.endswith("wrote reports/comparisons/small/index.html\n")
    folder = inside.root / "reports/comparisons/small"
    content = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    assert len(content["cells"]) == 4 and content["facts"]["train.epochs"] == "3"
    assert {"index.html", "comparison.md", "comparison.csv", "figures"} <= {path.name for path in folder.iterdir()}


def test_cells_of_runs_are_made_from_the_params_that_differ(
    inside: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    finish(inside, tmp_path_factory.mktemp("outs"))
    names = [f"small-{loss}-unet-s{seed}" for loss in QUALITY for seed in (0, 1, 2)]
    output = compare("--runs", *names, "--name", "mine", "--metric", "iou_hair")
    assert "dice is best: IoU of hair" in output
    assert output.endswith("wrote reports/comparisons/mine/index.html\n")
    content = json.loads((inside.root / "reports/comparisons/mine/comparison.json").read_text(encoding="utf-8"))
    assert content["axes"] == {"loss": ["cross_entropy", "dice"]} and content["question"] == "They differ in loss."


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nope"], "no such study: nope (studies/ has small)"),
        (["small"], "small: no run has finished yet: run `losslab study run small`"),
        (["small", "other"], "2 names: give one study, or --runs and the names of runs"),
        (["--runs", "one"], "--runs needs at least two runs"),
        (["--runs", "one", "other"], "no such run: one"),
        (["--runs", "one", "other", "--set", "a=1"], "--set and --as cannot be used with --runs"),
        (["small", "--name", "../up"], "--name ../up: use only letters, digits"),
    ],
)
def test_wrong_input_gives_one_line(arguments: list[str], complaint: str, inside: Repository) -> None:
    output = compare(*arguments, code=1)
    assert output.startswith("ERROR: ") and complaint in output and len(output.splitlines()) == 1
    assert not (inside.root / "reports").exists()


def test_metric_that_there_is_not_leaves_nothing(inside: Repository, tmp_path_factory: pytest.TempPathFactory) -> None:
    finish(inside, tmp_path_factory.mktemp("outs"))
    assert "ERROR: metric beauty: must be one of miou" in compare("small", "--metric", "beauty", code=1)
    assert not (inside.root / "reports").exists()
