"""Runs of a study on a Ray cluster: each in its own clone; its outs go to the DVC remote, its commit comes back."""

import hashlib
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.config_schema import RelPath
from filelock import FileLock, Timeout
from sqlalchemy import make_url

from losslab import tracking
from losslab.errors import InputError, mask_credentials
from losslab.experiments import clone
from losslab.io.files import make_folder, write_private, write_text
from losslab.io.git import find_prefix, read_file_at
from losslab.study.engine import MAX_ATTEMPTS, EndedRun, describe_failure
from losslab.study.plan import StudyRun
from losslab.study.state import StudyState
from losslab.study.worker import WorkerJob, end_leftover, start_worker

NODE_FOLDER = "losslab-ray"
"""Name of a node's temporary folder, with a DVC cache for all runs and a folder for each that is going on."""
LOCAL_CONFIG = Path(".dvc/config.local")
FORWARDED_PREFIXES = ("MLFLOW_", "AWS_", "AZURE_", "GOOGLE_", "OMP_")
"""Prefixes of environment variables that are sent to the nodes: MLflow's URI, the passwords of remotes."""
CONNECT_TIMEOUT_S = 10.0
"""Seconds a cluster has to answer."""


class RayEngine:
    """Tasks on a Ray cluster, one for each run."""

    shares_data = False

    def __init__(self, state: StudyState, baseline: str, address: str | None, jobs: int) -> None:
        self.ray, self.state, self.baseline, self.jobs = _import_ray(), state, baseline, jobs
        _check_address(address)
        _check_tracking(os.environ.get("MLFLOW_TRACKING_URI"))
        _check_remote(state.root, baseline)
        local = state.root / LOCAL_CONFIG
        sent = {
            "repository": _bundle_repository(state.root),
            "prefix": find_prefix(state.root).as_posix(),
            "id": tracking.read_repository_id(state.root),
            "local_config": local.read_bytes() if local.is_file() else None,
            "baseline": baseline,
            "environment": {key: value for key, value in os.environ.items() if key.startswith(FORWARDED_PREFIXES)},
        }
        _connect(self.ray, address)
        self.has_gpus = self.ray.cluster_resources().get("GPU", 0) > 0
        self.shared = self.ray.put(sent)
        self.works: dict[Any, tuple[StudyRun, float]] = {}

    def prepare(self, run: StudyRun) -> EndedRun:
        return EndedRun(run, 0.0)  # each node makes them, once

    def has_free_slot(self) -> bool:
        return len(self.works) < self.jobs

    def start(self, run: StudyRun) -> None:
        task = self.ray.remote(_run_on_node).options(**_build_options(run, self.has_gpus))
        self.works[task.remote(self.shared, run.name, run.params)] = (run, time.monotonic())

    def collect_ended(self) -> list[EndedRun]:
        if not self.works:
            return []
        ready, _ = self.ray.wait(list(self.works), num_returns=1, timeout=0.5)
        return [self._receive(task) for task in ready]

    def list_working(self) -> list[StudyRun]:
        return [run for run, _ in self.works.values()]

    def close(self) -> None:
        self.works = {}
        self.ray.shutdown()  # ends this driver's tasks

    def _receive(self, task: Any) -> EndedRun:
        run, began = self.works.pop(task)
        seconds, result = time.monotonic() - began, b""
        try:
            code, log, result = self.ray.get(task)
            reason = describe_failure(code, log) if code != 0 else None
        except Exception as error:  # Ray's own: a node or its worker died too often, or has no losslab
            log = str(error)
            lines = [line.strip() for line in log.splitlines() if line.strip()] or [type(error).__name__]
            reason = f"Ray: {lines[-1 if isinstance(error, self.ray.exceptions.RayTaskError) else 0]}"  # of a traceback
        path = self.state.find_log(run.name)
        make_folder(path.parent)
        write_private(path, mask_credentials(log).encode())
        if reason is not None:
            return EndedRun(run, seconds, reason)
        received = self.state.folder / f"{run.name}.bundle"
        received.write_bytes(result)
        clone.fetch_bundle(received, self.state.root, run.name, self.baseline)
        received.unlink()
        return EndedRun(run, seconds)


