"""Threads of a study's runs: shared out among runs that go on at once, and the same for all runs of the study."""

from pathlib import Path

import pytest

from losslab.study import threads
from losslab.study.threads import share_threads


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "count_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(("jobs", "expected"), [(1, None), (2, "4"), (3, "2"), (8, "1"), (20, "1")])
def test_runs_at_once_share_the_cores_and_one_alone_takes_what_torch_chooses(
    jobs: int, expected: str | None, tmp_path: Path
) -> None:
    assert share_threads(tmp_path, jobs) == (expected, None)
    assert share_threads(tmp_path, jobs) == (expected, None), "it is resumed"


@pytest.mark.parametrize(
    ("begun", "resumed", "expected", "line"),
    [
        (2, 8, "4", "threads: 4 threads a run, as this study began; set OMP_NUM_THREADS to change that"),
        (8, 1, "1", "threads: 1 thread a run, as this study began; set OMP_NUM_THREADS to change that"),
        (1, 2, None, "threads: as torch chooses, as this study began; set OMP_NUM_THREADS to change that"),
    ],
)
def test_study_that_is_resumed_with_other_jobs_keeps_its_threads(
    begun: int, resumed: int, expected: str | None, line: str, tmp_path: Path
) -> None:
    share_threads(tmp_path, begun)
    assert share_threads(tmp_path, resumed) == (expected, line)


def test_what_the_user_sets_replaces_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share_threads(tmp_path, 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    line = "threads: 3 threads a run, earlier runs 4 threads a run: the last bits differ"
    assert share_threads(tmp_path, 2) == ("3", line)
    assert share_threads(tmp_path, 1) == ("3", None)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert share_threads(tmp_path, 2)[0] == "3"


def test_record_that_is_broken_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / threads.RECORD).write_text("{")
    assert share_threads(tmp_path, 4) == ("2", None) == share_threads(tmp_path, 4)
