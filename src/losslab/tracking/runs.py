"""Runs in MLflow: the train stage begins one, later stages complete it, and it can be rebuilt from the outs."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from losslab.errors import find_killed_worker
from losslab.io.files import JsonObject, read_json, write_json
from losslab.io.hashing import compute_file_md5
from losslab.params import Params
from losslab.tracking import bounded_client
from losslab.tracking.bounded_client import run_beside
from losslab.tracking.datasets import RunData, build_metrics, log_datasets
from losslab.tracking.description import EXPERIMENT
from losslab.tracking.store import (
    BASELINE,
    HAS_OUTS,
    KEY,
    MODEL_MD5,
    NOTES,
    OUTS,
    REPORT_MD5,
    REPOSITORY,
    TrackingStore,
    build_run_tags,
    build_tags,
    describe_failure,
    read_repository_id,
    store_errors,
)
from losslab.tracking.system_metrics import SystemMeter

HARDWARE, DURATION = "losslab.hardware", "losslab.seconds"
THREADS = "losslab.threads"
"""Tag with the number of threads in each process; another number rounds differently."""
RECORDED = Path(".losslab/recorded.json")
"""Note that MLflow has a run, where its stages ran: whoever waits for them need not import MLflow to know."""
Warn = Callable[[str], None]


class TrainingRun:
    """An MLflow run that is being trained. Without a store every call does nothing."""

    def __init__(self, opening: "Future[_OpenRun]", warn: Warn, root: Path, params: Params, key: str) -> None:
        self.opening, self.warn = opening, warn
        self.root, self.dataset, self.key, self.weights = root, params.dataset, key, params.mlflow.weights
        self.failed = False
        is_file = (os.environ.get("MLFLOW_TRACKING_URI") or "sqlite").strip().startswith("sqlite")
        self.patience_s = threading.TIMEOUT_MAX if is_file else bounded_client.CALL_TIMEOUT_S
        """Seconds that training may still wait for the store to be opened; a file does not hang."""
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
            call(self._wait_for_opening())
        except Exception as error:
            if find_killed_worker(error):
                raise
            if not self.failed:
                self.warn(_describe_failure(error))
            self.failed = True
            return False
        return True

    def _wait_for_opening(self) -> "_OpenRun":
        """Wait for MLflow to be imported and its store to be opened, which takes seconds that the first steps did not wait."""
        began = time.monotonic()
        try:
            return self.opening.result(self.patience_s)
        except TimeoutError:
            if self.opening.done():
                raise
            raise TimeoutError(f"no answer in {bounded_client.CALL_TIMEOUT_S:.0f} s") from None
        finally:
            self.patience_s = max(0.0, self.patience_s - (time.monotonic() - began))


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
        log_datasets(store.client, run_id, data, Path())
        return _OpenRun(store, run_id, data, SystemMeter(), last_epoch)

    run = TrainingRun(run_beside(open_run)[0], warn, root, params, key)
    try:
        yield run
    except BaseException as error:
        run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    finally:
        run.opening.add_done_callback(_stop_meter)
    run.end("FINISHED")


def _stop_meter(opening: "Future[_OpenRun]") -> None:
    if opening.exception() is None:
        opening.result().system.stop()


def record_stage(outs: Path, root: Path, warn: Warn, stage: Literal["evaluate", "report"], seconds: float) -> None:
    """Bring the run of these outs up to date in MLflow after a stage, and log how long the stage took.

    While evaluate runs, the report in the workspace is still from the run before: only report uploads it.
    """
    try:
        store, model_md5 = TrackingStore(root), compute_file_md5(outs / "models/model.safetensors")
        experiment = os.environ.get("DVC_EXP_NAME")
        run_id = store.complete(outs, model_md5, experiment, with_report=stage == "report")
        store.client.set_tag(run_id, f"{DURATION}.{stage}", f"{seconds:.1f}")
        if stage == "report":
            report_md5 = compute_file_md5(outs / "reports/report.html")
            write_json(outs / RECORDED, _build_recorded(model_md5, report_md5, experiment))
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


def open_store(root: Path) -> TrackingStore:
    """Open the store of a repository. Raises InputError if it cannot be used."""
    with store_errors():
        return TrackingStore(root)


def is_recorded(dataset: str, model_md5: str, report_md5: str, experiment: str | None, store: TrackingStore) -> bool:
    """Return whether MLflow has the complete run of these outs, and its artifacts. Raises InputError if it cannot be used.

    Args:
        experiment: the DVC experiment that the run must belong to; None for any or none.
    """
    tags = {MODEL_MD5: model_md5, REPORT_MD5: report_md5, HAS_OUTS: OUTS}
    tags |= {EXPERIMENT: experiment} if experiment else {}
    with store_errors():
        # Runs of an older losslab have neither datasets nor models.
        runs = [run for run in store.search(dataset, tags) if run.inputs.dataset_inputs and run.outputs.model_outputs]
        return any(map(store.has_artifacts, runs))


def is_noted(outs: Path, model_md5: str, report_md5: str, experiment: str | None) -> bool:
    """Return whether the report stage has left a note that MLflow has the complete run of these outs."""
    try:
        return read_json(outs / RECORDED) == _build_recorded(model_md5, report_md5, experiment)
    except FileNotFoundError:
        return False


def rebuild_run(outs: Path, model_md5: str, experiment: str | None, baseline: str | None, store: TrackingStore) -> None:
    """Make the run of these outs complete in MLflow. Raises InputError if the store cannot be used.

    Args:
        outs: a folder with params.yaml, models/model.json and reports/… as a run left them.
        experiment: the DVC experiment of the outs; None for the workspace.
        baseline: the commit that the experiment began on.
    """
    with store_errors():
        run_id = store.complete(outs, model_md5, experiment, with_report=True)
        if baseline is not None:
            store.client.set_tag(run_id, BASELINE, baseline)


def end_lost_runs(root: Path) -> None:
    """End the runs in MLflow whose training ended while it was away. Raises InputError if the store cannot be used."""
    if any((root / NOTES).glob("*.json")):
        with store_errors():
            TrackingStore(root).end_lost_runs()


def _build_recorded(model_md5: str, report_md5: str, experiment: str | None) -> JsonObject:
    return {"model_md5": model_md5, "report_md5": report_md5, "experiment": experiment}


def _describe_failure(error: Exception) -> str:
    return f"{describe_failure(error)}; continuing without it: run `losslab sync` later to add the run"
