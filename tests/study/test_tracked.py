"""What a study says of itself in MLflow."""

import json
from pathlib import Path
from typing import Any

import pytest

from losslab.study.plan import plan_runs
from losslab.study.tracked import StudyRecorder, record_study
from losslab.tracking import StudyChild
from tests.study.repository import STUDY, Repository

NO_STORE: Any = None


class Listener:
    """Stands in for MLflow, and keeps what a study tells it."""

    def __init__(self, *_: Any) -> None:
        self.children: list[StudyChild] = []
        self.page: Path | None = None

    def open(self, datasets: list[str]) -> None:
        self.datasets = datasets

    def adopt(self, children: list[StudyChild]) -> None:
        self.children = children

    def close(self, children: list[StudyChild], note: str, page: Path | None, status: str) -> None:
        self.children, self.note, self.page, self.status = children, note, page, status


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Listener:
    listener = Listener()
    monkeypatch.setattr("losslab.study.tracked.TrackedStudy", lambda *about: listener)
    return listener


def test_verdict_is_said_first_and_with_the_runs_that_it_is_on(repository: Repository, heard: Listener) -> None:
    study, page = repository.read(), repository.root / "page"
    planned = plan_runs(study)
    for run in planned[:-1]:
        repository.experiment(run, 0.5)
    record_study(study, repository.root, page, NO_STORE)
    assert [heard.page] == [None] and heard.note.startswith(
        "**7 of 8 runs are done.**\n\nSmall: Which?\n\n`losslab compare"
    )
    page.mkdir()
    names = [{"name": run.name} for run in planned[:-1]]
    verdict = {"headline": ["Dice is best.", "On average."], "cells": [{"runs": names}]}
    (page / "comparison.json").write_text(json.dumps(verdict), encoding="utf-8")
    record_study(study, repository.root, page, NO_STORE)
    assert heard.page == page
    assert heard.note.startswith("**Dice is best.**\n\nOn average.\n\nSmall: Which?") and "other runs" not in heard.note
    repository.experiment(planned[-1], 0.5)
    record_study(study, repository.root, page, NO_STORE)
    assert "The verdict is on other runs than the study has now. `losslab compare small`" in heard.note
    first = next(child for child in heard.children if child.experiment == planned[0].name)
    tags = {"loss": "cross_entropy", "net": "unet", "cell": "cross_entropy + unet", "seed": "0"}
    assert (first.tags, first.dataset, heard.datasets) == (tags, "tiny", ["tiny"])


def test_trial_that_was_not_chosen_is_in_no_mean_of_its_cell(repository: Repository, heard: Listener) -> None:
    repository.study(
        "small", STUDY | {"grid": {"loss": ["dice"]}, "seeds": [0], "tune": {"train.lr": [0.01, 0.001, 0.1]}}
    )
    study = repository.read()
    for run, score in zip(plan_runs(study), (0.5, 0.6, 0.4), strict=True):
        repository.experiment(run, score)
    record_study(study, repository.root, repository.root, NO_STORE)
    cells = {child.tags["trial"]: child.tags["cell"] for child in heard.children}
    assert cells == {"0.01": "dice (0.01)", "0.001": "dice", "0.1": "dice (0.1)"}


def test_study_that_was_never_run_is_not_recorded(repository: Repository, heard: Listener) -> None:
    record_study(repository.read(), repository.root, repository.root, NO_STORE)
    assert not hasattr(heard, "datasets")


def test_store_that_cannot_be_used_is_one_warning_and_stops_no_study(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    study, said = repository.read(), list[str]()
    with StudyRecorder(lambda: study, repository.root, repository.root, said.append) as recorder:
        for run in plan_runs(study):
            recorder.add(run)
    (line,) = said
    assert line.startswith("MLflow at http://127.0.0.1:9 cannot be used") and line.endswith("later to add the study")


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED"), (None, "FINISHED")]
)
def test_parent_ends_as_the_study_did(
    error: type[BaseException] | None,
    status: str,
    repository: Repository,
    heard: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("losslab.tracking.open_store", lambda root: None)
    study = repository.read()
    recorder = StudyRecorder(lambda: study, repository.root, repository.root, pytest.fail)
    recorder.__enter__()
    recorder.__exit__(error, None, None)
    assert heard.status == status
