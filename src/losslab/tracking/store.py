"""The MLflow store of a repository, and the runs in it."""

import getpass
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filelock import FileLock

from losslab.errors import InputError
from losslab.formats import format_line
from losslab.io.files import atomic_write, flatten, make_folder, read_csv, read_json, write_text
from losslab.io.git import find_commit
from losslab.io.hashing import compute_file_md5
from losslab.io.yaml import read_yaml
from losslab.params import RECORDING
from losslab.tracking.bounded_client import BoundedClient
from losslab.tracking.datasets import RunData, build_metrics, log_datasets
from losslab.tracking.description import EXPERIMENT, NOTE, build_name, build_note, select_params
from losslab.tracking.logged_models import log_trained_model

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy import URL

MODEL_MD5, DATA_MD5, REPORT_MD5 = "losslab.model_md5", "losslab.data_md5", "losslab.report_md5"
BASELINE = "dvc.baseline_rev"
KEY, REPOSITORY = "losslab.run_key", "losslab.repository"
OUTS = "outs"
"""Artifact folder with a run's record: the files that describe the run and its results, under the same paths."""
HAS_OUTS = "losslab.outs"
LOCK = "dvc.lock"
RECORD_FILES = (
    "params.yaml",
    LOCK,
    "models/model.json",
    "reports/history.csv",
    "reports/metrics.json",
    "reports/scores.json",
    "reports/evaluation.json",
    "reports/per_class.csv",
    "reports/per_image.csv",
    "reports/strata.csv",
)
"""Files of a run's record. While the report stage runs, its entry in dvc.lock is missing, or from the run before."""
DRIVER = "sqlite+pysqlite"
SCORING_KEYS = ("resolution", "tta", "tolerances")
"""Keys of params.evaluate that scores depend on."""
SPLIT_GROUPS = {"test": "test", "val": "best_val"}
"""Split of scores.json → group in MLflow: `val/miou` is the series over epochs, `best_val/miou` is the kept model's."""


NOTES = Path(".losslab/lost_runs")
"""Folder with a note of each run whose end the store does not know, by its key."""
DELETED_PLACE = re.compile(r"/(\.losslab|\.dvc/tmp)/.*/mlruns/")
"""Pattern of an artifact location that MLflow chose in the folder of a run, which is deleted."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Tag of an experiment by which MLflow's pages show runs and models, not traces."""


