"""What `--engine ray` refuses, and what it does on a node, without a cluster: tests/pipeline/test_studies.py has one."""

import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from losslab.errors import InputError
from losslab.experiments.clone import write_bundle
from losslab.io.files import write_text
from losslab.io.git import find_head
from losslab.study import ray_engine
from losslab.study.plan import plan_runs
from losslab.study.ray_engine import RayEngine, _build_options, _clear_left_passwords, _open_task_lock
from losslab.study.state import StudyState
from losslab.study.worker import WorkerJob
from tests.study.repository import STUDY, Repository

REMOTE = "[core]\nremote = store\n['remote \"store\"']\nurl = {}\n"


@pytest.fixture
def ready(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """All that the engine needs is there but Ray."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    monkeypatch.setattr(ray_engine, "_import_ray", lambda: None)
    (repository.root / ".dvc/config").write_text(REMOTE.format("s3://bucket/store"))
    repository.commit()
    return repository


def refused(repository: Repository, address: str | None = "local") -> str:
    with pytest.raises(InputError) as error:
        RayEngine(StudyState(repository.root, "small"), find_head(repository.root), address, 1)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_package_is_refused(ready: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refused(ready) == "--engine ray: Ray is not installed; run uv pip install 'losslab[ray]'"


@pytest.mark.parametrize("address", [None, "foo", "ray://head:10001", "head:"])
def test_address_that_is_none_is_refused(address: str | None, ready: Repository) -> None:
    assert "HOST:PORT of the cluster's head, auto on one of its nodes, or local" in refused(ready, address)


def test_address_where_nobody_listens_is_refused_at_once(ready: Repository) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert refused(ready, address).startswith(f"--address {address}: cannot connect to a Ray cluster: ")


@pytest.mark.parametrize("uri", ["", "sqlite:///mlflow.db", "sqlite+pysqlite:///mlflow.db?timeout=9"])
def test_tracking_store_that_nodes_do_not_share_is_refused(
    uri: str, ready: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "MLFLOW_TRACKING_URI" in refused(ready)


def test_remote_that_nodes_do_not_know_is_refused(ready: Repository) -> None:
    path = ready.root / ".dvc/config"
    path.write_text("")
    ready.commit()
    path.write_text(REMOTE.format("/store"))  # but it is not committed
    assert "--engine ray needs a DVC remote" in refused(ready)
    path.write_text(REMOTE.format("../store"))
    ready.commit()
    assert "the DVC remote store has a relative path" in refused(ready)


@pytest.mark.parametrize(("codes", "expected"), [([0, -9, 0, 75, 0, 0], 0), ([-9] * 3, -9), ([0, 1], 1), ([1], 1)])
def test_killed_worker_is_started_again_on_its_node(
    codes: list[int], expected: int, ready: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt has one code for preparing the data, and one for the run."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    write_bundle(ready.root, tmp_path / "repository")
    left, jobs, config = list(codes), [], Path(".dvc/config.local")
    (tmp_path / f"losslab-ray-{os.getuid()}").mkdir(mode=0o755)

    def work(job: WorkerJob, environment: dict[str, str]) -> tuple[int, str]:
        jobs.append(job)
        local = Path(job.home) / config
        assert local.read_bytes() == b"password" and local.stat().st_mode & 0o777 == 0o600
        write_text(Path(job.slot) / config, "password")
        Path(str(job.result)).write_bytes(b"result")
        return left.pop(0), "log"

    monkeypatch.setattr(ray_engine, "_run_worker", work)
    sent: dict[str, Any] = {
        "repository": b"",
        "id": "1",
        "local_config": b"password",
        "baseline": "0" * 40,
        "prefix": ".",
    }
    sent["environment"] = {}
    run = plan_runs(ready.read())[0]
    result = ray_engine._run_on_node(sent, run.name, run.params)
    assert result == (expected, "log", b"result" if expected == 0 else b"") and not left
    assert {job.experiment for job in jobs} <= {None, run.name} and jobs[0].experiment is None
    assert Path(jobs[0].home).exists() == (expected != 0), "what can go on stays"
    assert not list(tmp_path.rglob("losslab-ray-*/**/config.local")), "but no password"
    assert Path(jobs[0].home).parent.stat().st_mode & 0o777 == 0o700


def test_folder_on_a_node_that_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "anothers").mkdir()
    (tmp_path / f"losslab-ray-{os.getuid()}").symlink_to("anothers")
    with pytest.raises(InputError, match="belongs to another user, or is a link: remove it"):
        ray_engine._make_node_folder()


@pytest.mark.parametrize(
    ("device", "has_gpus", "gpus"),
    [("cpu", True, 0), ("auto", False, 0), ("auto", True, 2), ("cuda", True, 2), ("cuda", False, 2)],
)
def test_task_asks_for_the_gpus_of_its_run_and_sees_no_others(
    device: str, has_gpus: bool, gpus: int, repository: Repository
) -> None:
    repository.study("small", STUDY | {"params": {"train": {"device": device, "devices": 2, "batch_size": 4}}})
    options: dict[str, Any] = _build_options(plan_runs(repository.read())[0], has_gpus)
    assert options["num_gpus"] == gpus
    assert options["runtime_env"]["env_vars"].get("CUDA_VISIBLE_DEVICES", "Ray's") == ("Ray's" if gpus else "")


def test_passwords_of_killed_tasks_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    places = [tmp_path / name / folder for name in ("killed", "going") for folder in ("", "slot/sub/project")]
    for place in places:
        (place / ".dvc").mkdir(parents=True)
        (place / ".dvc/config.local").write_text("password")
    with _open_task_lock(tmp_path / "going"):
        _clear_left_passwords(tmp_path)
    assert [(place / ".dvc/config.local").exists() for place in places] == [False, False, True, True]
