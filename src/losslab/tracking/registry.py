"""MLflow's model registry: runs found by what users call them, and their models as versions under a name."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from losslab.errors import InputError
from losslab.io.hashing import compute_file_md5
from losslab.tracking.lookup import list_trained_runs
from losslab.tracking.store import DATA_MD5, EXPERIMENT, MODEL_MD5, TrackingStore, describe_store, store_errors

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

WORKSPACE = "workspace"
SERVED_MD5 = "losslab.served_md5"
"""Of all that is served: model, code, packages. A version with it is the same model."""
SHOWN = 6
"""Runs that an error names."""


@dataclass(frozen=True)
class RegistryRun:
    run_id: str
    name: str
    model_md5: str


@dataclass(frozen=True)
class ServedFiles:
    """What is registered, as files."""

    model: Path
    code: Path
    """A package."""
    loader: str
    """The module in it with `_load_pyfunc(model)`."""
    requirements: Sequence[str]
    column: str
    """Of the input: bytes of image files."""
    parameter: tuple[str, str]
    """A text that a request may add, and its default."""
    example: bytes
    md5: str


def check_model_name(name: str) -> None:
    """Raise InputError for a name that MLflow takes for no model."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_model_name

    try:
        _validate_model_name(name)
    except MlflowException:
        raise InputError(
            f"--name: {name!r} cannot be a model's name: it must not be empty or have / or : in it"
        ) from None


def find_trained_run(run: str, root: Path) -> RegistryRun:
    """The trained run of this MLflow id or name, or DVC experiment; `workspace`: the one whose model lies in models/.

    Of several that trained the same model, byte by byte, the newest.

    Raises:
        InputError: none, or several with different models, or no store.
    """
    with store_errors():
        store = TrackingStore(root)
        trained = list_trained_runs(store)
    if run == WORKSPACE:
        return _of_workspace(trained, root)
    found = [each for each in trained if run in (each.info.run_id, each.info.run_name, each.data.tags.get(EXPERIMENT))]
    if not found:
        raise InputError(f"RUN: no trained run {run!r} in {describe_store()}; there are {_listed(trained)}")
    if len({each.data.tags[MODEL_MD5] for each in found}) > 1:
        raise InputError(f"RUN: {len(found)} runs are called {run!r}; give the id of one: {_listed(found, by_id=True)}")
    return _found(found[0])


def register_version(run: RegistryRun, served: ServedFiles, name: str, root: Path) -> tuple[str, bool]:
    """The version under this name of what is served, and whether it is new.

    Raises:
        InputError: the registry cannot be used.
    """
    with store_errors():
        client = TrackingStore(root).client
        for version in client.search_model_versions(f"name = '{_quoted(name)}'"):
            if version.tags.get(SERVED_MD5) == served.md5 and version.run_id == run.run_id:
                return str(version.version), False
        logged = _log(client, run, served)
        _ensure(client, name)
        tags = {SERVED_MD5: served.md5, MODEL_MD5: run.model_md5}
        # By its place: MLflow asks the store of MLFLOW_TRACKING_URI, not this one, where models:/ID lies.
        made = client.create_model_version(
            name, logged.artifact_location, run.run_id, tags=tags, description=run.name, model_id=logged.model_id
        )
        versions = json.dumps([{"name": name, "version": made.version}])  # by which MLflow's pages link the two
        client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": versions})
        return str(made.version), True


def _of_workspace(trained: "list[MlflowRun]", root: Path) -> RegistryRun:
    """One of `dvc repro` before one of an experiment that was applied."""
    weights = root / "models/model.safetensors"
    if not weights.is_file():
        raise InputError(f"RUN: workspace has no {weights}; the train stage writes it")
    md5 = compute_file_md5(weights)
    found = [run for run in trained if run.data.tags[MODEL_MD5] == md5]
    if not found:
        raise InputError(f"RUN: the workspace's model is of no run in {describe_store()}; `losslab sync` adds it")
    return _found(min(found, key=lambda run: EXPERIMENT in run.data.tags))


def _found(run: "MlflowRun") -> RegistryRun:
    return RegistryRun(run.info.run_id, run.info.run_name, run.data.tags[MODEL_MD5])


def _listed(runs: "list[MlflowRun]", by_id: bool = False) -> str:
    if not runs:
        return "none"
    names = [run.info.run_id if by_id else run.data.tags.get(EXPERIMENT) or run.info.run_name for run in runs]
    names = list(dict.fromkeys(names))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _log(client: Any, run: RegistryRun, served: ServedFiles) -> Any:
    """Log the model to its run; returns MLflow's LoggedModel.

    Not by `log_model`: that works on global state, imports the model's code in this process, and notes absolute paths.
    """
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    about = client.get_run(run.run_id)
    tags = {key: about.data.tags[key] for key in (MODEL_MD5, DATA_MD5, EXPERIMENT) if key in about.data.tags}
    logged = client.create_logged_model(
        about.info.experiment_id,
        "model",
        run.run_id,
        tags=tags,
        params=dict(about.data.params),
        model_type="segmentation",
    )
    model_id = logged.model_id
    try:
        with TemporaryDirectory() as place:
            folder = Path(place) / "model"
            described = Model("model", run.run_id, model_uuid=model_id, model_id=model_id)
            pyfunc.save_model(
                folder,
                loader_module=served.loader,
                data_path=str(served.model),
                code_paths=[str(served.code)],
                mlflow_model=described,
                pip_requirements=list(served.requirements),
                signature=_signature(served),
                input_example=_table(served.column, served.example),
            )
            client.log_model_artifacts(model_id, str(folder))
        client.finalize_logged_model(model_id, "READY")
        client.log_outputs(run.run_id, [LoggedModelOutput(model_id, step=0)])
    except BaseException:
        client.finalize_logged_model(model_id, "FAILED")
        raise
    return logged


def _signature(served: ServedFiles) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, served.column)]),
        outputs=Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1))]),
        params=ParamSchema([ParamSpec(served.parameter[0], DataType.string, served.parameter[1])]),
    )


def _table(column: str, value: bytes) -> Any:
    import pandas  # type: ignore[import-untyped]

    return pandas.DataFrame({column: [value]})


def _ensure(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _quoted(name: str) -> str:
    return re.sub("'", "''", name)
