"""Each stage script, run as DVC runs it, with bad params: one line, exit code 1, nothing written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from losslab.stage import md5_in_lock
from tests.conftest import ROOT, TINY_CHANGES, write_params

STAGES = ["download", "prepare", "train", "evaluate", "report"]


def run_stage(stage: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "src" / f"{stage}.py")]
    env = {**os.environ, "DVC_ROOT": str(folder), "MLFLOW_TRACKING_URI": "", **environment}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("stage", STAGES)
def test_bad_params_end_every_stage_with_one_line(stage: str, tmp_path: Path) -> None:
    write_params(tmp_path, {"report": {"examples": "many"}})
    before = sorted(tmp_path.rglob("*"))
    done = run_stage(stage, tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"ERROR: {stage}: params.yaml: report.examples is 'many'; it must be a valid integer"
    ]
    assert done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        ("prepare", "no train/images, train/masks"),
        ("train", "no prepared data; the prepare stage writes it"),
        ("evaluate", "no such file; the train stage writes it"),
        ("report", "models/model.json: no such file; if an earlier stage writes it, run dvc repro"),
    ],
)
def test_stage_without_its_input_says_which(stage: str, complaint: str, tmp_path: Path) -> None:
    write_params(tmp_path, TINY_CHANGES)
    done = run_stage(stage, tmp_path)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_unknown_encoder_is_told_before_the_data_is_touched(tmp_path: Path) -> None:
    write_params(tmp_path, TINY_CHANGES | {"encoder": "resnet81"})
    done = run_stage("train", tmp_path)
    assert done.returncode == 1
    assert "encoder: 'resnet81' is unknown to smp and timm; close to it: " in done.stderr
    assert "resnet18" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "models").exists()


def test_python_without_the_packages_is_told_how_to_get_them(tmp_path: Path) -> None:
    write_params(tmp_path, {})
    command = [sys.executable, "-S", "-E", str(ROOT / "src/download.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Run `make setup`, then `. .venv/bin/activate`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "text", [None, "", "stages: 1", "a: [", "stages: {train: {outs: [{path: models/other, md5: y}]}}"]
)
def test_out_that_dvc_has_not_taken_in_has_no_md5(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("dvc.lock").write_text(text, encoding="utf-8")
    assert md5_in_lock("models/model") is None


def test_out_that_dvc_has_taken_in_has_the_md5_of_dvc_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lock = "schema: '2.0'\nstages:\n  a:\n    cmd: a\n  train:\n    outs:\n    - path: models/model\n      md5: x\n"
    Path("dvc.lock").write_text(lock, encoding="utf-8")
    assert md5_in_lock("models/model") == "x"


@pytest.mark.parametrize(
    "error", ["MemoryError()", "RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you')"]
)
def test_memory_that_runs_out_in_any_stage_is_one_line(error: str, tmp_path: Path) -> None:
    write_params(tmp_path, {})
    code = f"from losslab import stage\ndef main(params): raise {error}\nstage.run(main)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "ERROR: -c: out of memory: set train.batch_size, or evaluate.batch_size, or prepare.size lower"
    ]
