"""Registration of a run's model in MLflow, packed with the code that it needs."""

import importlib.metadata
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from losslab.bands import RGB, read_bands
from losslab.experiments.finished_runs import open_model
from losslab.io.files import read_json, write_json, write_text
from losslab.io.hashing import compute_folder_md5
from losslab.models import DESCRIPTION, WEIGHTS
from losslab.models.description import read_description
from losslab.models.registry import find_arch
from losslab.plugins.usage import list_files
from losslab.serving import model as served_model
from losslab.serving.bundle import collect_code
from losslab.tracking import registry

ENCODER_MODULES = {"losslab.models.smp_nets", "losslab.models.pretrained"}
"""Modules that a net without an encoder never imports, and which need smp and timm."""
MAX_EXAMPLE_SIDE = 64
"""Pixels a side of an example that is not compressed."""


@dataclass(frozen=True)
class RegisteredModel:
    version: str
    is_new: bool
    run: registry.RegistryRun
    size: int
    """Size of the model and its code, in bytes."""


def register_model(
    run: str, name: str, root: Path, aliases: Sequence[str] = (), tags: Mapping[str, str] = MappingProxyType({})
) -> RegisteredModel:
    """Register the model of a run under a name, unless the same model is registered under it already.

    Args:
        run: an MLflow run id or name, a DVC experiment, or `workspace`.
        root: the DVC repository.
        aliases: aliases of the version, new or not, which any other version of the name loses.
        tags: tags of the version.

    Raises:
        InputError: no run or several runs match, the model is lost, or a name or the store cannot be used.
    """
    registry.check_model_name(name)
    registry.check_marks(aliases, tags)
    trained = registry.find_trained_run(run, root)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with open_model(trained.model_md5, root) as model:
            requirements = pack_model(model, folder)
        served = registry.ServedFiles(
            model=folder / "model",
            code=folder / "code/losslab",
            loader=served_model.__name__,
            requirements=requirements,
            column=served_model.COLUMN,
            parameter=(served_model.PARAMETER, served_model.ARRAY),
            example=_draw_example(read_json(folder / "model" / DESCRIPTION)),
            md5=compute_folder_md5(folder),
        )
        version, is_new = registry.register_version(trained, served, name, root)
        registry.mark_version(name, version, aliases, tags, root)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return RegisteredModel(version, is_new, trained, size)


def pack_model(model: Path, folder: Path) -> list[str]:
    """Write `model/`, `code/losslab/` with the modules that it needs, and `requirements.txt`, whose lines are returned.

    The same model, code and packages give the same bytes.
    """
    described, description = read_description(model), read_json(model / DESCRIPTION)
    # The run may name files of this machine; only what chooses the device is kept.
    description["run"] = {"train": {"device": description["run"]["train"]["device"]}}
    write_json(folder / "model" / DESCRIPTION, description)
    shutil.copyfile(model / WEIGHTS, folder / "model" / WEIGHTS)
    spec = find_arch(described.arch)
    module = spec.target.rpartition(":")[0]
    modules = [served_model.__name__, "losslab.models.plugin_net" if spec.is_plugin else module]
    own = list_files(Path(module)) if spec.is_plugin and module.endswith(".py") else []
    code = collect_code(modules, ENCODER_MODULES if described.encoder is None else (), own)
    code.copy_to(folder / "code")
    requirements = [f"mlflow=={importlib.metadata.version('mlflow')}", *code.list_requirements()]
    write_text(folder / "requirements.txt", "\n".join(requirements) + "\n")
    return requirements


def _draw_example(description: Mapping[str, Any]) -> bytes:
    """Draw an image as a file, PNG or NPY, so that no image of the data leaves with the model."""
    size, bands, file = description["size"], read_bands(description), io.BytesIO()
    if bands != RGB:
        ramp = np.linspace(0, 1, min(size, MAX_EXAMPLE_SIDE), dtype=np.float32)
        image = np.broadcast_to(ramp[:, None, None], (len(ramp), len(ramp), len(bands.names)))
        np.save(file, bands.restore(image).astype(bands.dtype))
        return file.getvalue()
    picture = np.full((size, size, 3), 128, np.uint8)
    picture[..., 0] = np.linspace(0, 255, size).astype(np.uint8)
    picture[..., 1] = picture[..., 0].T
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
