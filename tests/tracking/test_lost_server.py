"""A server that hangs, floods, or is lost in the middle of a run: it costs little time, and one run stays one run."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from losslab import tracking
from losslab.errors import InputError
from losslab.io.files import read_json, write_csv, write_json
from losslab.io.hashing import compute_file_md5
from losslab.params import Params
from losslab.tracking import TrackingStore, bounded_client
from tests.conftest import TINY_CHANGES, write_params
from tests.tracking.server import Server, Trap, serve_mlflow

ROWS = [{"epoch": epoch, "train_loss": 1.0 - epoch / 10} for epoch in range(3)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve_mlflow(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def outs(tmp_path: Path) -> Path:
    write_params(tmp_path, TINY_CHANGES)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/model.safetensors").write_bytes(b"weights")
    write_json(tmp_path / "models/model.json", {"data_md5": "d.dir"})
    write_csv(tmp_path / "reports/history.csv", ROWS)
    write_json(tmp_path / "reports/scores.json", {"test": {"miou": 0.5}, "val": {"miou": 0.5}})
    (tmp_path / "reports/report.html").write_text("<p>report", encoding="utf-8")
    (tmp_path / "reports/figures").mkdir()
    return tmp_path


@pytest.mark.parametrize("kind", ["hangs", "floods", "drips"])
def test_server_that_never_answers_costs_one_wait(
    kind: str, tiny_params: Params, outs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap, said = Trap(kind), list[str]()
    trap.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trap.uri)
    monkeypatch.setattr(bounded_client, "CALL_TIMEOUT_S", 0.5)
    calls, began = [], time.monotonic()
    with tracking.track_training(tiny_params, "key", "d.dir", "chip", outs, said.append) as run:
        for row in ROWS:
            run.log_epoch(row)
        run.log_model(outs / "models", 1.0)
    calls.append(time.monotonic() - began)
    tracking.record_stage(outs, outs, said.append, "report", 1.0)
    with pytest.raises(InputError, match="cannot be used: no answer in 0 s"):
        tracking.list_tracked_runs(outs)
    calls.append((time.monotonic() - began - calls[0]) / 2)
    assert len(said) == 2 and all("cannot be used: no answer in 0 s; continuing without it" in line for line in said)
    assert max(calls) < 5, "one wait each, and imports"
    assert kind == "hangs" or trap.left.wait(10), "reading goes on"


def test_training_does_not_wait_until_a_database_that_hangs_is_given_up(
    tiny_params: Params, outs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take a minute to make the tables of a new one."""
    released, said = threading.Event(), list[str]()

    def hang(root: Path) -> TrackingStore:
        released.wait()
        raise InputError("too late")

    monkeypatch.setattr(bounded_client, "CALL_TIMEOUT_S", 0.1)
    monkeypatch.setattr("losslab.tracking.runs.TrackingStore", hang)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://127.0.0.1/x")
    with tracking.track_training(tiny_params, "key", "d.dir", "chip", outs, said.append) as run:
        for row in ROWS:
            run.log_epoch(row)
        run.log_model(outs / "models", 1.0)
    assert not released.is_set() and len(said) == 1 and "no answer in 0 s; continuing without it" in said[0]
    assert read_json(outs / ".losslab/lost_runs/key.json")["status"] == "FINISHED"
    released.set()


@pytest.mark.parametrize("lost_at", ["begin", "epoch", "end", "death"])
def test_run_that_the_server_lost_sight_of_is_completed_as_the_same_run(
    lost_at: str,
    server: Server,
    tiny_params: Params,
    outs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.build_uri("me:hunter2@"))
    said: list[str] = []
    params = tiny_params.model_copy(update={"dataset": lost_at})
    path = outs / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("dataset: tiny", f"dataset: {lost_at}"), encoding="utf-8")

    def train() -> None:
        with tracking.track_training(
            params, "key", "d.dir", "chip", outs, said.append, False, time.monotonic() - 60
        ) as run:
            for row in ROWS:
                if (lost_at, row["epoch"]) in {("begin", 0), ("epoch", 1)}:
                    server.lost.set()
                run.log_epoch(row)
            if lost_at in ("end", "death"):
                run.opening.result()
                server.lost.set()
            if lost_at == "death":
                raise InputError("diverged")
            run.log_model(outs / "models", 1.0)

    if lost_at == "death":
        with pytest.raises(InputError, match="diverged"):
            train()
    else:
        train()
    assert len(said) == 1 and "cannot be used" in said[0]
    server.lost.clear()
    tracking.end_lost_runs(outs)
    model, report = (compute_file_md5(outs / name) for name in ("models/model.safetensors", "reports/report.html"))
    if lost_at != "death":
        tracking.rebuild_run(outs, model, None, None, tracking.open_store(outs))
        assert tracking.is_recorded(lost_at, model, report, None, tracking.open_store(outs))
    experiment = server.store.get_experiment_by_name(lost_at)
    assert experiment is not None
    (run,) = server.store.search_runs([experiment.experiment_id])
    assert run.info.status == ("FAILED" if lost_at == "death" else "FINISHED")
    if lost_at != "begin":
        assert 60 <= (run.info.end_time - run.info.start_time) / 1000 < 120, "it lasts as long as its stage"
        history = server.store.get_metric_history(run.info.run_id, "train/loss")
        assert [point.step for point in history] == [0, 1, 2]
    assert not list((outs / ".losslab/lost_runs").iterdir())
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    data = run.data
    assert "hunter2" not in str([data.tags, data.params, run.info.artifact_uri])
