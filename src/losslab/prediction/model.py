"""The model that a user names, or one line about what is wrong with it."""

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
    """What model.json must say for images to be predicted."""

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
    """model.json of a model's folder, checked.

    Raises:
        InputError: no model there, no JSON, or keys that are missing or wrong.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{path}: no such file; --model takes a folder that the train stage wrote, such as models")
    try:
        described = validate(ModelDescription, read_json(path), path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON: {error}") from None
    except InputError as error:
        hint = "; is it of an older losslab? Then train it again" if ": missing" in str(error) else ""
        raise InputError(f"{error}{hint}") from None
    if not len(described.classes) == len(described.palette) == max(described.num_classes, 2):
        raise InputError(f"{path}: classes, palette and num_classes are not of one model")
    return described


def check_threshold(threshold: float | None, described: ModelDescription) -> None:
    """Raise InputError for a threshold that is no probability, or of a model to which it means nothing."""
    if threshold is None:
        return
    if not 0 < threshold < 1:
        raise InputError(f"--threshold is {threshold:g}; it must lie between 0 and 1")
    if described.num_classes > 1:
        raise InputError(
            f"--threshold is for models of two classes; this one has {described.num_classes}, of which the likeliest is taken"
        )


def load_predictor(folder: Path, tta: "TestTimeAugmentation", device: str) -> "Predictor":
    """The model of a folder, ready. Importing this room imports no torch; this does.

    Raises:
        InputError: as `read_description`; weights that are not the net's; no such device.
    """
    import torch

    from losslab import models
    from losslab.inference.predictor import Predictor
    from losslab.runtime.devices import pick_device

    read_description(folder)
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device; use auto or cpu")
    net, description = models.load(folder)
    return Predictor(net, description, tta, pick_device(device))