class TrackingStore:
    """A tracking store: the one that MLFLOW_TRACKING_URI names, else `mlflow.db` at the root of the main repository.

    A SQLite store is made in one piece, by one process at a time: two at once break it, and so does a kill half-way. A relative
    path starts at the root, and artifacts lie beside the store, because a queued experiment works in a folder that DVC deletes.
    """

    def __init__(self, root: Path) -> None:
        url = find_sqlite_url(root)
        self.database = database = Path(url.database) if url is not None and url.database else None
        lock = root / ".losslab/mlflow.lock" if database is None else database.with_name(f".{database.name}.lock")
        make_folder(lock.parent)
        self.lock = FileLock(lock)
        self.root, self.notes = root, root / NOTES
        client = _import_client()
        self.client: Any
        if url is None or database is None:
            self.client = BoundedClient(client, read_uri())
        else:
            with self.lock:
                if not database.exists():
                    with atomic_write(database) as partial:
                        client(url.set(database=str(partial)).render_as_string(hide_password=False))
                self.client = client(read_uri(root))

    def get_experiment(self, dataset: str) -> str:
        """Return the id of a dataset's MLflow experiment; make or restore the experiment if necessary."""
        with self.lock:
            experiment = self.client.get_experiment_by_name(dataset)
            if experiment is None:
                return str(self.client.create_experiment(dataset, self._find_location(dataset), KIND))
            if experiment.lifecycle_stage == "deleted":
                self.client.restore_experiment(experiment.experiment_id)
            _check_location(experiment)
            return str(experiment.experiment_id)

    def _find_location(self, dataset: str) -> str | None:
        """Find where the artifacts of a new experiment go; None: its server says so.

        Without a server it is MLflow's client that decides, and it takes the folder that it happens to run in.
        """
        if self.database is None and read_uri().startswith(("http", "databricks")):
            return None
        folder = self.database.parent if self.database is not None else self.root.resolve()
        return (folder / "mlartifacts" / dataset).as_uri()

    def create(self, params: Mapping[str, Any], tags: Mapping[str, str], began_ms: int | None = None) -> str:
        """Create a run, which began then or begins now, and return its id."""
        experiment, name = self.get_experiment(params["dataset"]), build_name(params, tags)
        run = self.client.create_run(experiment, began_ms, dict(tags), name)
        self._log_params(run.info.run_id, params)
        self.client.set_tag(run.info.run_id, NOTE, build_note(run))
        return str(run.info.run_id)

    def find_interrupted(self, dataset: str, tags: Mapping[str, str], resumed: bool) -> Any | None:
        """Return the newest run of this key and repository that can go on; None if there is none.

        It was not trained to its end, or has no report and belongs to the same DVC experiment or is being resumed. An experiment
        that is queued again has another name, and goes on with the run of the first. The repository counts because a store may
        be shared, and the same run may be going on in another repository.
        """
        for run in self.search(dataset, {name: tags[name] for name in (KEY, REPOSITORY)}):
            unfinished = run.info.status != "FINISHED"
            same = resumed or run.data.tags.get(EXPERIMENT) == tags.get(EXPERIMENT)
            if unfinished or (same and REPORT_MD5 not in run.data.tags):
                return run
        return None

    def reopen(self, run_id: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Let an interrupted run go on, with these tags."""
        self.client.update_run(run_id, status="RUNNING", name=build_name(params, tags))
        known = self.client.get_run(run_id)
        if EXPERIMENT not in tags and EXPERIMENT in known.data.tags:
            self.client.delete_tag(run_id, EXPERIMENT)
        self.client.log_batch(run_id, tags=build_run_tags(tags))
        self._describe(known)
        if not known.data.params:
            self._log_params(run_id, params)

    def terminate(self, run: Any, status: str, ended_ms: int) -> None:
        """End a run, but not before it began, where the clock has been set back."""
        self.client.set_terminated(run.info.run_id, status, max(ended_ms, run.info.start_time))

    def log_model(self, run: Any, models: Path, weights: str) -> Any:
        """Log the net of a run that has the tag of its md5, unless it is there; return the logged model.

        Args:
            models: folder with model.json, and with the weights if they are to be copied.
            weights: as in params.mlflow.
        """
        tags = {key: run.data.tags[key] for key in (DATA_MD5, EXPERIMENT) if key in run.data.tags}
        md5 = MODEL_MD5, run.data.tags[MODEL_MD5]
        return log_trained_model(self.client, run, models, md5, tags, copy=weights == "copy")

    def _describe(self, before: Any) -> None:
        """Describe a run as it is now, unless a user has changed what it said before."""
        note = before.data.tags.get(NOTE)
        if note in (None, build_note(before)):
            run = self.client.get_run(before.info.run_id)
            if (new := build_note(run)) != note:
                self.client.set_tag(run.info.run_id, NOTE, new)

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        self.client.log_batch(run_id, params=[Param(key, value) for key, value in select_params(params).items()])

    def search(self, dataset: str, tags: Mapping[str, str]) -> list[Any]:
        """Return the runs with these tags, newest first."""
        conditions = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return self.search_all([self.get_experiment(dataset)], conditions)

    def search_all(self, experiments: Sequence[str], conditions: str) -> list[Any]:
        """Return all runs of these experiments that MLflow's filter matches, newest first."""
        runs: list[Any] = []
        token = None
        while experiments:
            order = ["attributes.start_time DESC"]
            page = self.client.search_runs(list(experiments), conditions, order_by=order, page_token=token)
            runs += page
            if not (token := page.token):
                break
        return runs

    def find(self, params: Mapping[str, Any], model_md5: str, experiment: str | None) -> str | None:
        """Return the id of the newest run of this model and DVC experiment, scored as in `params`; None if there is none.

        Another resolution is another run, because MLflow cannot change a run's params. Without an experiment: a run that belongs
        to none, or one that an experiment left without a report, as when `dvc repro` goes on where `dvc exp run` stopped. A
        complete run of an experiment is never taken for the workspace's.
        """
        tags = {MODEL_MD5: model_md5} | ({EXPERIMENT: experiment} if experiment is not None else {})
        scoring = {f"evaluate.{key}": str(params["evaluate"][key]) for key in SCORING_KEYS}
        runs = [run for run in self.search(params["dataset"], tags) if scoring.items() <= run.data.params.items()]
        if experiment is None:
            finished = [run for run in runs if EXPERIMENT not in run.data.tags]
            runs = finished + [run for run in runs if REPORT_MD5 not in run.data.tags]
        return str(runs[0].info.run_id) if runs else None

    def complete(self, outs: Path, model_md5: str, experiment: str | None, with_report: bool) -> str:
        """Make the run of these outs complete: create it if there is none, add what it lacks; return its id."""
        params = read_yaml(outs / "params.yaml")
        data = RunData(params["dataset"], read_json(outs / "models/model.json")["data_md5"])
        self.end_lost_runs()
        run_id = self.find(params, model_md5, experiment)
        if run_id is None:
            tags = build_tags(data.md5, experiment) | {REPOSITORY: read_repository_id(self.root), MODEL_MD5: model_md5}
            run_id = self.create(params, tags)
        run = self.client.get_run(run_id)
        if not run.inputs.dataset_inputs:
            log_datasets(self.client, run_id, data, outs)
        if run.info.status == "RUNNING":  # the model is there, so training has ended
            self.terminate(run, "FINISHED", int(time.time() * 1000))
        weights = params.get(RECORDING, {}).get("weights", "reference")  # an older losslab had no such key
        model = self.log_model(run, outs / "models", weights)
        logged, linked = run.data.metrics, {metric.key: metric.value for metric in model.metrics or []}
        metrics = []
        for row in read_csv(outs / "reports/history.csv"):
            values = {key: float(value) for key, value in row.items() if value}
            if values["epoch"] > logged.get("epoch", -1):
                metrics += build_metrics(values, int(values["epoch"]), data)
        scores = read_json(outs / "reports/scores.json")
        for split, group in SPLIT_GROUPS.items():
            final = {f"{group}/{key}": value for key, value in flatten(scores[split], "/").items()}
            lacking = {key: value for key, value in final.items() if {logged.get(key), linked.get(key)} != {value}}
            metrics += build_metrics(lacking, 0, data, model.model_id)
        for start in range(0, len(metrics), 1000):  # MLflow's limit for one batch
            self.client.log_batch(run_id, metrics=metrics[start : start + 1000])
        self._describe(run)
        if with_report:
            report = outs / "reports/report.html"
            self.client.log_artifact(run_id, str(report))
            self.client.log_artifacts(run_id, str(outs / "reports/figures"), "figures")
            self._upload_record(run_id, outs)
            self.client.log_batch(run_id, tags=build_run_tags({REPORT_MD5: compute_file_md5(report), HAS_OUTS: OUTS}))
        return run_id

    def has_artifacts(self, run: Any) -> bool:
        """Return whether the artifacts of a complete run are where its tags say."""
        return {"report.html", OUTS} <= {file.path for file in self.client.list_artifacts(run.info.run_id)}

    def end_lost_runs(self) -> None:
        """End the runs that could not be ended when their training did, as what they had become then.

        Of several that one training began, because an answer was lost, the newest counts.
        """
        for path in sorted(self.notes.glob("*.json")):
            note = read_json(path)
            runs = self.search(note["dataset"], {KEY: note["key"], REPOSITORY: note["repository"]})
            runs = [run for run in runs if MODEL_MD5 not in run.data.tags]
            for run in runs[:1]:
                self.client.log_batch(run.info.run_id, tags=build_run_tags(note["tags"]))
                self.terminate(run, note["status"], note["ended_ms"])
            for run in (run for run in runs[1:] if run.info.status == "RUNNING"):
                self.terminate(run, "KILLED", note["ended_ms"])
            path.unlink(missing_ok=True)

    def _upload_record(self, run_id: str, outs: Path) -> None:
        with TemporaryDirectory() as name:
            for path in (path for path in RECORD_FILES if (outs / path).is_file()):
                (Path(name) / path).parent.mkdir(exist_ok=True)
                shutil.copyfile(outs / path, Path(name) / path)
            self.client.log_artifacts(run_id, name, OUTS)


def _check_location(experiment: Any) -> None:
    """Raise InputError if an experiment, of an older losslab, keeps its artifacts in a folder that is deleted."""
    if DELETED_PLACE.search(experiment.artifact_location or ""):
        number, name = experiment.experiment_id, experiment.name
        raise InputError(
            f"experiment {name} keeps its artifacts in the folder of a run, which is deleted; give it another name, "
            f"`mlflow experiments rename -x {number} --new-name {name}.old`, then run `losslab sync`"
        )


def read_repository_id(root: Path) -> str:
    """Read the id that tells this clone of the repository from others that share its store; make one if it has none."""
    path = root / ".losslab/id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")


