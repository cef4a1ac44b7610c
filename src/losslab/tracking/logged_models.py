"""The trained net of a run as MLflow's logged model, which its Models tab shows and a version in the registry is made of."""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from losslab.io.files import write_text

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
FOLDER = "data/model"
"""Artifact folder of the net's files: where MLflow's python_function keeps them too."""
MODEL_TYPE = "segmentation"


def list_logged_models(client: Any, run: Any, tags: Mapping[str, str]) -> list[Any]:
    """Return the logged models of a run that have these tags, oldest first."""
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    models = [model for model in found if tags.items() <= model.tags.items()]
    return sorted(models, key=lambda model: int(model.creation_timestamp))


def create_logged_model(client: Any, run: Any, tags: Mapping[str, str]) -> Any:
    """Create a model of a run, with the run's params; it is pending until it is made ready."""
    params = run.data.params
    net = "-".join(params[key] for key in ("arch", "encoder") if params.get(key) not in (None, "null"))
    name = re.sub(r"[^\w-]", "-", net or "model")  # MLflow allows no dot
    return client.create_logged_model(
        run.info.experiment_id,
        name=name,
        source_run_id=run.info.run_id,
        tags=dict(tags),
        params=dict(params),
        model_type=MODEL_TYPE,
    )


def finish_logged_model(client: Any, run: Any, model: Any) -> None:
    """Make a model ready, and an output of its run."""
    from mlflow.entities import LoggedModelOutput

    known = run.outputs.model_outputs if run.outputs is not None else []
    if model.model_id not in {output.model_id for output in known}:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, "READY")


def log_trained_model(
    client: Any, run: Any, models: Path, md5: tuple[str, str], tags: Mapping[str, str], copy: bool
) -> Any:
    """Log the net of a run unless it is there; return the logged model.

    Args:
        models: folder with model.json, and with the weights if they are to be copied.
        md5: tag that tells the model from others of this run, and its value: the md5 of the weights.
        tags: further tags.
        copy: whether the weights themselves become an artifact; else a file that names them, as `dvc add` writes it.
    """
    model = next(iter(list_logged_models(client, run, dict([md5]))), None)
    if model is None:
        model = create_logged_model(client, run, {**tags, md5[0]: md5[1]})
    elif model.status == "READY":
        return model
    with TemporaryDirectory() as temporary:
        weights = models / WEIGHTS
        if not copy:
            weights = Path(temporary) / f"{WEIGHTS}.dvc"
            write_text(weights, f"outs:\n- md5: {md5[1]}\n  hash: md5\n  path: {WEIGHTS}\n")
        for file in (models / DESCRIPTION, weights):
            client.log_model_artifact(model.model_id, str(file), FOLDER)
    finish_logged_model(client, run, model)
    return model
