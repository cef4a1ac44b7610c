"""Dataset cards: one strict YAML file per dataset says where it comes from, how it lies on disk, what its labels mean."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from losslab.errors import InputError
from losslab.schema import Section, checked, read_yaml

IGNORE_INDEX = 255
"""The label of void pixels in prepared masks."""

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
Byte = Annotated[int, Field(ge=0, le=255)]


class Generator(Section):
    """Data drawn by losslab itself, the same bytes on every machine."""

    generator: Literal["lesions"]
    seed: int = Field(ge=0)
    size: int = Field(ge=16, le=4096)
    images: dict[SplitName, Annotated[int, Field(gt=0)]]


class Archive(Section):
    name: str
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")
    urls: list[str] = Field(min_length=1)


class Archives(Section):
    archives: list[Archive] = Field(min_length=1)


class OnDisk(Section):
    """Data that only `download.source` can name."""

    folder: None


def _kind_of_source(source: Any) -> str | None:
    return next(
        (kind for kind in ("generator", "archives", "folder") if isinstance(source, dict) and kind in source), None
    )


Source = Annotated[
    Annotated[Generator, Tag("generator")] | Annotated[Archives, Tag("archives")] | Annotated[OnDisk, Tag("folder")],
    Discriminator(
        _kind_of_source,
        custom_error_type="wrong_source",
        custom_error_message="has one of the keys generator, archives, folder",
    ),
]


class LabelClass(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ -]*$")
    color: tuple[Byte, Byte, Byte] = Field(strict=False)
    values: list[Byte] = Field(min_length=1)
    """The raw mask values that mean this class."""


class Card(Section):
    title: str
    licence: str
    citation: str
    home: str | None
    source: Source
    layout: Literal["split_folders", "folders", "oxford_pet"]
    classes: list[LabelClass] = Field(min_length=2, max_length=255)
    void: list[Byte]
    """The raw mask values that count nowhere."""

    @property
    def num_outputs(self) -> int:
        return num_outputs(len(self.classes))

    @property
    def has_official_split(self) -> bool:
        return self.layout != "folders"

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


def read_card(dataset: str, catalog: Path = Path("data/catalog")) -> Card:
    """Read `data/catalog/<dataset>.yaml`.

    Raises:
        InputError: one line naming the file and every key at fault.
    """
    path = catalog / f"{dataset}.yaml"
    try:
        return checked(Card, read_yaml(path), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such card") from None


def num_outputs(classes: int) -> int:
    """Output channels for so many classes: two need one logit, background against foreground."""
    return 1 if classes == 2 else classes
