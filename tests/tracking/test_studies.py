"""Studies in MLflow: parents, children, and what becomes of children that a study no longer has."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from losslab.tracking import COMPARISON, StudyChild, TrackedStudy, TrackingStore
from tests.pipeline.clone import make_empty_store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackingStore:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(make_empty_store(), tmp_path / "mlflow.db")
    return TrackingStore(tmp_path)


def add_run(store: TrackingStore, name: str, md5: str = "m", **tags: str) -> str:
    tags = {"dvc.experiment": name, "losslab.model_md5": md5, **tags}
    return str(store.client.create_run(store.get_experiment("pets"), None, tags, name).info.run_id)


def child(name: str, md5: str | None = "m", cell: str = "dice") -> StudyChild:
    return StudyChild(dataset="pets", experiment=name, model_md5=md5, tags={"cell": cell, "seed": name[-1]})


def open_study(store: TrackingStore) -> tuple[TrackedStudy, str]:
    study = TrackedStudy(store, "demo", "studies/demo.yaml")
    study.open(["pets"])
    return study, study.parents["pets"]


def read(store: TrackingStore, run_id: str) -> Run:
    run: Run = store.client.get_run(run_id)
    return run


def test_runs_of_a_study_become_children_with_tags_to_group_by(store: TrackingStore, tmp_path: Path) -> None:
    ids = [add_run(store, f"demo-dice-s{seed}") for seed in range(2)]
    other = add_run(store, "demo-dice-s1", "of an older commit"), add_run(store, "demo-dice-s10")
    (tmp_path / "page").mkdir()
    (tmp_path / "page/index.html").touch()
    study, parent = open_study(store)
    assert read(store, parent).info.status == "RUNNING"
    assert study.adopt([child("demo-dice-s0", None)]) == {ids[0]}
    study.close([child("demo-dice-s0"), child("demo-dice-s1")], "**dice**", tmp_path / "page")
    for seed, run_id in enumerate(ids):
        tags = {"study": "demo", "cell": "dice", "seed": str(seed), "mlflow.parentRunId": parent}
        assert tags.items() <= read(store, run_id).data.tags.items()
    assert not any("study" in read(store, run_id).data.tags for run_id in other)
    ended = read(store, parent)
    assert (ended.info.run_name, ended.info.status) == ("demo", "FINISHED")
    assert ended.data.tags["mlflow.note.content"] == "**dice**"
    assert [file.path for file in store.client.list_artifacts(parent, COMPARISON)] == [f"{COMPARISON}/index.html"]


def test_run_whose_params_are_no_longer_the_studys_leaves_it(store: TrackingStore) -> None:
    """Else the mean over seeds would be one of old and new params."""
    old = add_run(store, "demo-dice-s0", "old")
    study, parent = open_study(store)
    study.close([child("demo-dice-s0", "old")], "", None)
    new = add_run(store, "demo-dice-s0", "new")
    study, again = open_study(store)
    study.close([child("demo-dice-s0", "new")], "", None)
    assert again == parent and read(store, new).data.tags["mlflow.parentRunId"] == parent
    assert not {"study", "cell", "mlflow.parentRunId"} & read(store, old).data.tags.keys()


def test_same_study_of_another_repository_is_another(store: TrackingStore) -> None:
    theirs = add_run(store, "demo-dice-s0", **{"losslab.repository": "another"})
    study, parent = open_study(store)
    assert study.adopt([child("demo-dice-s0")]) == set()
    (store.root / ".losslab/id").write_text("third", encoding="utf-8")
    assert open_study(store)[1] != parent and "study" not in read(store, theirs).data.tags


def test_nothing_is_written_twice(store: TrackingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    add_run(store, "demo-dice-s0")
    study, _ = open_study(store)
    study.adopt([child("demo-dice-s0")])
    written: list[Any] = []
    monkeypatch.setattr(store.client, "log_batch", lambda *about, **more: written.append(about))
    study.adopt([child("demo-dice-s0")])
    assert not written
