"""The MLflow store of a repository: where it lies, how it is made and found, and runs in it."""

import getpass
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from losslab.errors import InputError
from losslab.io.files import atomic_write, flatten, read_csv, read_json
from losslab.io.git import find_commit
from losslab.io.hashing import compute_file_md5
from losslab.io.yaml import read_yaml

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_MD5, DATA_MD5, REPORT_MD5 = "losslab.model_md5", "losslab.data_md5", "losslab.report_md5"
EXPERIMENT, BASELINE = "dvc.experiment", "dvc.baseline_rev"
KEY, REPOSITORY = "losslab.run_key", "losslab.repository"
NOTE = "mlflow.note.content"
"""What MLflow's page of a run shows as its description."""
OUTS = "outs"
"""The artifact folder with a run's record: what of the repository tells what it was and what came out, under the same paths."""
HAS_OUTS = "losslab.outs"
LOCK = "dvc.lock"
KEPT = (
    "params.yaml",
    LOCK,
    "models/model.json",
    "reports/history.csv",
    "reports/metrics.json",
    "reports/evaluation.json",
    "reports/per_class.csv",
    "reports/per_image.csv",
    "reports/strata.csv",
)
"""What OUTS holds. While the report stage runs, its own entry in dvc.lock is still that of the run before, or missing."""
SCORING = ("resolution", "tta", "tolerances")
"""Of params.evaluate: what scores depend on."""
FINAL = {"test": "test", "val": "best_val"}
"""Splits of metrics.json → prefixes in MLflow: `val_miou` is the series over epochs, `best_val_miou` the kept model's."""


class TrackingStore:
    """A tracking store: the one MLFLOW_TRACKING_URI names, else `mlflow.db` at the root of the main repository.

    A SQLite store is made whole, by one process at a time: two at once break it, and so does one that is killed half-way.
    A relative path is meant from the root, and artifacts lie beside the store: a queued experiment works in a folder that
    DVC deletes.
    """

    def __init__(self, root: Path) -> None:
        uri = _uri()
        self.database = _database(root)
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
                    with atomic_write(self.database) as partial:
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
        self._describe(run_id, tags.get(EXPERIMENT))
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
        self.client.log_batch(run_id, tags=build_run_tags(tags))
        if known.tags.get(NOTE) in (None, _note(run_id, known.tags.get(EXPERIMENT))):  # else somebody wrote one
            self._describe(run_id, tags.get(EXPERIMENT))
        if not known.params:
            self._log_params(run_id, params)

    def _describe(self, run_id: str, experiment: str | None) -> None:
        self.client.set_tag(run_id, NOTE, _note(run_id, experiment))

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flatten(params).items()])

    def search(self, dataset: str, tags: Mapping[str, str]) -> list[Any]:
        """The runs with these tags, newest first."""
        conditions = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return list(
            self.client.search_runs([self.experiment(dataset)], conditions, order_by=["attributes.start_time DESC"])
        )

    def find(self, params: Mapping[str, Any], model_md5: str, experiment: str | None) -> str | None:
        """The newest run of this model and DVC experiment, scored as `params` say: another resolution is another run, as
        neither params nor metrics of a run can be taken back.

        Without an experiment: one that belongs to none, or that an experiment left without a report, as when `dvc repro`
        goes on where `dvc exp run` stopped. A complete run of an experiment is never taken for the workspace's.
        """
        of_experiment = {EXPERIMENT: experiment} if experiment is not None else {}
        scoring = {f"evaluate.{key}": str(params["evaluate"][key]) for key in SCORING}
        found = self.search(params["dataset"], {MODEL_MD5: model_md5} | of_experiment)
        runs = [run for run in found if scoring.items() <= run.data.params.items()]
        if experiment is None:
            finished = [run for run in runs if EXPERIMENT not in run.data.tags]
            runs = finished + [run for run in runs if REPORT_MD5 not in run.data.tags]
        return str(runs[0].info.run_id) if runs else None

    def complete(self, outs: Path, model_md5: str, experiment: str | None, with_report: bool) -> str:
        """Make the run of these outs hold all that they say: create it when it is not there, add what it lacks."""
        params = read_yaml(outs / "params.yaml")
        run_id = self.find(params, model_md5, experiment)
        if run_id is None:
            tags = build_tags(read_json(outs / "models/model.json")["data_md5"], experiment)
            run_id = self.create(params, tags | {MODEL_MD5: model_md5})
        run = self.client.get_run(run_id)
        if NOTE not in run.data.tags:  # of an older losslab
            self._describe(run_id, run.data.tags.get(EXPERIMENT))
        if run.info.status == "RUNNING":  # the model is there, so training has ended
            self.client.set_terminated(run_id, "FINISHED")
        logged = run.data.metrics
        metrics = []
        for row in read_csv(outs / "reports/history.csv"):
            values = {key: float(value) for key, value in row.items() if value}
            if values["epoch"] > logged.get("epoch", -1):
                metrics += build_metrics(values, int(values["epoch"]))
        scores = read_json(outs / "reports/metrics.json")
        final = {
            f"{FINAL[split]}_{key}": value for split in FINAL for key, value in flatten(scores[split], "_").items()
        }
        metrics += build_metrics({key: value for key, value in final.items() if logged.get(key) != value}, 0)
        for start in range(0, len(metrics), 1000):  # MLflow's limit for one batch
            self.client.log_batch(run_id, metrics=metrics[start : start + 1000])
        if with_report:
            report = outs / "reports/report.html"
            self.client.log_artifact(run_id, str(report))
            self.client.log_artifacts(run_id, str(outs / "reports/figures"), "figures")
            self._keep(run_id, outs)
            self.client.log_batch(run_id, tags=build_run_tags({REPORT_MD5: compute_file_md5(report), HAS_OUTS: OUTS}))
        return run_id

    def _keep(self, run_id: str, outs: Path) -> None:
        """Upload the run's record, all at once."""
        with TemporaryDirectory() as name:
            for path in (path for path in KEPT if (outs / path).is_file()):
                (Path(name) / path).parent.mkdir(exist_ok=True)
                shutil.copyfile(outs / path, Path(name) / path)
            self.client.log_artifacts(run_id, name, OUTS)


