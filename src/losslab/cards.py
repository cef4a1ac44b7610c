"""Dataset cards: one strict YAML file per dataset says where it comes from, how it lies on disk, what its labels mean."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from losslab.errors import InputError
from losslab.io.yaml import Section, read_yaml, validate

IGNORE_INDEX = 255
"""The label of void pixels in prepared masks."""

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
COLUMNS = ("split", "truth", "all")
"""What stands in reports beside the names of classes: columns of confusion.csv, and all classes in strata.csv."""
Byte = Annotated[int, Field(ge=0, le=255)]


def _raw_value(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and 0 <= value <= 65535:
        return value
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) == 3 and all(type(part) is int and 0 <= part <= 255 for part in numbers):
        return tuple(numbers)
    raise ValueError(f"{value!r} is no mask value: a number from 0 to 65535, or a colour such as [128, 0, 64]")


RawValue = Annotated[int | tuple[int, int, int], BeforeValidator(_raw_value)]
"""What stands in a mask file: a number, or an RGB colour."""


class GeneratorSource(Section):
    """Data drawn by losslab itself, the same bytes on every machine."""

    generator: Literal["lesions"]
    seed: int = Field(ge=0)
    pixels: int = Field(ge=16, le=4096)
    """Of a side. (DVC's run cache overlooks keys called size.)"""
    images: dict[SplitName, Annotated[int, Field(gt=0)]]


class Archive(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_. -]*$")
    md5: str | None = Field(pattern=r"^[0-9a-f]{32}$")
    """None where nobody publishes it: then only a file that the user put there is taken."""
    bytes: int | None = Field(gt=0)
    unpacked: int = Field(gt=0)
    """Bytes that it unpacks to at most; beyond them it is refused."""
    urls: list[Annotated[str, Field(pattern=r"^https?://[^\s/\[\]]+/\S*$")]]
    """In order of preference."""

    @model_validator(mode="after")
    def _checked_before_use(self) -> Self:
        if self.urls and self.md5 is None:
            raise ValueError(f"{self.name} has urls, so it needs its md5: what comes from the network is checked")
        return self


class ArchiveSource(Section):
    archives: list[Archive] = Field(min_length=1)
    manual: str | None = None
    """What a person must do to get them, where a program cannot."""

    @model_validator(mode="after")
    def _each_to_be_had(self) -> Self:
        names = [archive.name for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError(f"archives of one name: {', '.join(names)}")
        for archive in self.archives:
            if not archive.urls and self.manual is None:
                raise ValueError(f"{archive.name} has no urls; then source.manual must say how to get it")
        return self


class FolderSource(Section):
    """Data that only `download.source` can name."""

    folder: None


class OwnSource(Section):
    """Data that lie in data/raw/<dataset>/own, where the user put them and DVC tracks them."""

    own: None


KINDS = {"generator": GeneratorSource, "archives": ArchiveSource, "folder": FolderSource, "own": OwnSource}


def _kind_of_source(source: Any) -> str | None:
    return next((kind for kind in KINDS if isinstance(source, dict) and kind in source), None)


Source = Annotated[
    Annotated[GeneratorSource, Tag("generator")]
    | Annotated[ArchiveSource, Tag("archives")]
    | Annotated[FolderSource, Tag("folder")]
    | Annotated[OwnSource, Tag("own")],
    Discriminator(
        _kind_of_source,
        custom_error_type="wrong_source",
        custom_error_message=f"has one of the keys {', '.join(KINDS)}",
    ),
]


class LabelClass(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ -]*$")
    color: tuple[Byte, Byte, Byte] = Field(strict=False)
    values: list[RawValue] = Field(min_length=1)
    """The raw mask values that mean this class: numbers, or in all classes colours."""


class Card(Section):
    title: str
    licence: str
    citation: str
    home: str | None
    images: int | None = Field(default=None, gt=0)
    """How many it has, as published."""
    source: Source
    layout: Literal["split_folders", "folders", "oxford_pet", "camvid", "ph2"]
    mask_suffix: str = ""
    """What the name of a mask has more than that of its image, in the layouts folders and split_folders: _mask, _L."""
    classes: list[LabelClass] = Field(min_length=2, max_length=255)
    void: list[RawValue]
    """The raw mask values that count nowhere."""
    group: str | None = None
    """A regular expression whose one pair of brackets finds, in an image's name, the group that must not be torn apart:
    frames of a sequence, images of a patient."""

    @property
    def num_outputs(self) -> int:
        return count_outputs(len(self.classes))

    @property
    def has_official_split(self) -> bool:
        return self.layout not in ("folders", "ph2")

    @property
    def in_colours(self) -> bool:
        """Whether masks are read as colours, not as numbers."""
        return isinstance(self.classes[0].values[0], tuple)

    def group_of(self, name: str) -> str:
        """The group of an image by its name; an image that the expression does not find is a group of its own."""
        found = re.search(self.group, name.split("/")[-1]) if self.group else None
        return (found and found.group(1)) or name

    @field_validator("group")
    @classmethod
    def _one_pair_of_brackets(cls, group: str | None) -> str | None:
        try:
            if group is None or re.compile(group).groups == 1:
                return group
        except re.error as error:
            raise ValueError(f"{group!r} is no regular expression: {error}") from None
        raise ValueError(f"{group!r} must have one pair of brackets, around what names the group")

    @model_validator(mode="after")
    def _each_value_once(self) -> Self:
        raw = [value for label_class in self.classes for value in label_class.values] + self.void
        if len({isinstance(value, tuple) for value in raw}) > 1:
            raise ValueError("classes and void mix numbers and colours; a mask is read as one or the other")
        values = [str(value) for value in raw]
        names = [label_class.name for label_class in self.classes]
        if "void" in map(str.lower, names):
            raise ValueError("a class is called void; what is void stands in void, which is no class")
        if columns := [name for name in names if name.lower() in COLUMNS]:
            raise ValueError(
                f"a class is called {columns[0]}; {', '.join(COLUMNS)} name columns and rows of the reports"
            )
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
        return validate(Card, read_yaml(path), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such card") from None


def count_outputs(classes: int) -> int:
    """Output channels for so many classes: two need one logit, background against foreground."""
    return 1 if classes == 2 else classes
