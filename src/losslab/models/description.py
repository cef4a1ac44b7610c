"""The description of a saved model in model.json, checked like all that comes from outside; imports no torch."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat

from losslab.bands import RGB, Bands
from losslab.cards import check_class_count
from losslab.errors import InputError
from losslab.io.files import read_json
from losslab.io.yaml import validate
from losslab.models.registry import check_encoder_given

DESCRIPTION = "model.json"
Channel = Annotated[int, Field(ge=0, le=255)]
Name = Annotated[str, Field(max_length=200)]


class _Described(BaseModel):
    """A part of model.json: what is read of it is checked, what else is there is kept."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="allow")


class TrainedOn(_Described):
    device: Literal["auto", "cpu", "cuda"]


class DescribedRun(_Described):
    dataset: Name | None = None
    """None for a registered model."""
    train: TrainedOn


class ModelDescription(_Described):
    """The fields of model.json that using the model needs."""

    arch: Name
    encoder: Name | None
    arch_options: dict[str, Any] = {}
    """Not in the file for an arch without options."""
    num_classes: Annotated[int, Field(ge=1), AfterValidator(check_class_count)]
    labels: Literal["overlapping"] | None = None
    """Not in the file where each pixel is of one class."""
    classes: list[Name]
    palette: list[Annotated[list[Channel], Field(min_length=3, max_length=3)]]
    ignore_index: Channel | None
    size: int = Field(ge=1, le=4096)
    fit: Literal["stretch", "letterbox", "tile"]
    mean: list[float]
    """Mean of each band, in units in which its range is 0 to 1; `std` is the standard deviation."""
    std: list[PositiveFloat]
    bands: Bands | None = None
    """Not in the file for RGB of 8 bits."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    run: DescribedRun


def read_description(folder: Path) -> ModelDescription:
    """Read a model folder's model.json. Raises InputError if it is missing, is not JSON, or describes no model."""
    path = folder / DESCRIPTION
    try:
        described = validate(ModelDescription, read_json(path), path)
        check_encoder_given(described.arch, described.encoder, None)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the train stage writes it") from None
    except InputError as error:
        where = "" if str(error).startswith(str(path)) else f"{path}: "
        hint = "; if an older losslab wrote it, train it again" if ": missing" in str(error) else ""
        raise InputError(f"{where}{error}{hint}") from None
    least = 1 if described.labels else 2
    if not len(described.classes) == len(described.palette) == max(described.num_classes, least):
        raise InputError(f"{path}: classes, palette and num_classes do not match")
    if not len(described.mean) == len(described.std) == len((described.bands or RGB).names):
        raise InputError(f"{path}: mean and std need a value for each band")
    return described
