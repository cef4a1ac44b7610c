"""A worker on this machine, with stages that only write their outs: the project is a subfolder of its Git repository."""

import time
from pathlib import Path

import pytest
import yaml

from losslab.experiments.run_finder import find_record
from losslab.experiments.verify import verify_run
from losslab.io.git import find_head
from losslab.study.engine import EndedRun, LocalEngine
from losslab.study.plan import plan_runs
from losslab.study.results import find_finished_runs, read_scores
from losslab.study.state import StudyState
from tests.study.repository import Repository

TRAIN = """import json
import os
from pathlib import Path

print("a client at", os.environ["MLFLOW_TRACKING_URI"])
Path("models").mkdir(exist_ok=True)
Path("reports").mkdir(exist_ok=True)
Path("models/model.safetensors").write_text("weights")
Path("models/model.json").write_text(json.dumps({"data_md5": "d", "run": {"dataset": "tiny"}}))
Path("reports/history.csv").write_text("epoch,val_miou\\n1,0.5\\n")
Path("reports/metrics.json").write_text(json.dumps({"val": {"miou": 0.5}, "test": {"miou": 0.25}}))
"""
PIPELINE = {
    "stages": {
        "prepare": {
            "cmd": "mkdir -p data/prepared/tiny && echo a > data/prepared/tiny/index.csv",
            "outs": ["data/prepared/tiny"],
        },
        "train": {
            "cmd": "python src/train.py",
            "deps": ["data/prepared/tiny", "src/train.py"],
            "params": ["loss"],
            "outs": ["models/model.safetensors", "models/model.json", "reports/history.csv", "reports/metrics.json"],
        },
        "report": {
            "cmd": "mkdir reports/figures && echo a > reports/figures/a.png && echo a > reports/report.html",
            "deps": ["models/model.json"],
            "outs": ["reports/report.html", "reports/figures"],
        },
    }
}


def wait_for_end(engine: LocalEngine) -> EndedRun:
    deadline = time.monotonic() + 300
    while not (ended := engine.collect_ended()):
        assert time.monotonic() < deadline
    return ended[0]


def test_study_and_verify_work_in_a_subfolder_of_a_git_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")  # nobody answers, at once
    project = Repository(tmp_path / "monorepo/segmentation", tmp_path / "monorepo")
    root = project.root
    (root / "src").mkdir()
    (root / "src/train.py").write_text(TRAIN)
    (root / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE, sort_keys=False))
    (root / ".gitignore").write_text("/.losslab/\n/models/\n/reports/\n/data/prepared/\n")
    baseline = project.commit()
    run = plan_runs(project.read())[0]
    state = StudyState(root, "small")
    engine = LocalEngine(state, baseline, root / ".dvc/cache", 1)
    try:
        assert engine.prepare(run).reason is None, state.find_log("prepare").read_text()
        engine.start(run)
        assert wait_for_end(engine).reason is None, state.find_log(run.name).read_text()
    finally:
        engine.close()
    (outs,) = find_finished_runs([run], root).values()
    assert read_scores(outs)["val"] == {"miou": 0.5} and outs.baseline == find_head(root)
    assert project.git("status", "--porcelain") == ""
    kept = root / ".losslab"
    assert "http://***@127.0.0.1:9" in state.find_log(run.name).read_text() and kept.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept.rglob("*.log")} == {0o600}
    assert not [path for path in kept.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    verified = verify_run(find_record(run.name, root), root, print)
    assert (verified.outs, verified.differing) == (6, [])
    assert not (root / ".losslab/verify").exists()