def _build_options(run: StudyRun, has_gpus: bool) -> dict[str, Any]:
    """Build Ray's options for a run: it gets the GPUs that it trains on, and sees no others.

    Args:
        has_gpus: whether the cluster has any. All runs on `auto` then ask for one, so that cells have the same hardware.
    """
    train = run.params["train"]
    gpus = train["devices"] if train["device"] == "cuda" or (train["device"] == "auto" and has_gpus) else 0
    # Ray would kill the worker alone; the worker ends all it started when this task is gone.
    variables = {"RAY_kill_child_processes_on_worker_exit": "false"} | ({} if gpus else {"CUDA_VISIBLE_DEVICES": ""})
    return {
        "name": run.name,
        "max_retries": MAX_ATTEMPTS - 1,  # where Ray's own process is killed
        "num_gpus": gpus,
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": variables},
    }


def _run_on_node(sent: dict[str, Any], name: str, params: dict[str, Any]) -> tuple[int, str, bytes]:
    """Do a run, or go on from its checkpoint; return its exit code, its output, and the experiment as a Git bundle."""
    node_folder = _make_node_folder()
    _clear_left_passwords(node_folder)
    home = node_folder / hashlib.md5(f"{sent['id']} {sent['baseline']} {name}".encode()).hexdigest()
    with _open_task_lock(home):
        return _run_in(home, sent, name, params)


def _run_in(home: Path, sent: dict[str, Any], name: str, params: dict[str, Any]) -> tuple[int, str, bytes]:
    node_folder = home.parent
    (home / LOCAL_CONFIG).parent.mkdir(parents=True, exist_ok=True)
    (home / "source.bundle").write_bytes(sent["repository"])
    write_text(home / ".losslab/id", sent["id"])
    if sent["local_config"] is not None:
        write_private(home / LOCAL_CONFIG, sent["local_config"])
    job = WorkerJob(
        home=str(home),
        source=str(home / "source.bundle"),
        prefix=sent["prefix"],
        slot=str(home / "slot"),
        cache=str(node_folder / "cache"),
        baseline=sent["baseline"],
        params=params,
        experiment=None,
        parent=os.getpid(),
        result=str(home / "result.bundle"),
    )
    try:
        for _ in range(MAX_ATTEMPTS):
            end_leftover(Path(job.slot))
            shutil.rmtree(job.slot, ignore_errors=True)
            # The first run makes the data; the others find them in the cache.
            with FileLock(node_folder / f"{params['dataset']}.lock"):
                code, log = _run_worker(job, sent["environment"])
            if code == 0:
                code, log = _run_worker(replace(job, experiment=name), sent["environment"])
            if not clone.was_killed(code, log):
                break
    finally:  # passwords; the next attempt brings them again
        for folder in (home, Path(job.slot, job.prefix)):
            (folder / LOCAL_CONFIG).unlink(missing_ok=True)
    if code != 0:
        return code, log, b""
    bundle = (home / "result.bundle").read_bytes()
    shutil.rmtree(home, ignore_errors=True)
    return code, log, bundle


def _open_task_lock(home: Path) -> FileLock:
    return FileLock(home.with_suffix(".task"))


def _clear_left_passwords(node_folder: Path) -> None:
    """Remove the passwords of tasks that were killed on this node, with their node or without: they removed none."""
    for path in [*node_folder.glob(f"*/{LOCAL_CONFIG}"), *node_folder.glob(f"*/slot/**/{LOCAL_CONFIG}")]:
        home = node_folder / path.relative_to(node_folder).parts[0]
        with suppress(Timeout), _open_task_lock(home).acquire(timeout=0):  # else the task goes on
            path.unlink(missing_ok=True)