def store_exists(root: Path) -> bool:
    """Whether there is a store to look into; a server is taken to be."""
    database = _database(root)
    return database is None or database.exists()


def _uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def _database(root: Path) -> Path | None:
    """The file of a SQLite store; None for a server."""
    uri = _uri()
    return (root / uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _name(params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    net = "-".join(str(params[key]) for key in ("arch", "encoder") if params[key] is not None)
    name = f"{params['loss']} {net} seed {params['seed']}"
    return f"{tags[EXPERIMENT]}: {name}" if EXPERIMENT in tags else name


def _note(run_id: str, experiment: str | None) -> str:
    lines = [
        f"`losslab reproduce {run_id}` puts this run into the workspace,",
        f"`losslab verify {run_id}` runs it again and compares.",
    ]
    return " ".join(lines) + (f"\n\nDVC experiment `{experiment}`" if experiment is not None else "")


def _mlflow_client() -> "type[MlflowClient]":
    # A store that does not answer must not hold up training; MLflow would try for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):  # MLflow sets its level at import; creating a store is no news
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient


def build_tags(data_md5: str, experiment: str | None) -> dict[str, str]:
    tags = {DATA_MD5: data_md5, "mlflow.source.name": "dvc.yaml", "mlflow.source.type": "PROJECT"}
    with suppress(OSError, KeyError):  # no such user in a container
        tags["mlflow.user"] = getpass.getuser()
    optional = {EXPERIMENT: experiment, BASELINE: os.environ.get("DVC_EXP_BASELINE_REV") or find_commit(Path(), "HEAD")}
    return tags | {key: value for key, value in optional.items() if value}


def build_run_tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]


def build_metrics(values: Mapping[str, Any], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [
        Metric(key, float(value), now, step) for key, value in values.items() if value is not None and value == value
    ]


@contextmanager
def store_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise InputError(f"{describe_store()} cannot be used: {shorten_reason(error)}") from error


def describe_store() -> str:
    return f"MLflow at {os.environ.get('MLFLOW_TRACKING_URI') or 'mlflow.db'}"


def shorten_reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
