"""Two processes with gloo, as `python src/train.py` starts them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from losslab.data.prepared import Prepared
from losslab.files import read_csv, read_json
from tests.conftest import ROOT, TINY_CHANGES, merge, write_params

CHANGES = {"encoder": None, "arch": "simple_cnn", "train": {"devices": 2, "batch_size": 4, "ema": 0.9}}


def run(folder: Path, data: Prepared, *command: str) -> str:
    write_params(folder, merge(TINY_CHANGES, CHANGES))
    place = folder / "data/prepared/tiny"
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.symlink_to(data.folder)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    done = subprocess.run(
        [*command, str(ROOT / "src/train.py")],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.mark.pipeline
def test_two_processes_train_one_model_and_only_the_first_writes(tmp_path: Path, tiny_data: Prepared) -> None:
    """Started by Lightning or by torchrun. The val images make one batch, so the second process has none."""
    output = run(tmp_path / "lightning", tiny_data, sys.executable)
    assert [output.count(f"epoch {epoch}/2  loss") for epoch in (1, 2)] == [1, 1]
    run(tmp_path / "torchrun", tiny_data, sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    for name in ("models/model.safetensors", "models/model.json", "reports/history.csv"):
        assert (tmp_path / "lightning" / name).read_bytes() == (tmp_path / "torchrun" / name).read_bytes()
    assert read_json(tmp_path / "lightning/models/model.json")["run"]["train"]["devices"] == 2
    assert len(read_csv(tmp_path / "lightning/reports/history.csv")) == 2
    assert not list((tmp_path / "lightning/.losslab/checkpoints").iterdir())
