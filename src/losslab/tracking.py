"""MLflow: the only module that talks to it. Files are the source of truth; a run in MLflow is their copy.

The train stage begins a run and logs each epoch while it trains; evaluate and report find that run by the md5 of the model
and complete it. Whatever a store lacks (it was down, or DVC took the outs from its cache and no stage ran) is rebuilt from
the outs. Nothing here may stop a stage: the first failure is told in one line, and the run goes on without MLflow.
"""

import getpass
import logging
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from losslab.errors import InputError
from losslab.files import file_md5, read_csv, read_json, whole, write_text
from losslab.params import Params
from losslab.schema import read_yaml

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_MD5, DATA_MD5, REPORT_MD5 = "losslab.model_md5", "losslab.data_md5", "losslab.report_md5"
EXPERIMENT, BASELINE, HARDWARE, DURATION = "dvc.experiment", "dvc.baseline_rev", "losslab.hardware", "losslab.seconds"
KEY, REPOSITORY = "losslab.run_key", "losslab.repository"
FINAL = {"test": "test", "val": "best_val"}
"""Splits of metrics.json → prefixes in MLflow: `val_miou` is the series over epochs, `best_val_miou` the kept model's."""
Warn = Callable[[str], None]


class Run:
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
                run.store.client.log_batch(run.run_id, metrics=_metrics(row, epoch))
                run.last_epoch = epoch

        if not self.failed:
            self._try(log)

    def trained(self, models: Path, seconds: float) -> None:
        """Name the model that came out, by which later stages find this run, and add what they lack."""
        tags = {MODEL_MD5: file_md5(models / "model.safetensors"), f"{DURATION}.train": f"{seconds:.1f}"}
        self._try(lambda run: run.store.client.log_batch(run.run_id, tags=_run_tags(tags)))

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
    store: "_Store"
    run_id: str
    last_epoch: int = -1
    """The last that the store has, maybe from before an interruption."""


@contextmanager
def training_run(
    params: Params, key: str, data_md5: str, hardware: str, root: Path, warn: Warn, resumed: bool = False
) -> Iterator[Run]:
    """Begin a run, or go on with one that was interrupted, and end it as FINISHED, KILLED or FAILED.

    The body logs to what is yielded.

    Args:
        key: what the run's result depends on, as one hash: an interrupted run is found by it.
        root: the main DVC repository, where the store lies unless MLFLOW_TRACKING_URI says otherwise.
        resumed: whether some of its epochs were trained by a process that was killed.
    """

    def open_run() -> _Opened:
        store = _Store(root)
        experiment = os.environ.get("DVC_EXP_NAME")
        tags = _tags(data_md5, experiment) | {HARDWARE: hardware, KEY: key}
        with store.lock:
            tags |= {REPOSITORY: _repository(root)}
        found = store.interrupted(params.dataset, tags, resumed)
        if found is None:
            return _Opened(store, store.create(params.model_dump(), tags))
        store.reopen(found.info.run_id, params.model_dump(), tags)
        return _Opened(store, found.info.run_id, int(found.data.metrics.get("epoch", -1)))

    # Importing MLflow and opening its store takes seconds, which the first steps need not wait for.
    with ThreadPoolExecutor(1) as beside:
        run = Run(beside.submit(open_run), warn)
        try:
            yield run
        except BaseException as error:
            run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        run.end("FINISHED")


def record(outs: Path, root: Path, warn: Warn, stage: Literal["evaluate", "report"], seconds: float) -> None:
    """After a stage: bring the run of these outs up to date in MLflow, and note how long the stage took.

    While evaluate runs, the report in the workspace is still that of the run before: only report uploads it.
    """
    try:
        store, model_md5 = _Store(root), file_md5(outs / "models/model.safetensors")
        run_id = store.complete(outs, model_md5, os.environ.get("DVC_EXP_NAME"), with_report=stage == "report")
        store.client.set_tag(run_id, f"{DURATION}.{stage}", f"{seconds:.1f}")
    except Exception as error:
        warn(_unreachable(error))


