"""A run anew, with a training that is only played: what is compared, what is refused, and that nothing is left."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from losslab.errors import InputError
from losslab.experiments.run_finder import find_record
from losslab.experiments.verify import Verification, find_changed_packages, find_likely_reasons, verify_run
from losslab.io.files import write_text
from losslab.tracking import TrackedRun
from tests.experiments.repository import CODE, Runs
from tests.experiments.test_run_finder import tracked_run


class Played:
    """`dvc repro`, as far as `verify_run` sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lock: dict[str, Any], **new: str) -> None:
        self.lock, self.new = lock, new
        self.targets: list[str] = []
        self.environment: dict[str, str] = {}
        self.raw = ""
        monkeypatch.setattr("losslab.experiments.verify.run_dvc_repro", self)

    def __call__(
        self, folder: Path, targets: Sequence[str], environment: dict[str, str], keep_open: Any, own_group: bool
    ) -> int:
        self.targets, self.environment = list(targets), environment
        self.raw = "".join(path.read_text() for path in sorted((folder / "data/raw/tiny").rglob("*.txt")))
        for stage in self.lock["stages"].values():
            for out in stage.get("outs", []):
                if out["path"] in self.new:
                    write_text(folder / out["path"], self.new[out["path"]])
                    out["md5"] = hashlib.md5(self.new[out["path"]].encode()).hexdigest()
        write_text(folder / "dvc.lock", yaml.safe_dump(self.lock))
        return 0


def state(root: Path) -> dict[str, bytes]:
    files = (
        path for path in root.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path) and path.name != "index"
    )
    return {str(path): path.read_bytes() for path in files}


def test_same_outs_are_identical_and_all_else_stays_as_it_is(
    runs: Runs, tracked: list[TrackedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.run("calm-cat", runs.lock(), loss="dice")
    tracked += [tracked_run("abcdef", "calm-cat", threads=3)]
    (runs.root / "src/train.py").write_text("changed since")
    before, said = state(runs.root), list[str]()
    played = Played(monkeypatch, runs.lock())
    verified = verify_run(find_record("calm-cat", runs.root), runs.root, said.append)
    assert (verified.outs, verified.differing, verified.differences) == (7, [], [])
    assert {"--force", "--no-run-cache"} < set(played.targets)
    assert played.targets[-4:] == ["prepare", "train", "evaluate", "report"] and played.raw == "ab"
    assert played.environment["OMP_NUM_THREADS"] == "3" and "3 threads, as recorded" in said[0]
    assert str(runs.root / ".losslab/verify") in played.environment["MLFLOW_TRACKING_URI"]
    assert state(runs.root) == before and not (runs.root / ".losslab/verify").exists()


def test_first_out_that_differs_is_described_with_the_scores(
    runs: Runs, tracked: list[TrackedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.run("calm-cat", runs.lock())
    lock = runs.lock()
    raw = lock["stages"]["download"]["outs"][0]["md5"]
    (runs.root / ".dvc/cache/files/md5" / raw[:2] / raw[2:]).unlink()
    scores = json.dumps({"test": {"miou": 0.25}, "val": {"miou": 0.5}})
    played = Played(
        monkeypatch, lock, **{"reports/history.csv": "epoch,val_miou\n1,0.6\n", "reports/metrics.json": scores}
    )
    said: list[str] = []
    verified = verify_run(find_record("calm-cat", runs.root), runs.root, said.append, threads=1, keep=True)
    assert played.targets[-3:] == ["train", "evaluate", "report"], "there are no raw data to prepare"
    assert "download and prepare are not repeated" in said[1]
    assert verified.differing == ["reports/history.csv", "reports/metrics.json"]
    assert [(each.path, each.description) for each in verified.differences] == [
        ("reports/history.csv", "1 of 2 values differ, first row 1, val_miou: 0.5, now 0.6; by 0.1 at most"),
        ("reports/metrics.json", "1 of 2 values differ, first test.miou: 0.5, now 0.25; by 0.25 at most"),
    ]
    kept = Path(said[-1].removeprefix("kept: "))
    assert (kept / "dvc.lock").is_file()


def test_code_that_was_not_committed_is_refused(runs: Runs, tracked: list[TrackedRun]) -> None:
    runs.run("dirty", runs.lock(code=CODE + "# not committed"))
    with pytest.raises(InputError, match=r"dirty cannot be repeated: it ran with uncommitted changes in src/train\.py"):
        verify_run(find_record("dirty", runs.root), runs.root, lambda line: None)
    assert not (runs.root / ".losslab/verify").exists()


def test_reasons_are_what_is_another_now(
    runs: Runs, tracked: list[TrackedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs.root / "requirements.lock").write_text("pytest==1.0.0 \\\n    --hash=sha256:0\nno-such-package==1\n")
    runs.commit()
    runs.run("calm-cat", runs.lock())
    monkeypatch.setattr("losslab.experiments.verify.describe_hardware", lambda: "a chip")
    tracked += [tracked_run("abcdef", "calm-cat", threads=3)]
    record = find_record("calm-cat", runs.root)
    verified = Verification(
        outs=1, size_bytes=1, differing=["x"], differences=[], revision=str(record.revision), threads=2
    )
    assert find_likely_reasons(record, verified, runs.root) == [
        "the number of threads was 3, now 2",
        f"packages differ from its requirements.lock: pytest 1.0.0, here {pytest.__version__}",
    ]


def test_package_pinned_for_several_systems_is_unchanged_when_one_fits() -> None:
    pinned = f"pytest==1.0.0 ; sys_platform == 'win32'\npytest=={pytest.__version__} ; sys_platform != 'win32'\n"
    assert find_changed_packages(pinned) == []