def store_exists(root: Path) -> bool:
    """Return whether there is a store; a server is assumed to exist."""
    url = find_sqlite_url(root)
    return url is None or Path(str(url.database)).exists()


def find_sqlite_url(root: Path) -> "URL | None":
    """Return the address of a SQLite store, with an absolute path; None for any other store.

    It names the driver too: of `sqlite:///my%20project/mlflow.db` MLflow would make a folder called `my%20project`.
    """
    uri = read_uri()
    if not uri.startswith("sqlite"):
        return None
    from sqlalchemy import make_url

    url = make_url(uri)
    if not url.database or url.database.startswith((":memory:", "file:")):
        raise InputError("name a file: sqlite:///mlflow.db, or sqlite:////with/its/whole/path.db")
    return url.set(drivername=DRIVER, database=str((root / url.database).resolve()))


def build_sqlite_uri(database: Path) -> str:
    """Build the address of a SQLite store from the path of its file, whatever characters the path has."""
    from sqlalchemy import URL

    return URL.create(DRIVER, database=str(database)).render_as_string()


def read_uri(root: Path | None = None) -> str:
    """Read the address of the store, that of a SQLite file with its whole path if a root is given.

    Raises InputError if it is not clear where a password ends.
    """
    if root is not None and (url := find_sqlite_url(root)) is not None:
        return url.render_as_string(hide_password=False)
    uri = (os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db").strip()
    _check_password(uri)
    return uri


def _check_password(uri: str) -> None:
    """Raise InputError if it is not clear where the password of a URL ends: clients would print a part of it."""
    try:
        parts = urlsplit(uri)
        clear = uri.count("@") == parts.netloc.count("@") < 2 and parts.port != 0 and uri.split() == [uri]
    except ValueError:
        clear = False
    if not clear and not uri.startswith("sqlite"):
        raise InputError("in a user or password write @ : / ? # [ ] as %40 %3A %2F %3F %23 %5B %5D, and no white space")


def _import_client() -> "type[MlflowClient]":
    # A store that does not answer must not delay training; MLflow would try for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # with the password
    from mlflow import MlflowClient

    # MLflow sets its level at import; nobody needs to read that a store is created, of each attempt at a server, or the
    # traceback of an error that is raised too.
    for name in ("alembic", "mlflow", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient


def build_tags(data_md5: str, experiment: str | None) -> dict[str, str]:
    """Build the tags of a new run: data, user, DVC experiment and the commit it begins on."""
    tags = {DATA_MD5: data_md5, "mlflow.source.name": "dvc.yaml", "mlflow.source.type": "PROJECT"} | build_user_tags()
    optional = {EXPERIMENT: experiment, BASELINE: os.environ.get("DVC_EXP_BASELINE_REV") or find_commit(Path(), "HEAD")}
    return tags | {key: value for key, value in optional.items() if value}


def build_user_tags() -> dict[str, str]:
    with suppress(OSError, KeyError):  # a container may not know its user
        return {"mlflow.user": getpass.getuser()}
    return {}


def build_run_tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(key, value) for key, value in tags.items()]


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn any error within into an InputError that names the store."""
    try:
        yield
    except Exception as error:
        raise InputError(describe_failure(error)) from error


def describe_store() -> str:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "mlflow.db"
    return f"MLflow at {format_line(uri.strip().replace(' ', '%20'))}"


def describe_failure(error: Exception) -> str:
    """Say that the store cannot be used, with the first line of an error, or its type if it has no text."""
    lines = [line for line in str(error).splitlines() if not line.startswith("(raised as a result of")]  # SQLAlchemy's
    return f"{describe_store()} cannot be used: {format_line(lines[0])[:200] if lines else type(error).__name__}"
