"""Dataset cards: one strict YAML file per dataset says where it comes from, how it lies on disk, what its labels mean."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from losslab.errors import InputError
from losslab.params import CATALOG, explain

IGNORE_INDEX = 255
"""The label of void pixels in prepared masks."""

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
Byte = Annotated[int, Field(ge=0, le=255)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Generator(_Part):
    """Data drawn by losslab itself, the same bytes on every machine."""

    generator: Literal["lesions"]
    seed: int = Field(ge=0)
    size: int = Field(ge=16, le=4096)
    images: dict[SplitName, Annotated[int, Field(gt=0)]]


class Archive(_Part):
    name: str
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    urls: list[str] = Field(min_length=1)


class Archives(_Part):
    archives: list[Archive] = Field(min_length=1)


class OnDisk(_Part):
    """Data that only `download.source` can name."""

    folder: None


class LabelClass(_Part):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ -]*$")
    color: tuple[Byte, Byte, Byte] = Field(strict=False)
    values: list[Byte] = Field(min_length=1)
    """The raw mask values that mean this class."""


class Card(_Part):
    title: str
    licence: str
    citation: str
    home: str | None
    source: Generator | Archives | OnDisk
    layout: Literal["split_folders", "folders", "oxford_pet"]
    classes: list[LabelClass] = Field(min_length=2, max_length=255)
    void: list[Byte]
    """The raw mask values that count nowhere."""

    @model_validator(mode="after")
    def _each_value_once(self) -> Self:
        values = [str(value) for label_class in self.classes for value in label_class.values] + [
            str(v) for v in self.void
        ]
        names = [label_class.name for label_class in self.classes]
        for what, items in (("raw value", values), ("class name", names)):
            twice = sorted({item for item in items if items.count(item) > 1})
            if twice:
                raise ValueError(f"{what} {', '.join(twice)} stands twice in classes and void")
        return self


def read_card(dataset: str, catalog: Path = CATALOG) -> Card:
    """Read `data/catalog/<dataset>.yaml`.

    Raises:
        InputError: one line naming the file and every key at fault.
    """
    path = catalog / f"{dataset}.yaml"
    try:
        return Card.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path}: no such card") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not readable as YAML: {error}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, Card)}") from None
