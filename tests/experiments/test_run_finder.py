"""A run is found by any of its names, and what is kept of it is read."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from losslab import tracking
from losslab.errors import InputError
from losslab.experiments.run_finder import RunFinder, find_record
from losslab.tracking import TrackedRun
from tests.experiments.repository import Runs

WEIGHTS = hashlib.md5(b"weights").hexdigest()
REPORT = hashlib.md5(b"<p>").hexdigest()


def tracked_run(run_id: str, experiment: str | None = None, **changes: Any) -> TrackedRun:
    about = {
        "name": "a run",
        "baseline": None,
        "model_md5": WEIGHTS,
        "report_md5": REPORT,
        "has_outs": True,
        "train_seconds": 9.5,
        "hardware": "a chip",
        "threads": 2,
    }
    return TrackedRun(run_id=run_id, experiment=experiment, **(about | changes))


def test_experiment_is_known_by_name_commit_and_mlflow_run(runs: Runs, tracked: list[TrackedRun]) -> None:
    commit = runs.run("calm-cat", runs.lock(), loss="dice")
    head = runs.git("rev-parse", "HEAD")
    tracked += [tracked_run("abcdef0123", "other"), tracked_run("abcdef9999", "calm-cat")]
    for text in ("calm-cat", commit, commit[:8], "abcdef9"):
        record = find_record(text, runs.root)
        assert (record.name, record.experiment, record.mlflow_run) == ("calm-cat", "calm-cat", "abcdef9999")
        assert (record.baseline, record.revision, record.model_md5) == (head, commit, WEIGHTS)
        assert record.params["loss"] == "dice" and record.lock is not None
        assert (record.train_seconds, record.threads, record.hardware) == (9.5, 2, "a chip")


def test_training_is_known_of_a_run_that_dvc_took_from_its_cache(runs: Runs, tracked: list[TrackedRun]) -> None:
    runs.run("again", runs.lock())
    tracked += [tracked_run("abcdef0123", "again", train_seconds=None, threads=None), tracked_run("first")]
    record = find_record("again", runs.root)
    assert (record.mlflow_run, record.train_seconds, record.threads) == ("abcdef0123", 9.5, 2)


def test_files_come_from_the_cache_without_opening_dvc_for_each(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = runs.lock()
    lock["stages"]["evaluate"]["outs"].append(
        {"path": "reports/predictions", "md5": runs.cached_folder({"a.png": "a", "in/b.png": "b"})}
    )
    names = ["one", "two", "three"]
    for name in names:
        runs.run(name, lock, loss=name)
    opened, init = [], Repo.__init__

    def counted(*given: Any, **named: Any) -> None:
        opened.append(1)
        init(*given, **named)

    monkeypatch.setattr(Repo, "__init__", counted)
    finder = RunFinder(runs.root)
    for name in names:
        with finder.find(name).files() as folder:
            assert f"loss: {name}\n" in (folder / "params.yaml").read_text()
            assert (folder / "reports/metrics.json").read_text().startswith('{"test"')
            assert (folder / "reports/predictions/in/b.png").read_text() == "b" and (folder / "dvc.lock").is_file()
        assert not folder.exists()
    assert len(opened) <= 1


def test_outs_that_are_only_in_a_remote_are_read_from_there(
    runs: Runs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = tmp_path_factory.mktemp("store")
    (runs.root / ".dvc/config").write_text(f"[core]\n    remote = s\n['remote \"s\"']\n    url = {store}\n")
    runs.run("far", runs.lock())
    (runs.root / ".dvc/cache/files").rename(store / "files")
    with find_record("far", runs.root).files() as folder:
        assert (folder / "reports/history.csv").read_text() == "epoch,val_miou\n1,0.5\n"
    assert not list((runs.root / ".dvc/cache").rglob("*.*"))
    (store / "files").rename(store / "gone")
    complaint = "far: models/model.json is neither in DVC's cache nor in its remote"
    with pytest.raises(InputError, match=complaint), find_record("far", runs.root).files():
        pass


def test_mlflow_run_without_an_experiment_here_is_read_from_its_artifacts(
    runs: Runs, tracked: list[TrackedRun], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = runs.lock()
    runs.run("same-name", runs.lock(weights="others"))

    def download(run: TrackedRun, folder: Path, root: Path, path: str | None = None) -> None:
        texts = {
            "params.yaml": "dataset: tiny\n",
            "dvc.lock": yaml.safe_dump(lock),
            "models/model.json": '{"run": {"dataset": "tiny"}}',
        }
        for name, text in texts.items():
            if path in (None, name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)

    monkeypatch.setattr(tracking, "download_outs", download)
    tracked += [tracked_run("abcdef0123", "same-name", baseline="b" * 40)]
    tracked += [tracked_run("abcdef9999", None, report_md5="newer")]
    record = find_record("abcdef0123", runs.root)
    assert (record.name, record.experiment, record.revision) == ("a run", None, "b" * 40)
    assert "report" in (record.lock or {})["stages"] and record.dataset == "tiny"
    with record.files() as folder:
        assert (folder / "models/model.json").is_file()
    earlier = find_record("abcdef9999", runs.root)
    assert "report" not in (earlier.lock or {})["stages"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("calm-dog", r"no such run: calm-dog \(available: calm-cat.* 2 DVC experiments.* 2 trained runs"),
        ("twice", r"2 DVC experiments are called 'twice'; give the commit of one: \w{10} \(on commit"),
        ("abcdef", "'abcdef' is ambiguous: it may be abcdef0123, abcdef9999; give more characters"),
        (
            "abcdef0",
            "MLflow run abcdef0123 has no artifacts outs/, because an older losslab recorded it; run `losslab sync`",
        ),
        ("half", "half: not finished"),
        ("workspace", "workspace: no dvc.lock or params.yaml"),
        ("--all", "no such run: --all"),
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, complaint: str, runs: Runs, tracked: list[TrackedRun]) -> None:
    runs.run("twice" if text == "twice" else "calm-cat", runs.lock())
    half = runs.lock()
    del half["stages"]["report"]
    runs.run("half", half)
    if text == "twice":
        (runs.root / "new").write_text("")
        runs.commit()
        runs.run("twice", runs.lock())
    tracked += [tracked_run("abcdef0123", has_outs=False), tracked_run("abcdef9999")]
    with pytest.raises(InputError, match=complaint) as error:
        find_record(text, runs.root)
    assert "\n" not in str(error.value)


def test_commit_or_experiment_that_a_shallow_clone_lacks_is_told_with_the_remedy(
    runs: Runs, tracked: list[TrackedRun]
) -> None:
    first = runs.git("rev-parse", "HEAD~1")
    shallow = runs.root / "shallow"
    runs.git("clone", "-q", "--depth", "1", f"file://{runs.root}", str(shallow))
    with pytest.raises(InputError, match="this clone is shallow: git fetch --unshallow"):
        find_record(first, shallow)
    with pytest.raises(InputError, match=r"experiments along: dvc exp pull origin calm-dog brings one$"):
        find_record("calm-dog", shallow)
    for text in (f"{first[:-1]}{'0' if first[-1] != '0' else '1'}", "calm-dog"):
        with pytest.raises(InputError, match=r"^no such run: .* in MLflow at \S+$"):
            find_record(text, runs.root)
