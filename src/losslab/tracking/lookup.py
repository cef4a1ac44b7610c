"""Trained runs in MLflow are listed, and their records downloaded; nothing here writes to the store."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from losslab.errors import InputError
from losslab.tracking.description import EXPERIMENT
from losslab.tracking.runs import DURATION, HARDWARE, THREADS
from losslab.tracking.store import (
    BASELINE,
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


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A run that was trained to its end, as MLflow has it."""

    run_id: str
    name: str
    experiment: str | None
    baseline: str | None
    """The commit that the run began on."""
    model_md5: str
    report_md5: str | None
    has_outs: bool
    """Whether the run's record can be downloaded; runs of an older losslab have none."""
    train_seconds: float | None
    hardware: str | None
    threads: int | None


def list_tracked_runs(root: Path) -> list[TrackedRun]:
    """Return all trained runs, newest first; none if there is no store. Raises InputError if it cannot be used."""
    with store_errors():
        if not store_exists(root):
            return []
        return [_build_tracked_run(run) for run in list_trained_runs(TrackingStore(root))]


def download_outs(run: TrackedRun, folder: Path, root: Path, path: str | None = None) -> None:
    """Copy a run's record, or one file of it, into a folder, under the same paths. Raises InputError if it has none."""
    if not run.has_outs:
        raise InputError(
            f"MLflow run {run.run_id} has no artifacts {OUTS}/, because an older losslab recorded it; run `losslab sync` in its "
            "repository to add them"
        )
    with store_errors(), TemporaryDirectory() as name:
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        source = TrackingStore(root).client.download_artifacts(run.run_id, f"{OUTS}/{path}" if path else OUTS, name)
        if path is None:
            shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / path)


def list_trained_runs(store: TrackingStore) -> "list[MlflowRun]":
    """Return all runs with a model, newest first, for callers to filter: MLflow cannot search for names with quotes."""
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    return store.search_all(experiments, f"tags.`{MODEL_MD5}` != ''")


def _build_tracked_run(run: "MlflowRun") -> TrackedRun:
    tags = run.data.tags
    return TrackedRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        experiment=tags.get(EXPERIMENT),
        baseline=tags.get(BASELINE),
        model_md5=tags[MODEL_MD5],
        report_md5=tags.get(REPORT_MD5),
        has_outs=HAS_OUTS in tags,
        train_seconds=float(tags[f"{DURATION}.train"]) if f"{DURATION}.train" in tags else None,
        hardware=tags.get(HARDWARE),
        threads=int(tags[THREADS]) if tags.get(THREADS, "").isdigit() else None,
    )