def is_recorded(dataset: str, model_md5: str, report_md5: str, experiment: str | None, root: Path) -> bool:
    """Whether MLflow holds the complete run of this model and report, and of this DVC experiment where one is named.

    Raises:
        InputError: the store cannot be used.
    """
    tags = {MODEL_MD5: model_md5, REPORT_MD5: report_md5} | ({EXPERIMENT: experiment} if experiment else {})
    with _told():
        return bool(_Store(root).search(dataset, tags))


def rebuild(outs: Path, model_md5: str, experiment: str | None, baseline: str | None, root: Path) -> None:
    """Make MLflow hold the run of these outs.

    Args:
        outs: a folder with params.yaml, models/model.json and reports/… as a run left them.
        experiment, baseline: the DVC experiment they are of and its baseline revision; None: the workspace.

    Raises:
        InputError: the store cannot be used.
    """
    with _told():
        store = _Store(root)
        run_id = store.complete(outs, model_md5, experiment, with_report=True)
        if baseline is not None:
            store.client.set_tag(run_id, BASELINE, baseline)


class _Store:
    """A tracking store: the one MLFLOW_TRACKING_URI names, else `mlflow.db` at the root of the main repository.

    A SQLite store is made whole, by one process at a time: two at once break it, and so does one that is killed half-way.
    A relative path is meant from the root, and artifacts lie beside the store: a queued experiment works in a folder that
    DVC deletes.
    """

    def __init__(self, root: Path) -> None:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        self.database = (root / uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None
        self.lock = FileLock(
            root / ".losslab/mlflow.lock"
            if self.database is None
            else self.database.with_name(f".{self.database.name}.lock")
        )
        Path(self.lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        mlflow_client = _mlflow_client()
        if self.database is None:
            self.client = mlflow_client(uri)
        else:
            with self.lock:
                if not self.database.exists():
                    with whole(self.database) as partial:
                        mlflow_client(f"sqlite:///{partial}")
                self.client = mlflow_client(f"sqlite:///{self.database}")

    def experiment(self, dataset: str) -> str:
        """The id of the MLflow experiment of this dataset, made when it is not there."""
        with self.lock:
            found = self.client.get_experiment_by_name(dataset)
            if found is None:
                place = (self.database.parent / "mlartifacts" / dataset).as_uri() if self.database else None
                return str(self.client.create_experiment(dataset, artifact_location=place))
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def create(self, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Begin a run; returns its id."""
        experiment, name = self.experiment(params["dataset"]), _name(params, tags)
        run_id = str(self.client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id)
        self._log_params(run_id, params)
        return run_id

    def interrupted(self, dataset: str, tags: Mapping[str, str], resumed: bool) -> Any | None:
        """The newest run of this key and repository that was not trained to its end, or that has no report and is of the
        same DVC experiment or about to be resumed.

        An experiment that is queued again has another name: what is left of the first is its beginning. A store may be
        shared, and in another repository the same run may be going on.
        """
        for run in self.search(dataset, {name: tags[name] for name in (KEY, REPOSITORY)}):
            unfinished = run.info.status != "FINISHED"
            same = resumed or run.data.tags.get(EXPERIMENT) == tags.get(EXPERIMENT)
            if unfinished or (same and REPORT_MD5 not in run.data.tags):
                return run
        return None

    def reopen(self, run_id: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Let an interrupted run go on, as a run of these tags."""
        self.client.update_run(run_id, status="RUNNING", name=_name(params, tags))
        known = self.client.get_run(run_id).data
        if EXPERIMENT not in tags and EXPERIMENT in known.tags:
            self.client.delete_tag(run_id, EXPERIMENT)
        self.client.log_batch(run_id, tags=_run_tags(tags))
        if not known.params:
            self._log_params(run_id, params)

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in _flatten(params)])

    def search(self, dataset: str, tags: Mapping[str, str]) -> list[Any]:
        """The runs with these tags, newest first."""
        conditions = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return list(
            self.client.search_runs([self.experiment(dataset)], conditions, order_by=["attributes.start_time DESC"])
        )

    def find(self, dataset: str, model_md5: str, experiment: str | None) -> str | None:
        """The newest run of this model and DVC experiment.

        Without an experiment: one that belongs to none, or that an experiment left without a report, as when `dvc repro`
        goes on where `dvc exp run` stopped. A complete run of an experiment is never taken for the workspace's.
        """
        if experiment is not None:
            runs = self.search(dataset, {MODEL_MD5: model_md5, EXPERIMENT: experiment})
        else:
            found = self.search(dataset, {MODEL_MD5: model_md5})
            runs = [run for run in found if EXPERIMENT not in run.data.tags]
            runs += [run for run in found if REPORT_MD5 not in run.data.tags]
        return str(runs[0].info.run_id) if runs else None

    def complete(self, outs: Path, model_md5: str, experiment: str | None, with_report: bool) -> str:
        """Make the run of these outs hold all that they say: create it when it is not there, add what it lacks."""
        params = read_yaml(outs / "params.yaml")
        run_id = self.find(params["dataset"], model_md5, experiment)
        if run_id is None:
            tags = _tags(read_json(outs / "models/model.json")["data_md5"], experiment)
            run_id = self.create(params, tags | {MODEL_MD5: model_md5})
        run = self.client.get_run(run_id)
        if run.info.status == "RUNNING":  # the model is there, so training has ended
            self.client.set_terminated(run_id, "FINISHED")
        logged = run.data.metrics
        metrics = []
        for row in read_csv(outs / "reports/history.csv"):
            values = {key: float(value) for key, value in row.items() if value}
            if values["epoch"] > logged.get("epoch", -1):
                metrics += _metrics(values, int(values["epoch"]))
        scores = read_json(outs / "reports/metrics.json")
        final = {f"{FINAL[split]}_{key}": value for split in FINAL for key, value in _flatten(scores[split], "_")}
        metrics += _metrics({key: value for key, value in final.items() if logged.get(key) != value}, 0)
        for start in range(0, len(metrics), 1000):  # MLflow's limit for one batch
            self.client.log_batch(run_id, metrics=metrics[start : start + 1000])
        if with_report:
            report = outs / "reports/report.html"
            self.client.log_artifact(run_id, str(report))
            self.client.log_artifacts(run_id, str(outs / "reports/figures"), "figures")
            self.client.log_batch(run_id, tags=_run_tags({REPORT_MD5: file_md5(report)}))
        return run_id


def _name(params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    net = "-".join(str(params[key]) for key in ("arch", "encoder") if params[key] is not None)
    name = f"{params['loss']} {net} seed {params['seed']}"
    return f"{tags[EXPERIMENT]}: {name}" if EXPERIMENT in tags else name


def _mlflow_client() -> "type[MlflowClient]":
    # A store that does not answer must not hold up training; MLflow would try for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):  # MLflow sets its level at import; creating a store is no news
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient


def _tags(data_md5: str, experiment: str | None) -> dict[str, str]:
    tags = {DATA_MD5: data_md5, "mlflow.source.name": "dvc.yaml", "mlflow.source.type": "PROJECT"}
    with suppress(OSError, KeyError):  # no such user in a container
        tags["mlflow.user"] = getpass.getuser()
    optional = {EXPERIMENT: experiment, BASELINE: os.environ.get("DVC_EXP_BASELINE_REV") or _git_head()}
    return tags | {key: value for key, value in optional.items() if value}


def _repository(root: Path) -> str:
    """What tells this clone of the repository from others with which it shares a store: made once, and kept."""
    path = root / ".losslab/id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")


def _git_head() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _run_tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]


def _metrics(values: Mapping[str, Any], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(key, float(value), now, step) for key, value in values.items() if value is not None and value == value
    ]


def _flatten(values: Mapping[str, Any], joint: str = ".", prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, joint, f"{prefix}{key}{joint}")
        else:
            yield f"{prefix}{key}", value


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise InputError(f"{_store_name()} cannot be used: {_reason(error)}") from error


def _unreachable(error: Exception) -> str:
    return f"{_store_name()} cannot be used: {_reason(error)}; the run goes on without it, `losslab sync` adds it later"


def _store_name() -> str:
    return f"MLflow at {os.environ.get('MLFLOW_TRACKING_URI') or 'mlflow.db'}"


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
