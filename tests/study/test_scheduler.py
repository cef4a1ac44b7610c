"""A study is run in order, and counts its done runs, with an engine that runs nothing."""

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from losslab.errors import InputError
from losslab.io.files import write_json
from losslab.io.git import find_head
from losslab.study.engine import EndedRun
from losslab.study.plan import Study, StudyRun, plan_final_runs, plan_runs
from losslab.study.results import find_finished_runs, follow_searches, read_progress, read_scores
from losslab.study.scheduler import StudyOutcome, StudyProgress, run_study
from losslab.study.state import StudyState
from tests.study.repository import STUDY, Repository

TUNED = {**STUDY, "grid": {"loss": ["cross_entropy", "dice"]}, "tune": {"train.lr": [0.001, 0.01]}}


class FakeEngine:
    """Ends every run at once: with the val mIoU that `outcomes` has for its name, or for the reason it has."""

    shares_data = True

    def __init__(self, repository: Repository, outcomes: dict[str, float | str], slots: int = 2) -> None:
        self.repository, self.outcomes, self.slots = repository, outcomes, slots
        self.works: list[StudyRun] = []
        self.started: list[str] = []
        self.prepared: list[str] = []
        self.unfit: set[str] = set()

    def prepare(self, run: StudyRun) -> EndedRun:
        dataset = run.params["dataset"]
        self.prepared.append(dataset)
        return EndedRun(run, 1.0, f"download: {dataset} is not there" if dataset in self.unfit else None)

    def has_free_slot(self) -> bool:
        return len(self.works) < self.slots

    def start(self, run: StudyRun) -> None:
        self.started.append(run.name)
        self.works.append(run)

    def collect_ended(self) -> list[EndedRun]:
        run = self.works.pop(0)
        outcome = self.outcomes.get(run.name, 0.5)
        if isinstance(outcome, str):
            return [EndedRun(run, 1.0, outcome)]
        self.repository.experiment(run, outcome)
        return [EndedRun(run, 10.0)]

    def list_working(self) -> list[StudyRun]:
        return list(self.works)

    def close(self) -> None:
        self.works = []


def go(repository: Repository, study: Study, engine: FakeEngine) -> tuple[StudyOutcome, list[StudyProgress]]:
    progress: list[StudyProgress] = []
    state = StudyState(repository.root, study.key)
    return run_study(study, repository.root, state, engine, engine.slots, progress.append), progress


def list_compared(repository: Repository, study: Study) -> list[str]:
    _, done, failed = read_progress(study, repository.root)
    return [run.name for run in plan_final_runs(study, follow_searches(study, done, failed)) if run in done]


def test_only_what_is_missing_is_run(repository: Repository) -> None:
    study = repository.read()
    repository.experiment(plan_runs(study)[1], 0.6)
    engine = FakeEngine(repository, {})
    outcome, progress = go(repository, study, engine)
    assert outcome == StudyOutcome(8, 0, 8)
    assert engine.started == [run.name for run in plan_runs(study) if run != plan_runs(study)[1]]
    assert [(each.finished, each.total) for each in progress] == [(number, 8) for number in range(2, 9)]
    assert progress[0].eta_s == 10.0 * 3 and progress[-1].eta_s == 0.0
    assert (progress[0].val_miou, progress[0].test_miou) == (0.5, 0.49)
    again = FakeEngine(repository, {})
    assert go(repository, study, again)[0] == StudyOutcome(8, 0, 8) and again.started == []


def test_failed_cell_stops_no_other_and_is_tried_again(repository: Repository) -> None:
    study = repository.read()
    bad = plan_runs(study)[0]
    outcome, progress = go(repository, study, FakeEngine(repository, {bad.name: "train: it diverged"}))
    assert outcome == StudyOutcome(7, 1, 8) and progress[0].ended.reason == "train: it diverged"
    state = StudyState(repository.root, study.key)
    assert {run: about["reason"] for run, about in state.read_failures(plan_runs(study)).items()} == {
        bad: "train: it diverged"
    }
    again = FakeEngine(repository, {})
    assert go(repository, study, again)[0] == StudyOutcome(8, 0, 8) and again.started == [bad.name]
    assert state.read_failures(plan_runs(study)) == {}


def test_failure_on_other_params_is_forgotten(repository: Repository) -> None:
    study = repository.read()
    StudyState(repository.root, study.key).record_failure(plan_runs(study)[0], "no")
    repository.study("small", {**STUDY, "params": {"train": {"epochs": 4}}})
    assert StudyState(repository.root, study.key).read_failures(plan_runs(repository.read())) == {}


def test_data_are_prepared_once_and_who_lacks_them_fails_with_the_reason(repository: Repository) -> None:
    grid = {"dataset": ["tiny", "synthetic_lesions"], "loss": ["dice", "focal"]}
    repository.study("small", {**STUDY, "grid": grid, "seeds": [0]})
    engine = FakeEngine(repository, {})
    engine.unfit = {"synthetic_lesions"}
    outcome, progress = go(repository, repository.read(), engine)
    assert outcome == StudyOutcome(2, 2, 4) and sorted(engine.prepared) == ["synthetic_lesions", "tiny"]
    assert engine.started == ["small-tiny-dice-s0", "small-tiny-focal-s0"]
    reasons = [each.ended.reason for each in progress if each.ended.reason]
    assert reasons == ["download: synthetic_lesions is not there"] * 2


