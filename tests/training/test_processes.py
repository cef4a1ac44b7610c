"""Two processes with gloo, as `python src/train.py` starts them."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from losslab.data.loading.arrays import PreparedData
from losslab.io.files import read_csv, read_json
from tests.conftest import ROOT, TINY_CHANGES, merge, write_params
from tests.fork_server import start_server
from tests.pipeline.clone import make_empty_store

EPOCHS = 8
CHANGES = {
    "encoder": None,
    "arch": "simple_cnn",
    "train": {
        "devices": 2,
        "batch_size": 4,
        "ema": 0.9,
        "epochs": EPOCHS,
        "precision": "32-true",
        "crop": 32,
        "sampling": "balanced",
    },
}
OUTS = ("models/model.safetensors", "models/model.json", "reports/history.csv")


def start(folder: Path, data: PreparedData, *command: str, **changes: Any) -> "subprocess.Popen[str]":
    write_params(folder, merge(TINY_CHANGES, merge(CHANGES, changes)))
    place = folder / "data/prepared/tiny"
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(data.folder)
        shutil.copy(make_empty_store(), folder / "mlflow.db")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    return subprocess.Popen(
        [*(command or [str(start_server() / "python")]), str(ROOT / "src/train.py")],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, data: PreparedData, *command: str, **changes: Any) -> str:
    process = start(folder, data, *command, **changes)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def two_processes(tiny_data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train with two processes that Lightning starts. The val images make one batch, so the second process has none."""
    folder = tmp_path_factory.mktemp("lightning")
    output = run(folder, tiny_data)
    assert [output.count(f"epoch {epoch}/{EPOCHS}  loss") for epoch in range(1, EPOCHS + 1)] == [1] * EPOCHS
    return folder


@pytest.mark.pipeline
def test_two_processes_train_one_model_and_only_the_first_writes(
    two_processes: Path, tmp_path: Path, tiny_data: PreparedData
) -> None:
    """Lightning or torchrun starts them."""
    run(tmp_path, tiny_data, sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    for name in OUTS:
        assert (tmp_path / name).read_bytes() == (two_processes / name).read_bytes()
    assert read_json(two_processes / "models/model.json")["run"]["train"]["devices"] == 2
    assert len(read_csv(two_processes / "reports/history.csv")) == EPOCHS
    assert not list((two_processes / ".losslab/checkpoints").iterdir())


@pytest.mark.pipeline
def test_two_processes_learn_what_one_does(two_processes: Path, tmp_path: Path, tiny_data: PreparedData) -> None:
    """The net has no batch norm, so the sums are only rounded differently."""
    run(tmp_path, tiny_data, train={"devices": 1})
    one, two = (load_file(folder / "models/model.safetensors") for folder in (tmp_path, two_processes))
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-4
    rows = [read_csv(folder / "reports/history.csv") for folder in (tmp_path, two_processes)]
    for column in ("train_loss", "val_loss", "val_miou"):
        alone, together = (torch.tensor([float(row[column]) for row in table]) for table in rows)
        torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-4)


@pytest.mark.pipeline
def test_two_processes_that_are_killed_resume(two_processes: Path, tmp_path: Path, tiny_data: PreparedData) -> None:
    process = start(tmp_path, tiny_data)
    assert process.stdout is not None
    while "epoch 1/" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert "resuming after epoch" in run(tmp_path, tiny_data)
    for name in OUTS:
        assert (tmp_path / name).read_bytes() == (two_processes / name).read_bytes()


@pytest.mark.pipeline
def test_encoder_with_unused_parts_trains_in_two_processes(tmp_path: Path, tiny_data: PreparedData) -> None:
    """EfficientNet's last convolution is in the net of smp, which never calls it."""
    output = run(
        tmp_path, tiny_data, arch="unet", encoder="efficientnet-b0", train={"batch_size": 6, "ema": None, "epochs": 2}
    )
    assert "epoch 2/2" in output
    assert "unused" not in output
