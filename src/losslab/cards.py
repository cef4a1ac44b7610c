"""Dataset cards: one strict YAML file per dataset describes its source, its layout on disk and its labels."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from unicodedata import normalize

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from losslab.bands import RGB, BandFormat, CardBands
from losslab.errors import InputError, quote, shorten, suggest_name
from losslab.io.yaml import Section, read_yaml, validate
from losslab.plugins.manifest import explain_unknown, find_entry, find_plugins

IGNORE_INDEX = 255
"""The label of void pixels in prepared masks."""
MAX_CLASSES = IGNORE_INDEX
CLASS_LIMIT = f"at most {MAX_CLASSES} classes are possible: a label is a byte, and {IGNORE_INDEX} is void"

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
RESERVED_NAMES = ("split", "truth", "all")
"""Names that no class may have: reports use them for columns of confusion.csv, and for all classes in strata.csv."""
NO_CLASS, SEVERAL = PICTURE_NAMES = ("none", "several classes")
"""What pictures call pixels of no overlapping class, and of several; no such class may have these names."""
MAX_OVERLAPPING = IGNORE_INDEX - len(PICTURE_NAMES)
GROUPS_TIMEOUT_S = 20
Byte = Annotated[int, Field(ge=0, le=255)]


def _check_raw_value(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value == NONZERO or (is_number and 0 <= value <= 65535):
        return value
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) == 3 and all(type(part) is int and 0 <= part <= 255 for part in numbers):
        return tuple(numbers)
    raise ValueError(
        f"{quote(value)} is not a mask value; use a number from 0 to 65535, a colour such as [128, 0, 64], a range such as "
        f"128-255, or {NONZERO}"
    )


def _expand_ranges(values: Any) -> Any:
    """Write ranges, such as 128-255, as their numbers; what is no range is checked later."""
    if not isinstance(values, list):
        return values
    expanded: list[Any] = []
    for value in values:
        expanded += (isinstance(value, str) and parse_range(value)) or [value]
    return expanded


def parse_range(text: str) -> list[int] | None:
    """Return the numbers of a range of mask values.

    >>> parse_range("3-5"), parse_range("5-3"), parse_range("1")
    ([3, 4, 5], None, None)
    """
    match = re.fullmatch("([0-9]{1,5})-([0-9]{1,5})", text)
    low, high = map(int, match.groups()) if match else (1, 0)
    return list(range(low, high + 1)) if low <= high <= 65535 else None


NONZERO: Literal["nonzero"] = "nonzero"
RawValue = Annotated[int | tuple[int, int, int] | Literal["nonzero"], BeforeValidator(_check_raw_value)]
"""A value in a mask file: a number, or an RGB colour; or `nonzero`, each that the card does not name, but 0 and black."""
RawValues = Annotated[list[RawValue], BeforeValidator(_expand_ranges)]
"""Values in mask files; a card may write a range of numbers as 128-255."""


class GeneratorSource(Section):
    """Images that losslab draws itself, the same bytes on every machine."""

    generator: Literal["lesions", "overlapping_lesions", "nuclei", "vessels", "roads"]
    """What is drawn: in `overlapping_lesions` a hair over a lesion hides none of the lesion's mask."""
    difficulty: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    """How hard the drawing is to segment, 0 to 1: lower contrast, softer borders, fainter things and more that distracts."""
    seed: int = Field(ge=0)
    """Number that the drawing follows from."""
    pixels: int = Field(ge=16, le=4096)
    """Pixels a side. (DVC's run cache overlooks keys called size.)"""
    images: dict[SplitName, Annotated[int, Field(gt=0)]]
    """How many are drawn for each of train, val and test."""


class Archive(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_. -]*$")
    """Name of the file."""
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """Checksum of the file; null if nobody publishes it."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Checksum of the file, beside md5 or instead of it; without either, only a file that the user provides is accepted."""
    bytes: int | None = Field(gt=0)
    """Size of the download; None if it is not known."""
    unpacked: int = Field(gt=0)
    """Upper limit of its unpacked bytes; a larger archive is refused."""
    urls: list[Annotated[str, Field(pattern=r"^https?://[^\s/\[\]]+/\S*$")]]
    """Addresses in order of preference."""

    @model_validator(mode="after")
    def _require_checksum(self) -> Self:
        if self.urls and self.md5 is None and self.sha256 is None:
            raise ValueError(f"{self.name} has urls, so it needs an md5 or sha256 to check the download")
        return self


class ArchiveSource(Section):
    archives: list[Archive] = Field(min_length=1)
    """Files to fetch and unpack."""
    manual: str | None = None
    """Steps that a person must take to get the archives, if a program cannot fetch them."""

    @model_validator(mode="after")
    def _check_archives(self) -> Self:
        names = [archive.name for archive in self.archives]
        if len(set(names)) < len(names):
            raise ValueError(f"archives share a name: {', '.join(names)}")
        for archive in self.archives:
            if not archive.urls and self.manual is None:
                raise ValueError(f"{archive.name} has no urls, so source.manual must say how to get it")
        return self


