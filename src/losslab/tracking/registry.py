"""MLflow's model registry: the models of runs become versions under a name."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from losslab.errors import InputError, shorten
from losslab.formats import escape_controls, format_list
from losslab.io.hashing import compute_file_md5
from losslab.tracking.description import EXPERIMENT
from losslab.tracking.logged_models import (
    FOLDER,
    create_logged_model,
    finish_logged_model,
    list_logged_models,
)
from losslab.tracking.lookup import list_trained_runs
from losslab.tracking.store import (
    DATA_MD5,
    MODEL_MD5,
    TrackingStore,
    describe_store,
    read_uri,
    store_errors,
    store_exists,
)

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

WORKSPACE = "workspace"
SERVED_MD5 = "losslab.served_md5"
"""Tag with the md5 of everything that is served: model, code, packages. Versions with the same md5 are the same model."""
VERSIONS = "mlflow.modelVersions"
"""Tag of a logged model by which MLflow's pages link it to the versions that are made of it."""
VERSION_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")
MAX_RUNS_SHOWN = 6
MAX_TAG_LENGTH = 5000


@dataclass(frozen=True)
class RegistryRun:
    """A run in MLflow whose model can be registered."""

    run_id: str
    name: str
    model_md5: str


@dataclass(frozen=True, kw_only=True)
class ServedFiles:
    """The files to register, and how the served model is called."""

    model: Path
    code: Path
    """Folder of a Python package."""
    loader: str
    """Name of the module in the package with `_load_pyfunc(model)`."""
    requirements: Sequence[str]
    column: str
    """Name of the input's column, which holds the bytes of image files."""
    parameter: tuple[str, str]
    """Name and default of a text that a request may add."""
    example: bytes
    """Bytes of an image file."""
    md5: str


