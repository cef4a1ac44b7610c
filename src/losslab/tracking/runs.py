"""Runs in MLflow as copies of what a run leaves on disk: begun by train, completed by later stages, rebuilt from outs."""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from losslab.io.files import write_text
from losslab.io.hashing import compute_file_md5
from losslab.params import Params
from losslab.tracking.store import (
    BASELINE,
    EXPERIMENT,
    HAS_OUTS,
    KEY,
    MODEL_MD5,
    OUTS,
    REPORT_MD5,
    REPOSITORY,
    TrackingStore,
    build_metrics,
    build_run_tags,
    build_tags,
    describe_store,
    shorten_reason,
    store_errors,
)

HARDWARE, DURATION = "losslab.hardware", "losslab.seconds"
THREADS = "losslab.threads"
"""That computed, in each process: another number rounds differently."""
Warn = Callable[[str], None]


class TrainingRun:
    """One MLflow run that is being trained. Without a store every call does nothing."""

    def __init__(self, opening: "Future[_Opened]", warn: Warn) -> None:
        self.opening, self.warn = opening, warn
        self.failed = False

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Log one row of history.csv that the store does not have yet.

        After a failure none is tried again: a store that hangs must not hold up each epoch.
        """
        epoch = int(row["epoch"])

        def log(run: _Opened) -> None:
            if epoch > run.last_epoch:
                run.store.client.log_batch(run.run_id, metrics=build_metrics(row, epoch))
                run.last_epoch = epoch

        if not self.failed:
            self._try(log)

    def trained(self, models: Path, seconds: float) -> None:
        """Name the model that came out, by which later stages find this run, and add what they lack."""
        tags = {MODEL_MD5: compute_file_md5(models / "model.safetensors"), f"{DURATION}.train": f"{seconds:.1f}"}
        self._try(lambda run: run.store.client.log_batch(run.run_id, tags=build_run_tags(tags)))

    def end(self, status: str) -> None:
        self._try(lambda run: run.store.client.set_terminated(run.run_id, status))

    def _try(self, call: "Callable[[_Opened], object]") -> None:
        if self.opening.done() and self.opening.exception() is not None and self.failed:
            return  # there is no run, and that has been told
        try:
            call(self.opening.result())
        except Exception as error:
            if not self.failed:
                self.warn(_unreachable(error))
            self.failed = True


@dataclass
class _Opened:
    store: "TrackingStore"
    run_id: str
    last_epoch: int = -1
    """The last that the store has, maybe from before an interruption."""


@contextmanager
def track_training(
    params: Params, key: str, data_md5: str, hardware: str, root: Path, warn: Warn, resumed: bool = False
) -> Iterator[TrainingRun]:
    """Begin a run, or go on with one that was interrupted, and end it as FINISHED, KILLED or FAILED.

    The body logs to what is yielded.

    Args:
        key: what the run's result depends on, as one hash: an interrupted run is found by it.
        root: the main DVC repository, where the store lies unless MLFLOW_TRACKING_URI says otherwise.
        resumed: whether some of its epochs were trained by a process that was killed.
    """
    threads = _threads(params)  # asked here: another thread may be told another number

    def open_run() -> _Opened:
        store = TrackingStore(root)
        experiment = os.environ.get("DVC_EXP_NAME")
        tags = build_tags(data_md5, experiment) | threads | {HARDWARE: hardware, KEY: key}
        with store.lock:
            tags |= {REPOSITORY: read_repository_id(root)}
        found = store.interrupted(params.dataset, tags, resumed)
        if found is None:
            return _Opened(store, store.create(params.model_dump(), tags))
        store.reopen(found.info.run_id, params.model_dump(), tags)
        return _Opened(store, found.info.run_id, int(found.data.metrics.get("epoch", -1)))

    # Importing MLflow and opening its store takes seconds, which the first steps need not wait for.
    with ThreadPoolExecutor(1) as beside:
        run = TrainingRun(beside.submit(open_run), warn)
        try:
            yield run
        except BaseException as error:
            run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        run.end("FINISHED")


def record_stage(outs: Path, root: Path, warn: Warn, stage: Literal["evaluate", "report"], seconds: float) -> None:
    """After a stage: bring the run of these outs up to date in MLflow, and note how long the stage took.

    While evaluate runs, the report in the workspace is still that of the run before: only report uploads it.
    """
    try:
        store, model_md5 = TrackingStore(root), compute_file_md5(outs / "models/model.safetensors")
        run_id = store.complete(outs, model_md5, os.environ.get("DVC_EXP_NAME"), with_report=stage == "report")
        store.client.set_tag(run_id, f"{DURATION}.{stage}", f"{seconds:.1f}")
    except Exception as error:
        warn(_unreachable(error))


def _threads(params: Params) -> dict[str, str]:
    """The tag that says how many threads compute; none where Lightning shares them out among processes it starts."""
    import torch

    if (told := os.environ.get("OMP_NUM_THREADS")) is None and params.train.devices * params.train.nodes > 1:
        return {}
    return {THREADS: told or str(torch.get_num_threads())}


def is_recorded(dataset: str, model_md5: str, report_md5: str, experiment: str | None, root: Path) -> bool:
    """Whether MLflow holds the complete run of this model and report with its record, and of this DVC experiment where one
    is named.

    Raises:
        InputError: the store cannot be used.
    """
    tags = {MODEL_MD5: model_md5, REPORT_MD5: report_md5, HAS_OUTS: OUTS} | (
        {EXPERIMENT: experiment} if experiment else {}
    )
    with store_errors():
        return bool(TrackingStore(root).search(dataset, tags))


def rebuild_run(outs: Path, model_md5: str, experiment: str | None, baseline: str | None, root: Path) -> None:
    """Make MLflow hold the run of these outs.

    Args:
        outs: a folder with params.yaml, models/model.json and reports/… as a run left them.
        experiment, baseline: the DVC experiment they are of and its baseline revision; None: the workspace.

    Raises:
        InputError: the store cannot be used.
    """
    with store_errors():
        store = TrackingStore(root)
        run_id = store.complete(outs, model_md5, experiment, with_report=True)
        if baseline is not None:
            store.client.set_tag(run_id, BASELINE, baseline)


def read_repository_id(root: Path) -> str:
    """What tells this clone of the repository from others with which it shares a store: made once, and kept."""
    path = root / ".losslab/id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")


def _unreachable(error: Exception) -> str:
    return f"{describe_store()} cannot be used: {shorten_reason(error)}; the run goes on without it, `losslab sync` adds it later"
