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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock

from losslab.errors import InputError
from losslab.files import file_md5, read_csv, read_json, whole
from losslab.params import Params

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_MD5, DATA_MD5, REPORT_MD5 = "losslab.model_md5", "losslab.data_md5", "losslab.report_md5"
EXPERIMENT, BASELINE, HARDWARE, DURATION = "dvc.experiment", "dvc.baseline_rev", "losslab.hardware", "losslab.seconds"
FINAL = {"test": "test", "val": "best_val"}
"""Splits of metrics.json → prefixes in MLflow: `val_miou` is the series over epochs, `best_val_miou` the kept model's."""
Warn = Callable[[str], None]


class Run:
    """One MLflow run that is being trained. Without a client (no store) every call does nothing."""

    def __init__(self, client: "MlflowClient | None", run_id: str, warn: Warn) -> None:
        self.client, self.run_id, self.warn = client, run_id, warn

    def log_epoch(self, row: Mapping[str, float]) -> None:
        """Log one row of history.csv."""
        with self._best_effort() as client:
            client.log_batch(self.run_id, metrics=_metrics(row, int(row["epoch"])))

    def trained(self, models: Path, seconds: float) -> None:
        """Name the model that came out, by which later stages find this run."""
        self.tag({MODEL_MD5: file_md5(models / "model.safetensors"), f"{DURATION}.train": f"{seconds:.1f}"})

    def tag(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        with self._best_effort() as client:
            client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def end(self, status: str) -> None:
        with self._best_effort() as client:
            client.set_terminated(self.run_id, status)

    @contextmanager
    def _best_effort(self) -> Iterator[Any]:
        try:
            yield self.client or _Nothing()
        except Exception as error:
            self.client = None
            self.warn(_unreachable(error))


class _Nothing:
    """Stands in for a client where there is no store."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None


@contextmanager
def training_run(params: Params, data_md5: str, hardware: str, root: Path, warn: Warn) -> Iterator[Run]:
    """Begin a run, and end it as FINISHED, KILLED or FAILED; the body logs to what is yielded.

    Args:
        root: the main DVC repository, where the store lies unless MLFLOW_TRACKING_URI says otherwise.
    """
    run = Run(None, "", warn)
    try:
        client = _client(root)
        tags = _tags(data_md5, experiment=None) | {HARDWARE: hardware}
        run = Run(client, _create(client, params.model_dump(), tags, root), warn)
    except Exception as error:
        warn(_unreachable(error))
    try:
        yield run
    except BaseException as error:
        run.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    run.end("FINISHED")


def record(outs: Path, root: Path, warn: Warn, stage: str, seconds: float) -> None:
    """After a stage: bring the run of these outs up to date in MLflow, and note how long the stage took."""
    try:
        client = _client(root)
        run_id = _complete(client, outs, file_md5(outs / "models/model.safetensors"), None, root)
        client.set_tag(run_id, f"{DURATION}.{stage}", f"{seconds:.1f}")
    except Exception as error:
        warn(_unreachable(error))


def is_recorded(dataset: str, model_md5: str, report_md5: str, experiment: str | None, root: Path) -> bool:
    """Whether MLflow holds the complete run of this model and report, and of this DVC experiment where one is named.

    Raises:
        InputError: the store cannot be used.
    """
    with _told():
        client = _client(root)
        run_id = _find(client, dataset, model_md5, experiment, root)
        return run_id is not None and client.get_run(run_id).data.tags.get(REPORT_MD5) == report_md5


def rebuild(outs: Path, model_md5: str, experiment: str | None, baseline: str | None, root: Path) -> None:
    """Make MLflow hold the run of these outs.

    Args:
        outs: a folder with params.yaml, models/model.json and reports/… as a run left them.
        experiment, baseline: the DVC experiment they are of and its baseline revision; None: the workspace.

    Raises:
        InputError: the store cannot be used.
    """
    with _told():
        client = _client(root)
        run_id = _complete(client, outs, model_md5, experiment, root)
        if baseline is not None:
            client.set_tag(run_id, BASELINE, baseline)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise InputError(f"{_store_name()} cannot be used: {_reason(error)}") from error


def _client(root: Path) -> "MlflowClient":
    # A store that does not answer must not hold up training; MLflow would try for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):  # MLflow sets its level at import; creating a store is no news
        logging.getLogger(name).setLevel(logging.ERROR)

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return MlflowClient(uri)
    database = (root / "mlflow.db").resolve()
    with _one_at_a_time(root):
        if not database.exists():
            with whole(database) as partial:  # killed meanwhile, it would leave a store that nobody can open
                MlflowClient(f"sqlite:///{partial}")
        return MlflowClient(f"sqlite:///{database}")


def _one_at_a_time(root: Path) -> FileLock:
    """Processes that create one SQLite store, or one experiment, at once break it or each other."""
    lock = root / ".losslab/mlflow.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def _experiment(client: "MlflowClient", dataset: str, root: Path) -> str:
    """The id of the MLflow experiment of this dataset, made when it is not there.

    Artifacts of a local store lie beside it, not where the process that came first happened to run.
    """
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    with _one_at_a_time(root):
        found = client.get_experiment_by_name(dataset)
        if found is None:
            place = (root / "mlartifacts" / dataset).resolve().as_uri() if local else None
            return str(client.create_experiment(dataset, artifact_location=place))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def _create(client: "MlflowClient", params: Mapping[str, Any], tags: Mapping[str, str], root: Path) -> str:
    from mlflow.entities import Param

    experiment_id = _experiment(client, params["dataset"], root)
    net = "-".join(str(params[key]) for key in ("arch", "encoder") if params[key] is not None)
    name = f"{params['loss']} {net} seed {params['seed']}"
    if EXPERIMENT in tags:
        name = f"{tags[EXPERIMENT]}: {name}"
    run = client.create_run(experiment_id, run_name=name, tags=dict(tags))
    flat = [Param(key, str(value)) for key, value in _flatten(params)]
    client.log_batch(run.info.run_id, params=flat)
    return str(run.info.run_id)


def _tags(data_md5: str, experiment: str | None) -> dict[str, str]:
    tags = {DATA_MD5: data_md5, "mlflow.source.name": "dvc.yaml", "mlflow.source.type": "PROJECT"}
    experiment = experiment or os.environ.get("DVC_EXP_NAME")
    baseline = os.environ.get("DVC_EXP_BASELINE_REV") or _git_head()
    with suppress(OSError, KeyError):  # no such user in a container
        tags["mlflow.user"] = getpass.getuser()
    optional = {EXPERIMENT: experiment, BASELINE: baseline}
    return tags | {key: value for key, value in optional.items() if value}


def _git_head() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _find(client: "MlflowClient", dataset: str, model_md5: str, experiment: str | None, root: Path) -> str | None:
    """The newest run of this model, and of this DVC experiment where one is named."""
    experiment = experiment or os.environ.get("DVC_EXP_NAME")
    conditions = {MODEL_MD5: model_md5} | ({EXPERIMENT: experiment} if experiment else {})
    runs = client.search_runs(
        [_experiment(client, dataset, root)],
        " and ".join(f"tags.`{key}` = '{value}'" for key, value in conditions.items()),
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return str(runs[0].info.run_id) if runs else None


def _complete(client: "MlflowClient", outs: Path, model_md5: str, experiment: str | None, root: Path) -> str:
    """Make the run of these outs hold all that they say: create it when it is not there, add what it lacks."""
    from mlflow.entities import RunTag

    params = yaml.safe_load((outs / "params.yaml").read_text(encoding="utf-8"))
    run_id = _find(client, params["dataset"], model_md5, experiment, root)
    if run_id is None:
        tags = _tags(read_json(outs / "models/model.json")["data_md5"], experiment) | {MODEL_MD5: model_md5}
        run_id = _create(client, params, tags, root)
    run = client.get_run(run_id)
    if run.info.status == "RUNNING":  # the model is there, so training has ended
        client.set_terminated(run_id, "FINISHED")
    logged = run.data.metrics
    metrics = []
    for row in read_csv(outs / "reports/history.csv"):
        values = {key: float(value) for key, value in row.items() if value}
        if "train_loss" not in logged or int(values["epoch"]) > logged.get("epoch", -1):
            metrics += _metrics(values, int(values["epoch"]))
    if (outs / "reports/metrics.json").is_file():
        scores = read_json(outs / "reports/metrics.json")
        final = {f"{FINAL[split]}_{key}": value for split in FINAL for key, value in _flatten(scores[split], "_")}
        metrics += _metrics({key: value for key, value in final.items() if logged.get(key) != value}, 0)
    for start in range(0, len(metrics), 1000):  # MLflow's limit for one batch
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    report = outs / "reports/report.html"
    if report.is_file():
        client.log_artifact(run_id, str(report))
        client.log_artifacts(run_id, str(outs / "reports/figures"), "figures")
        client.log_batch(run_id, tags=[RunTag(REPORT_MD5, file_md5(report))])
    return run_id


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


def _unreachable(error: Exception) -> str:
    return f"{_store_name()} cannot be used: {_reason(error)}; the run goes on without it, `losslab sync` adds it later"


def _store_name() -> str:
    return f"MLflow at {os.environ.get('MLFLOW_TRACKING_URI') or 'mlflow.db'}"


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