class FolderSource(Section):
    """Data in a folder that only `download.source` names."""

    folder: None
    """Always null: `download.source` in params.yaml names the folder."""


class OwnSource(Section):
    """Data in data/raw/<dataset>/own, where the user put them and DVC tracks them."""

    own: None
    """Always null: the data lie in data/raw/<dataset>/own."""


SOURCE_KINDS: dict[str, type[Section]] = {
    "generator": GeneratorSource,
    "archives": ArchiveSource,
    "folder": FolderSource,
    "own": OwnSource,
}


def _find_source_kind(source: Any) -> str | None:
    return next((kind for kind in SOURCE_KINDS if isinstance(source, dict) and kind in source), None)


Source = Annotated[
    Annotated[GeneratorSource, Tag("generator")]
    | Annotated[ArchiveSource, Tag("archives")]
    | Annotated[FolderSource, Tag("folder")]
    | Annotated[OwnSource, Tag("own")],
    Discriminator(
        _find_source_kind,
        custom_error_type="wrong_kind",
        custom_error_message=f"needs one of the keys {', '.join(SOURCE_KINDS)}",
    ),
]


SPLIT_LAYOUTS = (
    "split_folders",
    "ade20k",
    "camvid",
    "cityscapes",
    "drive",
    "isic2018",
    "loveda",
    "oxford_pet",
    "voc2012",
)
UNSPLIT_LAYOUTS = ("folders", "cvc_clinicdb", "dsb2018", "ph2")
"""Layouts with an official split, and without one."""
LAYOUT_NAMES = (*SPLIT_LAYOUTS, *UNSPLIT_LAYOUTS)
"""The layouts that losslab itself reads."""


def _check_layout(layout: str) -> str:
    if find_entry("reader", layout, LAYOUT_NAMES) is None and layout not in LAYOUT_NAMES:
        known = [*LAYOUT_NAMES, *find_plugins().select("reader")]
        raise ValueError(explain_unknown(f"{quote(layout)} is not one of {', '.join(known)}", layout, known))
    return layout


class LabelClass(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ -]*$")
    """Name of the class, as scores and pictures show it."""
    color: tuple[Byte, Byte, Byte] = Field(strict=False)
    """Red, green and blue, 0 to 255, for pictures and masks."""
    values: RawValues = Field(min_length=1)
    """Raw mask values of this class: numbers, or colours in all classes."""


class Card(Section):
    title: str
    """Name of the dataset, as reports show it."""
    licence: str
    """Terms of the data; download prints them."""
    citation: str
    """Publication to cite."""
    home: str | None
    """Address of the page that publishes the data."""
    images: int | None = Field(default=None, gt=0)
    """Published number of images."""
    source: Source
    """Origin of the data: the keys of one kind of source."""
    layout: Annotated[str, AfterValidator(_check_layout)]
    """How the files lie: one of `LAYOUT_NAMES`, or a reader of a plug-in."""
    mask_suffix: str = ""
    """Ending that a mask's name has and its image's lacks, in the layouts folders and split_folders: _mask, _L."""
    bands: CardBands | None = None
    """Bands, type and scaling of the image files; null for RGB of 8 bits."""
    labels: Literal["exclusive", "overlapping"] = "exclusive"
    """Whether each pixel is of one class, or of any number of them: then classes have logits and masks of their own."""
    classes: list[LabelClass] = Field(min_length=2)
    """Classes in the order of their labels, 0, 1 and so on; of overlapping ones, none stands for the background."""
    void: RawValues = Field(default_factory=list)
    """Raw mask values that count nowhere."""
    group: str | None = None
    """A regular expression whose one capture group finds, in an image's name, the group of images that must stay in one
    split: frames of a sequence, images of a patient."""

    @property
    def format(self) -> BandFormat:
        """Return what the image files hold."""
        return RGB if self.bands is None else self.bands.format

    @property
    def is_overlapping(self) -> bool:
        return self.labels == "overlapping"

    @property
    def num_outputs(self) -> int:
        return count_outputs(len(self.classes), self.is_overlapping)

    @property
    def has_official_split(self) -> bool:
        entry = find_entry("reader", self.layout, LAYOUT_NAMES)
        return self.layout not in UNSPLIT_LAYOUTS if entry is None else entry.facts.get("official_split", False)

    @property
    def in_colours(self) -> bool:
        """Return whether masks are read as colours, not as numbers."""
        return any(isinstance(value, tuple) for value in self._raw_values)

    @property
    def _raw_values(self) -> list[RawValue]:
        return [value for label_class in self.classes for value in label_class.values] + self.void

    def find_groups(self, names: Sequence[str]) -> dict[str, str]:
        """Return the group of each image by its name; one that the expression does not match is its own group."""
        return find_groups(self.group, names)

    @field_validator("classes")
    @classmethod
    def _check_number(cls, classes: list[LabelClass]) -> list[LabelClass]:
        check_class_count(len(classes))
        return classes

    @field_validator("group")
    @classmethod
    def _check_group(cls, group: str | None) -> str | None:
        try:
            if group is None or re.compile(group).groups == 1:
                return group
        except re.error as error:
            raise ValueError(f"{quote(group)} is not a regular expression: {error}") from None
        raise ValueError(f"{quote(group)} must have exactly one pair of brackets, around the group's name")

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        raw = self._raw_values
        if len({type(value) for value in raw if value != NONZERO}) > 1:
            raise ValueError("classes and void mix numbers and colours; a mask is read as one or the other")
        values = [str(value) for value in raw]
        if self.is_overlapping:
            # Each class has a mask of its own, so that classes may share values.
            of_classes = {value for label_class in self.classes for value in label_class.values}
            values = [str(value) for value in [*of_classes, *self.void]]
            if self.in_colours or 0 in raw:
                raise ValueError(
                    "labels are overlapping: in a class's mask 0 is outside, and values are numbers above it"
                )
            if len(self.classes) > MAX_OVERLAPPING:
                raise ValueError(
                    f"{len(self.classes)} overlapping classes; at most {MAX_OVERLAPPING} have a colour in pictures"
                )
            if taken := [one.name for one in self.classes if one.name.lower() in PICTURE_NAMES]:
                raise ValueError(f"a class is called {taken[0]}; pictures call so what is of no class, or of several")
        names = [label_class.name for label_class in self.classes]
        if "void" in map(str.lower, names):
            raise ValueError("a class is called void; list void values under void instead")
        if reserved := [name for name in names if name.lower() in RESERVED_NAMES]:
            raise ValueError(
                f"a class is called {reserved[0]}; {', '.join(RESERVED_NAMES)} name columns and rows of the reports"
            )
        for what, items in (("raw value", values), ("class name", names)):
            twice = sorted(item for item, count in Counter(items).items() if count > 1)
            if twice:
                raise ValueError(f"{what} {shorten(', '.join(twice))} appears twice in classes and void")
        return self