def _make_node_folder() -> Path:
    """Make this user's folder on this node, closed to others: passwords pass it. Raises InputError if it is taken."""
    folder = Path(tempfile.gettempdir()) / f"{NODE_FOLDER}-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.getuid() or not stat.S_ISDIR(about.st_mode):
        raise InputError(f"{folder} on {socket.gethostname()} belongs to another user, or is a link: remove it")
    folder.chmod(0o700)
    return folder


def _run_worker(job: WorkerJob, environment: dict[str, str]) -> tuple[int, str]:
    """Run a worker to its end, and return its exit code and output."""
    log = Path(job.home) / "log"
    inherited = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}  # Ray's; it changes bits
    # subprocess.run() too would kill the worker alone.
    code = start_worker(job, Path(job.home) / "job.json", log, env=inherited | environment).wait()
    return code, log.read_text(encoding="utf-8", errors="replace")


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here would call home
    try:
        return import_module("ray")
    except ModuleNotFoundError:
        raise InputError("--engine ray: Ray is not installed; run uv pip install 'losslab[ray]'") from None


def _connect(ray: Any, address: str | None) -> None:
    before = signal.getsignal(signal.SIGTERM)  # `study stop` needs this handler, which Ray replaces
    with tempfile.TemporaryFile() as output:  # Ray's C++ writes past Python
        stderr = os.dup(2)
        os.dup2(output.fileno(), 2)
        try:
            ray.init(address=address, log_to_driver=False, logging_level="error")
        except Exception as error:  # Ray's own, of many types
            output.seek(0)
            token = "it needs RAY_AUTH_MODE=token and the token" if b"AuthToken" in output.read() else None
            raise _build_connect_error(address, token or " ".join(str(error).split())) from None
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            signal.signal(signal.SIGTERM, before)


def _check_address(address: str | None) -> None:
    """Raise InputError at once if nobody listens at an address; Ray would try for minutes."""
    if address in ("auto", "local"):
        return
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        fault = f"--address {address}: must be" if address else "--engine ray needs --address:"
        raise InputError(f"{fault} HOST:PORT of the cluster's head, auto on one of its nodes, or local to start one")
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise _build_connect_error(address, str(error)) from None


def _build_connect_error(address: str | None, reason: str) -> InputError:
    return InputError(f"--address {address}: cannot connect to a Ray cluster: {reason}")


def _check_tracking(uri: str | None) -> None:
    if not uri:
        raise InputError("--engine ray needs MLFLOW_TRACKING_URI: set it to a server that all nodes can reach")
    if uri.startswith("sqlite") and not Path(make_url(uri).database or "").is_absolute():
        raise InputError(
            f"MLFLOW_TRACKING_URI is {uri}, a different file on each node; use a server, or an absolute path"
        )


def _check_remote(root: Path, baseline: str) -> None:
    """Raise InputError if the nodes cannot reach the DVC remote: they have the committed config and config.local alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config").write_text(read_file_at(root, baseline, ".dvc/config"), encoding="utf-8")
        if (root / LOCAL_CONFIG).is_file():
            shutil.copy(root / LOCAL_CONFIG, folder)
        levels = [Config(folder, validate=False).load_one(level) for level in ("local", "repo")]
    name = next(filter(None, (level["core"].get("remote") for level in levels)), None)
    url = next(filter(None, (level["remote"].get(name, {}).get("url") for level in levels)), None)
    if url is None:
        raise InputError(
            "--engine ray needs a DVC remote for the outs: run dvc remote add -d NAME URL, and commit .dvc/config"
        )
    if isinstance(url, RelPath):
        raise InputError(
            f"--engine ray: the DVC remote {name} has a relative path, a different folder on each node; make it absolute"
        )


def _bundle_repository(root: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repository.bundle"
        clone.write_bundle(root, path)
        return path.read_bytes()