def check_model_name(name: str) -> None:
    """Raise InputError if MLflow does not allow a name for a model."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_model_name

    try:
        _validate_model_name(name)
    except MlflowException:
        raise InputError(f"--name {name!r}: a model's name must not be empty or contain / or :") from None
    if name != escape_controls(name):
        raise InputError(f"--name {name!r}: a model's name must be one line of printable characters")


def check_marks(aliases: Sequence[str], tags: Mapping[str, str]) -> None:
    """Raise InputError if MLflow does not allow an alias or a tag for a version."""
    for alias in aliases:
        if not re.fullmatch(r"(?!latest$|v[0-9]+$)[\w-]{1,255}", alias, re.IGNORECASE):
            raise InputError(
                f"--alias {alias!r}: use letters, digits, - and _; latest, and v and a number, are reserved"
            )
    for key, value in tags.items():
        if not re.fullmatch(r"\w[\w.: -]{0,249}", key) or len(value) > MAX_TAG_LENGTH:
            allowed = (
                f"a key is made of letters, digits, . : - and _, and a value of at most {MAX_TAG_LENGTH} characters"
            )
            raise InputError(f"--tag {shorten(f'{key}={value}')!r}: {allowed}")


def find_trained_run(run: str, root: Path) -> RegistryRun:
    """Find the trained run with this MLflow id, MLflow name or DVC experiment; of several with the same model, the newest.

    Args:
        run: the name; `workspace` means the run whose model is in models/.

    Raises:
        InputError: there is no such run, there are several with different models, or the store cannot be used.
    """
    with store_errors():
        store = TrackingStore(root)
        trained = list_trained_runs(store)
    if run == WORKSPACE:
        return _find_workspace_run(trained, root)
    runs = [each for each in trained if run in (each.info.run_id, *_list_names(each))]
    if not runs:
        names = [_list_names(each)[0] for each in trained]
        raise InputError(f"no such run: {run} in {describe_store()} (available: {_format_runs(names)})")
    if len({each.data.tags[MODEL_MD5] for each in runs}) > 1:
        ids = [each.info.run_id for each in runs]
        raise InputError(f"{len(runs)} runs are called {run!r}; give the id of one: {_format_runs(ids)}")
    if any(key.startswith("evaluate.ensemble.") for key in runs[0].data.params):
        raise InputError(
            f"{run} is an ensemble, and what is registered is one net: register a member, or export what `losslab ensemble "
            "--average weights --output DIR` writes"
        )
    return _build_registry_run(runs[0])


def register_version(run: RegistryRun, served: ServedFiles, name: str, root: Path) -> tuple[str, bool]:
    """Register what is served under a name, unless it is there; return the version and whether it is new.

    Raises InputError if the registry cannot be used.
    """
    with store_errors():
        client = TrackingStore(root).client
        from mlflow.exceptions import MlflowException

        quoted = name.replace("'", "''")
        for version in client.search_model_versions(f"name = '{quoted}'"):
            if version.tags.get(SERVED_MD5) == served.md5 and version.run_id == run.run_id:
                return str(version.version), False
        logged = _log_model(client, run, served)
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {SERVED_MD5: served.md5, MODEL_MD5: run.model_md5}
        # By its location: for models:/ID, MLflow would ask the store of MLFLOW_TRACKING_URI, not this one.
        made = client.create_model_version(
            name, logged.artifact_location, run.run_id, tags=tags, description=run.name, model_id=logged.model_id
        )
        known = json.loads(logged.tags.get(VERSIONS, "[]"))
        versions = json.dumps([*known, {"name": name, "version": made.version}])
        client.set_logged_model_tags(logged.model_id, {VERSIONS: versions})
        return str(made.version), True


def mark_version(name: str, version: str, aliases: Sequence[str], tags: Mapping[str, str], root: Path) -> None:
    """Give a version aliases, which any other version of its name loses, and tags. Raises InputError if that fails."""
    with store_errors():
        client = TrackingStore(root).client
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        for alias in aliases:
            client.set_registered_model_alias(name, alias, version)


@contextmanager
def open_version(uri: str, root: Path) -> Iterator[Path]:
    """Yield a folder with the weights and the description of a registered version.

    Args:
        uri: models:/NAME@ALIAS, or models:/NAME/VERSION.

    Raises:
        InputError: there is no such version, losslab did not register it, or the store cannot be used.
    """
    if (match := VERSION_URI.fullmatch(uri)) is None:
        raise InputError(f"--model {uri}: write models:/NAME@ALIAS or models:/NAME/VERSION")
    with TemporaryDirectory() as temporary:
        with store_errors():
            folder = _download_version(uri, match, root, Path(temporary))
        if folder is None:
            raise InputError(
                f"--model {uri}: {describe_store()} has no such version of a model that losslab registered"
            )
        yield folder


def _download_version(uri: str, match: re.Match[str], root: Path, temporary: Path) -> Path | None:
    if not store_exists(root):
        return None
    client = TrackingStore(root).client
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    name, version, alias = match["name"], match["version"], match["alias"]
    try:
        found = client.get_model_version(name, version) if version else client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    if SERVED_MD5 not in found.tags:
        return None
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Files of this machine are used where they lie.
    target = None if found.source.startswith("file:") else str(temporary)
    return Path(download_artifacts(f"{found.source}/{FOLDER}", dst_path=target, tracking_uri=read_uri(root)))


def _find_workspace_run(trained: "list[MlflowRun]", root: Path) -> RegistryRun:
    """Find the run of the model in models/; one of `dvc repro` comes before one of an experiment that was applied."""
    weights = root / "models/model.safetensors"
    if not weights.is_file():
        raise InputError(f"workspace: {weights} does not exist; the train stage writes it")
    md5 = compute_file_md5(weights)
    runs = [run for run in trained if run.data.tags[MODEL_MD5] == md5]
    if not runs:
        raise InputError(f"workspace: {describe_store()} has no run of this model; run `losslab sync` to add it")
    return _build_registry_run(min(runs, key=lambda run: EXPERIMENT in run.data.tags))


def _build_registry_run(run: "MlflowRun") -> RegistryRun:
    return RegistryRun(run.info.run_id, run.info.run_name, run.data.tags[MODEL_MD5])


def _list_names(run: "MlflowRun") -> list[str]:
    return [name for name in (run.data.tags.get(EXPERIMENT), run.info.run_name) if name]


def _format_runs(names: list[str]) -> str:
    return format_list(list(dict.fromkeys(names)), MAX_RUNS_SHOWN) or "none"


def _log_model(client: Any, run: RegistryRun, served: ServedFiles) -> Any:
    """Pack what is served into the run's logged model; where that was packed from other code, into a new one."""
    about = client.get_run(run.run_id)
    models = list_logged_models(client, about, {MODEL_MD5: run.model_md5})
    for model in models:
        if model.tags.get(SERVED_MD5) == served.md5:
            return model
    model = next((model for model in models if SERVED_MD5 not in model.tags), None)
    if model is None:
        tags = {key: about.data.tags[key] for key in (MODEL_MD5, DATA_MD5, EXPERIMENT) if key in about.data.tags}
        model = create_logged_model(client, about, tags)
    _upload_served(client, run, served, model.model_id)
    client.set_logged_model_tags(model.model_id, {SERVED_MD5: served.md5})
    finish_logged_model(client, about, model)
    return model


def _upload_served(client: Any, run: RegistryRun, served: ServedFiles, model_id: str) -> None:
    # MLflow's own `log_model` works on global state, imports the model's code in this process, notes absolute paths.
    import pandas  # type: ignore[import-untyped]
    from mlflow import pyfunc
    from mlflow.models import Model

    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        pyfunc.save_model(
            folder,
            loader_module=served.loader,
            data_path=str(served.model),
            code_paths=[str(served.code)],
            mlflow_model=Model("model", run.run_id, model_uuid=model_id, model_id=model_id),
            pip_requirements=list(served.requirements),
            signature=_build_signature(served),
            input_example=pandas.DataFrame({served.column: [served.example]}),
        )
        client.log_model_artifacts(model_id, str(folder))


def _build_signature(served: ServedFiles) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, served.column)]),
        outputs=Schema([TensorSpec(np.dtype("uint8"), (-1, -1, -1))]),
        params=ParamSchema([ParamSpec(served.parameter[0], DataType.string, served.parameter[1])]),
    )
