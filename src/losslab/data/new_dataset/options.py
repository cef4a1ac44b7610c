"""The options of `losslab datasets new`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from losslab.cards import RawValue
from losslab.data.annotations import FormatName


@dataclass(frozen=True, kw_only=True)
class NewDatasetOptions:
    """What the user says about the data; the rest is read from the files."""

    name: str
    images: Path
    masks: Path | None = None
    """A folder of masks; None where there are annotations."""
    annotations: Path | None = None
    """A file or folder that masks are drawn from."""
    format: FormatName | None = None
    """The format of annotations; None to detect it."""
    annotators: bool = False
    """Whether masks or annotations lie in a folder for each of several annotators."""
    unannotated: Literal["empty", "skip"] | None = None
    """What images without an annotation are: background, or left out; None to stop at them."""
    overlapping: bool = False
    """Whether a pixel may be of several classes, which then have a mask each."""
    void_labels: Sequence[str] | None = None
    """Labels of annotations that are void, or `rest`; None for those that the format has for it."""
    title: str | None = None
    classes: Sequence[str] | None = None
    """Names, in the order of values; None to make them up. Of annotations, labels, or name=label+label."""
    void: Sequence[RawValue] | None = None
    """Values that are void; None for 255, if there are two other values or more."""
    values: Sequence[Sequence[RawValue]] | None = None
    """Values of each class; None to make each value a class."""
    pair: str | None = None
    """A regular expression that captures the same in the names of an image and its mask; None to pair by names."""
    foreground: bool = False
    """Whether all values but 0 (or black) and void are one class."""
    group: str | None = None
    bands: Sequence[str] | None = None
    """Names of the images' bands; None for those that the files have, if they are not RGB of 8 bits."""
    scaling: str | Mapping[str, Sequence[float]] | None = None
    """How a card says that values are scaled; None for percentiles, or the range of 8 bits."""
    shown: Sequence[str] | None = None
    """Names of the bands that pictures show; None for the first three, or the first."""
