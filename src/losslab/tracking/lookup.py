"""Runs in MLflow, as those who look for one need them; nothing here writes."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from losslab.errors import InputError
from losslab.tracking.runs import DURATION, HARDWARE, THREADS
from losslab.tracking.store import (
    BASELINE,
    EXPERIMENT,
    HAS_OUTS,
    MODEL_MD5,
    OUTS,
    REPORT_MD5,
    TrackingStore,
    store_errors,
    store_exists,
)

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun


@dataclass(frozen=True)
class TrackedRun:
    """A run that was trained to its end, as MLflow has it."""

    run_id: str
    name: str
    experiment: str | None
    """Of DVC."""
    baseline: str | None
    """The commit that it ran on."""
    model_md5: str
    report_md5: str | None
    has_outs: bool
    """Whether its record can be downloaded; runs of an older losslab have none."""
    train_seconds: float | None
    hardware: str | None
    threads: int | None


def list_tracked_runs(root: Path) -> list[TrackedRun]:
    """All trained runs, newest first; none where there is no store.

    Raises:
        InputError: the store cannot be used.
    """
    if not store_exists(root):
        return []
    with store_errors():
        return [_tracked(run) for run in list_trained_runs(TrackingStore(root))]


def download_outs(run: TrackedRun, folder: Path, root: Path, path: str | None = None) -> None:
    """Copy a run's record, or one file of it, into a folder, under the paths that it has in a repository.

    Raises:
        InputError: it has none, or the store cannot be used.
    """
    if not run.has_outs:
        raise InputError(
            f"MLflow run {run.run_id} has no artifacts {OUTS}/: an older losslab recorded it; `losslab sync`, where it was "
            "run, adds them"
        )
    with store_errors(), TemporaryDirectory() as name:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        got = TrackingStore(root).client.download_artifacts(run.run_id, f"{OUTS}/{path}" if path else OUTS, name)
        if path is None:
            shutil.copytree(got, folder, dirs_exist_ok=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(got, folder / path)


def list_trained_runs(store: TrackingStore) -> "list[MlflowRun]":
    """Newest first. In Python: names may hold any quotes, and MLflow cannot ask for one of several tags."""
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    found: list[Any] = []
    token = None
    while experiments:
        page = store.client.search_runs(
            experiments, f"tags.`{MODEL_MD5}` != ''", order_by=["attributes.start_time DESC"], page_token=token
        )
        found += page
        if not (token := page.token):
            break
    return found


def _tracked(run: "MlflowRun") -> TrackedRun:
    tags = run.data.tags
    return TrackedRun(
        run.info.run_id,
        run.info.run_name,
        tags.get(EXPERIMENT),
        tags.get(BASELINE),
        tags[MODEL_MD5],
        tags.get(REPORT_MD5),
        HAS_OUTS in tags,
        float(tags[f"{DURATION}.train"]) if f"{DURATION}.train" in tags else None,
        tags.get(HARDWARE),
        int(tags[THREADS]) if tags.get(THREADS, "").isdigit() else None,
    )
