"""No password of a store's address is printed, logged or stored, whatever goes wrong."""

import logging
from pathlib import Path

import pytest

from losslab import tracking
from losslab.errors import InputError
from losslab.params import Params
from losslab.tracking import registry
from tests.conftest import TINY_CHANGES, write_params

SECRET = "hunter2"


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hunter2@127.0.0.1:9",
        "https://hunter2@127.0.0.1:9/mlflow",
        "http://127.0.0.1:9/?token=hunter2",
        "http://me:hunter2@no such host:1",
        "http://me:a/hunter2@127.0.0.1:9",
        "http://me:9/hunter2@127.0.0.1:9",
        "http://me:a@hunter2@127.0.0.1:9",
        "http://me:hunter2/a@127.0.0.1:9",
        "http://me:hunter2?a@127.0.0.1",
        "http://me:[hunter2@127.0.0.1",
        "http://me:%00hunter2@127.0.0.1:9",
        " http://me:hunter2@127.0.0.1:9\n",
        "http://me:hunter2\nx@127.0.0.1:9",
        "postgresql://me:hunter2@127.0.0.1:9/db",
        "postgresql://me:a@hunter2@127.0.0.1:9/db",
        "postgresql://127.0.0.1:9/db?user=me&password=hunter2",
        "mysql+nodriver://me:hunter2@127.0.0.1/db",
        "unknown://me:hunter2@127.0.0.1/db",
    ],
)
def test_no_error_shows_a_password(
    uri: str,
    tiny_params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    caplog.set_level(logging.WARNING)
    write_params(tmp_path, TINY_CHANGES)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/model.safetensors").touch()
    said: list[str] = []
    with tracking.track_training(tiny_params, "key", "d", "chip", tmp_path, said.append) as run:
        run.log_epoch({"epoch": 0, "loss": 1.0})
    tracking.record_stage(tmp_path, tmp_path, said.append, "report", 1.0)
    for call in (
        lambda: tracking.is_recorded("tiny", "m", "r", None, tracking.open_store(tmp_path)),
        lambda: tracking.list_tracked_runs(tmp_path),
        lambda: registry.find_trained_run("workspace", tmp_path),
    ):
        with pytest.raises(InputError) as error:
            call()
        said.append(str(error.value))
    printed = capfd.readouterr()
    everything = [*said, printed.out, printed.err, *caplog.messages]
    assert len(said) == 5 and all("MLflow at " in line and "cannot be used" in line for line in said)
    assert not [line for line in everything if SECRET in line or "\n" in line.strip()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
