"""A run's model in MLflow's registry: found by the run, packed with the code that it needs, registered once."""

import importlib.metadata
import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from losslab.experiments.outs import open_model
from losslab.io.files import read_json, write_json, write_text
from losslab.io.hashing import compute_folder_md5
from losslab.models import DESCRIPTION, WEIGHTS
from losslab.models.registry import find_arch
from losslab.serving import model as served_model
from losslab.serving.bundle import collect_code
from losslab.tracking import registry

FOR_ENCODERS = {"losslab.models.smp_nets", "losslab.models.pretrained"}
"""What a net without an encoder never imports; smp and timm are for it."""


@dataclass(frozen=True)
class RegisteredModel:
    version: str
    is_new: bool
    run: registry.RegistryRun
    size: int
    """Bytes of the model and its code."""


def register_model(run: str, name: str, root: Path) -> RegisteredModel:
    """Register the model of a run under a name, unless the same is registered there already.

    Args:
        run: an MLflow run id or name, a DVC experiment, or `workspace`.
        root: the DVC repository.

    Raises:
        InputError: no such run or several, a model that is nowhere any more, a name that cannot be, no store.
    """
    registry.check_model_name(name)
    found = registry.find_trained_run(run, root)
    with TemporaryDirectory() as place:
        folder = Path(place)
        with open_model(found.model_md5, root) as model:
            requirements = pack_model(model, folder)
        served = registry.ServedFiles(
            model=folder / "model",
            code=folder / "code/losslab",
            loader=served_model.__name__,
            requirements=requirements,
            column=served_model.COLUMN,
            parameter=(served_model.PARAMETER, served_model.ARRAY),
            example=_example(read_json(folder / "model" / DESCRIPTION)["size"]),
            md5=compute_folder_md5(folder),
        )
        version, is_new = registry.register_version(found, served, name, root)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return RegisteredModel(version, is_new, found, size)


def pack_model(model: Path, folder: Path) -> list[str]:
    """Write what is served: `model/`, `code/losslab/` (what it needs of losslab) and `requirements.txt`, whose
    lines are returned.

    The same model, code and packages give the same bytes.
    """
    description = read_json(model / DESCRIPTION)
    # Of the run only what chooses the device: it may name files of this machine.
    description["run"] = {"train": {"device": description["run"]["train"]["device"]}}
    write_json(folder / "model" / DESCRIPTION, description)
    shutil.copyfile(model / WEIGHTS, folder / "model" / WEIGHTS)
    module = find_arch(description["arch"]).target.partition(":")[0]
    code = collect_code([served_model.__name__, module], FOR_ENCODERS if description["encoder"] is None else ())
    code.copy_to(folder / "code")
    requirements = [f"mlflow=={importlib.metadata.version('mlflow')}", *code.requirements()]
    write_text(folder / "requirements.txt", "\n".join(requirements) + "\n")
    return requirements


def _example(size: int) -> bytes:
    """A drawn picture as a PNG file: no image of the data leaves with the model."""
    across = np.linspace(0, 255, size).astype(np.uint8)
    picture = np.stack(
        [np.tile(across, (size, 1)), np.tile(across[:, None], (1, size)), np.full((size, size), 128, np.uint8)], 2
    )
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
