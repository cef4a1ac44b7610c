"""A model folder, read and checked: its description, and the net ready to predict."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from losslab.errors import InputError
from losslab.io.files import read_json
from losslab.io.yaml import validate
from losslab.models import DESCRIPTION

if TYPE_CHECKING:
    from losslab.inference.predictor import Predictor, TestTimeAugmentation

Channel = Annotated[int, Field(ge=0, le=255)]


class ModelDescription(BaseModel):
    """The fields of model.json that prediction needs."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    arch: str
    encoder: str | None
    num_classes: PositiveInt
    classes: list[str]
    palette: list[Annotated[list[Channel], Field(min_length=3, max_length=3)]]
    size: PositiveInt
    fit: Literal["stretch", "letterbox"]
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[PositiveFloat], Field(min_length=3, max_length=3)]
    precision: str
    run: dict[str, Any]


def read_description(folder: Path) -> ModelDescription:
    """Read a model folder's model.json. Raises InputError if it is missing, is not JSON, or has wrong keys."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{path}: no such file; --model takes a folder that the train stage wrote, such as models")
    try:
        described = validate(ModelDescription, read_json(path), path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from None
    except InputError as error:
        hint = "; if an older losslab wrote it, train it again" if ": missing" in str(error) else ""
        raise InputError(f"{error}{hint}") from None
    if not len(described.classes) == len(described.palette) == max(described.num_classes, 2):
        raise InputError(f"{path}: classes, palette and num_classes do not match")
    return described


def check_threshold(threshold: float | None, described: ModelDescription) -> None:
    """Raise InputError if a threshold is not a probability, or the model has more than two classes."""
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"--threshold must lie between 0 and 1, not {threshold:g}")
    if threshold is not None and described.num_classes > 1:
        reason = f"this one has {described.num_classes} and takes the most likely"
        raise InputError(f"--threshold needs a model of two classes; {reason}")


def load_predictor(folder: Path, tta: "TestTimeAugmentation", device: str) -> "Predictor":
    """Load a model, ready to predict. Raises InputError if the folder holds none, or the device is not available."""
    import torch  # importing this module must not import it

    from losslab import models
    from losslab.inference.predictor import Predictor
    from losslab.runtime.devices import pick_device

    read_description(folder)
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device; use auto or cpu")
    net, description = models.load(folder)
    return Predictor(net, description, tta, pick_device(device))
