"""A temporary clone with tiny data, in which commands run as a user's would."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from losslab.experiments.clone import METRICS
from losslab.experiments.finished_runs import list_experiments
from losslab.tracking.store import TrackingStore
from tests.conftest import ROOT, TINY_CARD, TINY_CHANGES, merge
from tests.fork_server import start_server

QUICK: dict[str, Any] = {"arch": "simple_cnn", "encoder": None}
"""A net that needs neither smp nor timm, whose imports take seconds of every stage."""


@cache
def _make_store_folder() -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory()
    TrackingStore(Path(folder.name))
    return folder


def make_empty_store() -> Path:
    """An MLflow store without runs: MLflow takes seconds to make one, so the clones of this process share a copy."""
    return Path(_make_store_folder().name, "mlflow.db")


class Clone:
    """A committed copy of the working tree, in which commands run as a user's would."""

    def __init__(self, folder: Path, changes: dict[str, Any] | None = None, preloaded: bool = True) -> None:
        """Make one with tiny data, whose commands are forks of one process (`tests.fork_server`) or real processes."""
        self.folder, self.preloaded = folder, preloaded
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "data/catalog/tiny.yaml").write_text(yaml.safe_dump(TINY_CARD), encoding="utf-8")
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        (folder / "params.yaml").write_text(
            yaml.safe_dump(merge(params, merge(merge(TINY_CHANGES, QUICK), changes or {}))), encoding="utf-8"
        )
        for name in ("dvc.lock", METRICS):
            (folder / name).unlink(missing_ok=True)
        self.run("git init -q -b main && git config user.name t && git config user.email t@t && git add -A")
        self.run("git commit -q -m start")
        self.empty_store()

    @classmethod
    def open(cls, folder: Path) -> "Clone":
        """One that is there already."""
        clone = cls.__new__(cls)
        clone.folder, clone.preloaded = folder, True
        return clone

    def empty_store(self) -> None:
        """Put an MLflow store without runs in the place of the one that is there."""
        shutil.rmtree(self.folder / "mlartifacts", ignore_errors=True)
        shutil.copy(make_empty_store(), self.folder / "mlflow.db")

    @property
    def environment(self) -> dict[str, str]:
        left_out = ("DVC_", "MLFLOW_", "GIT_", "OMP_", "PYTHONDONTWRITEBYTECODE")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        inherited["OMP_NUM_THREADS"] = "1"  # more would hold up the other tests
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return inherited | {"PATH": path, "PYTHONPATH": str(self.folder / "src")}

    @property
    def preloaded_environment(self) -> dict[str, str]:
        return self.environment | {"PATH": f"{start_server()}{os.pathsep}{self.environment['PATH']}"}

    def run(self, command: str, ok: bool = True, **environment: str) -> str:
        env = (self.preloaded_environment if self.preloaded else self.environment) | environment
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == ok, output
        return output

    def outs(self) -> dict[str, bytes]:
        places = ("data/raw", "data/prepared", "models", "reports")
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for place in places
            for path in sorted((self.folder / place).rglob("*"))
            if path.is_file() and path.name != ".gitignore"
        }

    def mlflow(self) -> MlflowClient:
        """A client on a copy: within one process MLflow keeps a store open, also one that was deleted and made anew."""
        copy = self.folder / ".losslab" / f"{time.monotonic_ns()}.db"
        shutil.copy(self.folder / "mlflow.db", copy)
        return MlflowClient(f"sqlite:///{copy}")

    def wait_for_experiments(self, *names: str, seconds: float = 300) -> None:
        """Wait until DVC's queue has finished experiments of these names; asking DVC itself takes a second each time."""
        deadline = time.monotonic() + seconds
        while not {*names} <= {name for name, _, _ in list_experiments(self.folder)}:
            assert time.monotonic() < deadline, self.run("dvc queue status")
            time.sleep(0.1)

    def runs(self) -> list[Run]:
        client = self.mlflow()
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments))


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)
