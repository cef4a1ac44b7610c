"""Finished runs are known by dvc.lock and params.yaml alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.experiments.finished_runs import RunOutputs, UnfinishedRun, _read_run, read_run_at
from tests.experiments.repository import Runs

PARAMS = {"dataset": "tiny", "loss": "dice", "train": {"lr": 0.001}}
RESULTS = ["reports/metrics.json", "reports/report.html", "reports/figures"]


def lock(**changes: Any) -> dict[str, Any]:
    """Build a dvc.lock of three stages; `changes` replaces what they read."""
    read = {"data": "d1", "loss": "dice", "lr": 0.001, "raw": "data/raw/tiny"} | changes
    train = {
        "deps": [{"path": "data/prepared/tiny", "md5": read["data"]}, {"path": "src/train.py", "md5": "code"}],
        "params": {"params.yaml": {"loss": read["loss"], "train.lr": read["lr"]}},
        "outs": [
            {"path": p, "md5": p} for p in ("models/model.safetensors", "models/model.json", "reports/history.csv")
        ],
    }
    rest = {"outs": [{"path": path, "md5": path} for path in RESULTS]}
    # What prepare read is more than what download left: the user's own data may lie beside it.
    prepare = {
        "deps": [{"path": read["raw"], "md5": "r2"}],
        "outs": [{"path": "data/prepared/tiny", "md5": "d1"}],
    }
    return {"stages": {"prepare": prepare, "train": train, "report": rest}}


def read(lock_text: str, params_text: str = yaml.safe_dump(PARAMS)) -> RunOutputs | UnfinishedRun:
    texts = {"dvc.lock": lock_text, "params.yaml": params_text}
    return _read_run(texts.__getitem__, "calm-cat", "abc", Path(), "def")


def test_finished_run_is_known_by_its_model_and_report() -> None:
    outs = read(yaml.safe_dump(lock()))
    assert isinstance(outs, RunOutputs)
    assert (outs.experiment, outs.dataset) == ("calm-cat", "tiny")
    assert (outs.model_md5, outs.report_md5) == ("models/model.safetensors", "reports/report.html")


def test_numbers_are_read_as_dvc_reads_them() -> None:
    assert isinstance(read(yaml.safe_dump(lock()), "dataset: tiny\nloss: dice\ntrain: {lr: 1e-3}\n"), RunOutputs)


@pytest.mark.parametrize("stale", [{"data": "d0"}, {"loss": "focal"}, {"lr": 0.1}, {"raw": "data/raw/other"}])
def test_run_on_other_data_or_params_is_not_finished(stale: dict[str, Any]) -> None:
    assert read(yaml.safe_dump(lock(**stale))) == UnfinishedRun("calm-cat", "not finished")


@pytest.mark.parametrize(
    ("lock_text", "params_text"),
    [("a: [", "dataset: tiny"), ("schema: '2.0'", "dataset: tiny"), (yaml.safe_dump(lock()), "train: 3\nloss: dice")],
)
def test_files_of_another_pipeline_are_left_out(lock_text: str, params_text: str) -> None:
    assert read(lock_text, params_text) == UnfinishedRun(
        "calm-cat", "dvc.lock or params.yaml belongs to another pipeline"
    )


def test_experiment_without_a_lock_is_left_out() -> None:
    def missing(name: str) -> str:
        raise FileNotFoundError(name)

    read_text: Callable[[str], str] = missing
    assert _read_run(read_text, "saved", None, Path(), "def") == UnfinishedRun("saved", "no dvc.lock or params.yaml")


@pytest.mark.parametrize("prepared", [{"dataset.json": "{}"}, {"index.csv": "a"}])
def test_files_for_mlflow_are_those_that_can_be_had(prepared: dict[str, str], runs: Runs) -> None:
    """Data of an older losslab have no dataset.json, and the card may be gone."""
    content = runs.lock()
    content["stages"]["prepare"]["outs"][0]["md5"] = runs.cached_folder(prepared)
    revision = runs.run("calm-cat", content, mlflow={"weights": "copy"})
    outs = read_run_at(runs.root, "calm-cat", None, revision)
    assert isinstance(outs, RunOutputs)
    with outs.files(outs.tracked) as folder:
        assert (folder / "models/model.safetensors").read_text() == "weights"
        assert (folder / "data/prepared/tiny/dataset.json").exists() == ("dataset.json" in prepared)
