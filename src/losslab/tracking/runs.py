"""Runs in MLflow: the train stage begins one, later stages complete it, and it can be rebuilt from the outs."""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from losslab.errors import find_killed_worker
from losslab.io.files import JsonObject, write_json, write_text
from losslab.io.hashing import compute_file_md5
from losslab.params import Params
from losslab.tracking.datasets import RunData
from losslab.tracking.store import (
    BASELINE,
    EXPERIMENT,
    HAS_OUTS,
    KEY,
    MODEL_MD5,
    NOTES,
    OUTS,
    REPORT_MD5,
    REPOSITORY,
    TrackingStore,
    build_metrics,
    build_run_tags,
    build_tags,
    describe_failure,
    store_errors,
)
from losslab.tracking.system_metrics import SystemMeter

HARDWARE, DURATION = "losslab.hardware", "losslab.seconds"
THREADS = "losslab.threads"
"""Tag with the number of threads in each process; another number rounds differently."""
Warn = Callable[[str], None]


class TrainingRun:
    """An MLflow run that is being trained. Without a store every call does nothing."""

    def __init__(self, opening: "Future[_OpenRun]", warn: Warn, root: Path, params: Params, key: str) -> None:
        self.opening, self.warn = opening, warn
        self.root, self.dataset, self.key, self.weights = root, params.dataset, key, params.mlflow.weights
        self.failed = False
        self.unknown: dict[str, str] = {}
        """Tags that the store lacks."""

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Log a row of history.csv that the store lacks, with what was measured besides and the machine's load.

        None after a failure, as it must not delay training.
        """
        epoch = int(row["epoch"])

        def log(run: _OpenRun) -> None:
            if epoch > run.last_epoch:
                metrics = build_metrics({**row, **run.system.measure()}, epoch, run.data)
                run.store.client.log_batch(run.run_id, metrics=metrics)
                run.last_epoch = epoch

        if not self.failed:
            self._try(log)

    def log_model(self, models: Path, seconds: float) -> None:
        """Log the trained model, by whose md5 later stages find this run, and the seconds it took."""
        tags = {MODEL_MD5: compute_file_md5(models / "model.safetensors"), f"{DURATION}.train": f"{seconds:.1f}"}
        if not self._try(lambda run: run.store.client.log_batch(run.run_id, tags=build_run_tags(tags))):
            self.unknown = tags
        elif not self.failed:
            self._try(lambda run: self._log_net(run, models))

    def _log_net(self, run: "_OpenRun", models: Path) -> None:
        client, energy = run.store.client, run.system.stop()
        if energy:
            tags = build_run_tags({f"losslab.{name}": f"{value:.6g}" for name, value in energy.items()})
            client.log_batch(run.run_id, metrics=build_metrics(energy, run.last_epoch, run.data), tags=tags)
        run.store.log_model(client.get_run(run.run_id), models, self.weights)

    def end(self, status: str) -> None:
        """End the run; if the store does not hear of it, leave a note for later stages and `losslab sync`."""
        ended_ms = int(time.time() * 1000)
        ended = self._try(lambda run: run.store.terminate(run.store.client.get_run(run.run_id), status, ended_ms))
        if not ended or self.unknown:
            note: JsonObject = {"dataset": self.dataset, "key": self.key, "repository": read_repository_id(self.root)}
            note |= {"tags": self.unknown, "status": status, "ended_ms": ended_ms}
            with suppress(OSError):
                write_json(self.root / NOTES / f"{self.key}.json", note)

    def _try(self, call: "Callable[[_OpenRun], object]") -> bool:
        """Call a function with the run, and return whether it did well; the first that does not is a warning."""
        if self.opening.done() and self.opening.exception() is not None and self.failed:
            return False  # there is no run, and a warning said so
        try:
            call(self.opening.result())
        except Exception as error:
            if find_killed_worker(error):
                raise
            if not self.failed:
                self.warn(_describe_failure(error))
            self.failed = True
            return False
        return True


@dataclass
class _OpenRun:
    store: "TrackingStore"
    run_id: str
    data: RunData
    system: SystemMeter
    last_epoch: int = -1
    """Last epoch that the store has; it may be from before an interruption."""


@contextmanager
def track_training(
    params: Params,
    key: str,
    data_md5: str,
    hardware: str,
    root: Path,
    warn: Warn,
    resumed: bool = False,
    began: float | None = None,
) -> Iterator[TrainingRun]:
    """Begin a run, or go on with an interrupted one; yield it to log to, and end it as FINISHED, KILLED or FAILED.

    Args:
        key: a hash of everything the run's result depends on, by which an interrupted run is found.
        root: the main DVC repository, which has the store unless MLFLOW_TRACKING_URI names another.
        resumed: whether a process that was killed trained some of the epochs.
        began: when the stage began, on the monotonic clock; None for now.
    """
    began_ms = int(1000 * (time.time() - (time.monotonic() - began if began is not None else 0)))
    data = RunData(params.dataset, data_md5)
    threads = _build_threads_tag(params)  # in this thread: torch may report another number in others

    def open_run() -> _OpenRun:
        store = TrackingStore(root)
        experiment = os.environ.get("DVC_EXP_NAME")
        tags = build_tags(data_md5, experiment) | threads | {HARDWARE: hardware, KEY: key}
        with store.lock:
            tags |= {REPOSITORY: read_repository_id(root)}
        interrupted = store.find_interrupted(params.dataset, tags, resumed)
        (root / NOTES / f"{key}.json").unlink(missing_ok=True)
        if interrupted is None:
            run_id, last_epoch = store.create(params.model_dump(), tags, began_ms), -1
        else:
            run_id, last_epoch = interrupted.info.run_id, int(interrupted.data.metrics.get("epoch", -1))
            store.reopen(run_id, params.model_dump(), tags)
        store.log_datasets(run_id, data, Path())
        meter = SystemMeter()
        ending.callback(meter.stop)
        return _OpenRun(store, run_id, data, meter, last_epoch)

    # Importing MLflow and opening its store takes seconds, which the first steps need not wait for.
    with ExitStack() as ending, ThreadPoolExecutor(1) as beside:
        run = TrainingRun(beside.submit(open_run), warn, root, params, key)
        try:
            yield run
        except BaseException as error:
            run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        run.end("FINISHED")


def record_stage(outs: Path, root: Path, warn: Warn, stage: Literal["evaluate", "report"], seconds: float) -> None:
    """Bring the run of these outs up to date in MLflow after a stage, and log how long the stage took.

    While evaluate runs, the report in the workspace is still from the run before: only report uploads it.
    """
    try:
        store, model_md5 = TrackingStore(root), compute_file_md5(outs / "models/model.safetensors")
        run_id = store.complete(outs, model_md5, os.environ.get("DVC_EXP_NAME"), with_report=stage == "report")
        store.client.set_tag(run_id, f"{DURATION}.{stage}", f"{seconds:.1f}")
    except Exception as error:
        warn(_describe_failure(error))


def _build_threads_tag(params: Params) -> dict[str, str]:
    """Build the tag with the number of threads; none if Lightning shares them out among processes that it starts."""
    if threads := os.environ.get("OMP_NUM_THREADS"):
        return {THREADS: threads}
    if params.train.devices * params.train.nodes > 1:
        return {}
    import torch

    return {THREADS: str(torch.get_num_threads())}


def is_recorded(dataset: str, model_md5: str, report_md5: str, experiment: str | None, root: Path) -> bool:
    """Return whether MLflow has the complete run of these outs. Raises InputError if the store cannot be used.

    Args:
        experiment: the DVC experiment that the run must belong to; None for any or none.
    """
    tags = {MODEL_MD5: model_md5, REPORT_MD5: report_md5, HAS_OUTS: OUTS}
    tags |= {EXPERIMENT: experiment} if experiment else {}
    with store_errors():
        return bool(TrackingStore(root).search(dataset, tags))


def rebuild_run(outs: Path, model_md5: str, experiment: str | None, baseline: str | None, root: Path) -> None:
    """Make the run of these outs complete in MLflow. Raises InputError if the store cannot be used.

    Args:
        outs: a folder with params.yaml, models/model.json and reports/… as a run left them.
        experiment: the DVC experiment of the outs; None for the workspace.
        baseline: the commit that the experiment began on.
    """
    with store_errors():
        store = TrackingStore(root)
        run_id = store.complete(outs, model_md5, experiment, with_report=True)
        if baseline is not None:
            store.client.set_tag(run_id, BASELINE, baseline)


def end_lost_runs(root: Path) -> None:
    """End the runs in MLflow whose training ended while it was away. Raises InputError if the store cannot be used."""
    if any((root / NOTES).glob("*.json")):
        with store_errors():
            TrackingStore(root).end_lost_runs()


def read_repository_id(root: Path) -> str:
    """Read the id that tells this clone of the repository from others that share its store; make one if it has none."""
    path = root / ".losslab/id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")


def _describe_failure(error: Exception) -> str:
    return f"{describe_failure(error)}; continuing without it: run `losslab sync` later to add the run"
