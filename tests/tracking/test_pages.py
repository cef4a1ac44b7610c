"""MLflow's pages are opened on the runs."""

import json
import shutil
import socket
from pathlib import Path

import pytest

from losslab.errors import InputError, mask_credentials
from losslab.tracking import TrackingStore, pages
from losslab.tracking.studies import STUDY
from tests.pipeline.clone import make_empty_store


def test_newest_runs_are_opened_grouped_by_cell_where_there_are_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="has no runs yet"):
        pages.choose_page(tmp_path)
    shutil.copy(make_empty_store(), tmp_path / "mlflow.db")
    assert pages.choose_page(tmp_path) == "/#/experiments?workflowType=machine_learning"
    store = TrackingStore(tmp_path)
    for time, (dataset, tags) in enumerate([("pets", {}), ("cells", {STUDY: "demo"})], 1):
        experiment = store.get_experiment(dataset)
        store.client.create_run(experiment, time, tags)
        page = pages.choose_page(tmp_path)
        assert page.startswith(f"/#/experiments/{experiment}/runs?workflowType=machine_learning&")
        assert mask_credentials(page) == page, "it is printed as it is"
        view = json.loads(store.client.get_experiment(experiment).tags["mlflow.sharedViewState.losslab"])
        keys = [key["groupByData"] for key in (view["groupBy"] or {"groupByKeys": []})["groupByKeys"]]
        assert keys == (["study", "cell"] if tags else [])


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("https://me:hunter2@host:5000/mlflow/", "https://host:5000/mlflow"),
        ("sqlite:///mlflow.db", None),
        ("postgresql://me:hunter2@host/db", None),
    ],
)
def test_server_is_not_started_where_there_is_one(
    uri: str, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert pages.find_server() == address


def test_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port}: it is taken; choose another"):
            pages.serve(tmp_path, port, pytest.fail)


def test_server_that_does_not_start_says_why_without_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/echo")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@host/db")
    with pytest.raises(InputError, match=r"did not start: -m mlflow server .* \(see .losslab/ui.log\)") as error:
        pages.serve(tmp_path, None, pytest.fail)
    assert "hunter2" not in str(error.value)