def read_card(dataset: str, catalog: Path = Path("data/catalog")) -> Card:
    """Read `data/catalog/<dataset>.yaml`. Raises InputError that names the file, and all keys at fault."""
    path = catalog / f"{dataset}.yaml"
    try:
        return validate(Card, read_yaml(path), path)
    except FileNotFoundError:
        known = [card.stem for card in catalog.glob("*.yaml")]
        hint = suggest_name(dataset, known) or "; `losslab datasets` lists those there are"
        raise InputError(
            f"{path}: no such card{hint if known else '; is this the folder of a losslab project?'}"
        ) from None


def find_groups(expression: str | None, names: Sequence[str]) -> dict[str, str]:
    """Return the group that the expression finds in each name, else the name itself.

    Another process searches, since Python's search can take years on a short name, and nothing else can stop it. Raises
    InputError if it takes longer than `GROUPS_TIMEOUT_S`.

    >>> find_groups("^(p[0-9]+)_", ["p1_a", "b"])
    {'p1_a': 'p1', 'b': 'b'}
    """
    if expression is None:
        return {name: name for name in names}
    command, request = (
        [sys.executable, "-I", "-S", "-c", _SEARCH],
        json.dumps([normalize("NFC", expression), list(names)]),
    )
    try:
        result = subprocess.run(
            command, input=request, capture_output=True, text=True, timeout=GROUPS_TIMEOUT_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise InputError(
            f"group {expression!r} takes more than {GROUPS_TIMEOUT_S} s on {len(names)} names; write it without a repeat "
            "within a repeat, such as (a+)+"
        ) from None
    except subprocess.CalledProcessError as error:
        raise InputError(
            f"group {expression!r} fails: {(error.stderr.split(chr(10))[-2:-1] or ['killed'])[0]}"
        ) from None
    return dict(zip(names, json.loads(result.stdout), strict=True))


_SEARCH = """
import json, re, sys
expression, names = json.load(sys.stdin)
matches = [re.search(expression, name.split("/")[-1]) for name in names]
json.dump([(match and match.group(1)) or name for match, name in zip(matches, names)], sys.stdout)
"""


def check_class_count(count: int) -> int:
    """Return a number of classes that labels can tell apart; InputError: there are more than `MAX_CLASSES`."""
    if count > MAX_CLASSES:
        raise InputError(f"{quote(count)} classes; {CLASS_LIMIT}")
    return count


def count_outputs(classes: int, overlapping: bool = False) -> int:
    """Return the number of output channels for a number of classes: two need one logit, background against foreground.

    Overlapping classes have one logit each, whatever their number.

    >>> count_outputs(2), count_outputs(3), count_outputs(2, overlapping=True)
    (1, 3, 2)
    """
    return 1 if classes == 2 and not overlapping else classes


def has_overlapping_labels(description: Mapping[str, Any]) -> bool:
    """Return whether the classes of a dataset.json or model.json overlap: `labels` is there for such alone.

    >>> has_overlapping_labels({"labels": "overlapping"}), has_overlapping_labels({})
    (True, False)
    """
    return description.get("labels") == "overlapping"