def test_tuned_value_is_that_with_the_best_val_miou_and_a_diverged_one_is_out(repository: Repository) -> None:
    repository.study("small", TUNED)
    study = repository.read()
    outcomes: dict[str, float | str] = {
        "small-cross_entropy-0.001-s0": 0.5,
        "small-cross_entropy-0.01-s0": 0.7,
        "small-dice-0.001-s0": 0.4,
        "small-dice-0.01-s0": "train: it diverged",
    }
    engine = FakeEngine(repository, outcomes, slots=1)
    outcome, _ = go(repository, study, engine)
    assert outcome == StudyOutcome(5, 1, 6)
    assert engine.started[-2:] == ["small-cross_entropy-0.01-s1", "small-dice-0.001-s1"]
    assert sorted(list_compared(repository, study)) == [
        "small-cross_entropy-0.01-s0",
        "small-cross_entropy-0.01-s1",
        "small-dice-0.001-s0",
        "small-dice-0.001-s1",
    ]


def test_cell_is_not_compared_while_its_tuning_goes_on(repository: Repository) -> None:
    repository.study("small", TUNED)
    study = repository.read()
    repository.experiment(plan_runs(study)[0], 0.5)
    assert list_compared(repository, study) == []


def test_run_without_all_outs_or_with_other_params_is_not_done(repository: Repository) -> None:
    first, second, third, *_ = plan_runs(repository.read())
    repository.experiment(first, 0.5, with_report=False)
    repository.experiment(second, 0.5, seed=7)
    repository.experiment(third, 0.5)
    assert list(find_finished_runs([first, second, third], repository.root)) == [third]


def test_run_from_another_commit_counts(repository: Repository) -> None:
    run = plan_runs(repository.read())[0]
    repository.experiment(run, 0.5)
    (repository.root / "src").mkdir()
    (repository.root / "src/new.py").write_text("")
    repository.commit()
    (outs,) = find_finished_runs([run], repository.root).values()
    assert outs.baseline != find_head(repository.root) and outs.experiment == run.name
    assert read_scores(outs)["val"] == {"miou": 0.5}


def test_engine_that_leaves_no_experiment_is_reported(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    study = repository.read()
    engine = FakeEngine(repository, {})
    monkeypatch.setattr(repository, "experiment", lambda *_: None)
    outcome, progress = go(repository, study, engine)
    assert outcome.failed == 8 and "left no complete experiment" in str(progress[0].ended.reason)


def test_study_is_run_by_one_process_at_a_time(repository: Repository) -> None:
    study, state = repository.read(), StudyState(repository.root, "small")
    assert state.find_runner() is None
    with state.claim(study, 1) as tell_running:
        tell_running(["small-dice-unet-s0"])
        runner = StudyState(repository.root, "small").find_runner()
        assert runner is not None and runner["runs"] == ["small-dice-unet-s0"]
        with pytest.raises(InputError, match=r"small is already running \(process \d+\)"):
            StudyState(repository.root, "small").claim(study, 1).__enter__()
    assert state.find_runner() is None


def test_nothing_runs_in_a_repository_that_can_only_be_read(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that `study status` answers there."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    state = StudyState(repository.root, "small")
    state.folder.mkdir(parents=True)
    monkeypatch.setattr("losslab.study.state.FileLock.acquire", fail)
    assert state.find_runner() is None


@pytest.mark.parametrize("content", [{"a": 1}, {}])
def test_what_a_killed_runner_left_does_not_count_as_running(content: dict[str, Any], repository: Repository) -> None:
    state = StudyState(repository.root, "small")
    state.folder.mkdir(parents=True)
    (state.folder / "running.json").write_text(str(content).replace("'", '"'))
    assert state.find_runner() is None and state.stop() is False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process was started")
def test_pid_that_a_killed_runner_left_is_not_signalled(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a new runner has the lock and has not yet said who it is."""
    state, signalled = StudyState(repository.root, "small"), []
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid))
    monkeypatch.setattr("losslab.study.state.ANNOUNCE_TIMEOUT_S", 0.2)
    state.folder.mkdir(parents=True)
    with state._build_lock():
        write_json(state.folder / "running.json", {"pid": os.getpid(), "started": "1", "jobs": 1})
        assert StudyState(repository.root, "small").stop() is False and signalled == []


def test_runner_removes_what_a_killed_one_left_before_it_writes(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, left = StudyState(repository.root, "small"), []
    write_json(state.folder / "running.json", {"pid": 1, "jobs": 1})
    monkeypatch.setattr("losslab.study.state.write_json", lambda path, _: left.append(path.exists()))
    with state.claim(repository.read(), 1):
        assert left[0] is False


def test_log_is_beside_the_state(repository: Repository) -> None:
    path = StudyState(repository.root, "small").find_log("small-dice-unet-s0")
    assert re.fullmatch(r".*/\.losslab/study/small/logs/small-dice-unet-s0\.log", str(Path(path)))
