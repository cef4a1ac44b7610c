"""The kinds of findings about a dataset's files, with their severity and remedy."""

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""An error leaves an image out, unless scaling alone spoils it, and stops a strict run; a warning is about data that are used;
a note is about a file that is no part of the data, or only informs."""

KindName = Literal[
    "image without a mask",
    "mask without an image",
    "same name as another",
    "name that is no text",
    "ignored by DVC",
    "unreadable image",
    "truncated image",
    "too large to read",
    "several frames",
    "unexpected bands",
    "values that are not finite",
    "unreadable mask",
    "truncated mask",
    "size mismatch",
    "label not in the card",
    "palette unlike another",
    "nothing but void",
    "lost in its scaling",
    "duplicate across splits",
    "near-duplicate across splits",
    "group in several splits",
    "duplicate",
    "image too small",
    "image of one value",
    "one class only",
    "class absent",
    "too fine for prepare.size",
    "listed, but not on disk",
    "split without a folder",
    "split without masks",
    "image without a field of view",
    "fewer images than published",
    "EXIF turn not applied",
    "rotated by its EXIF tag",
    "not an image",
    "hidden file",
    "in no official list",
]


@dataclass(frozen=True)
class FindingKind:
    severity: Severity
    remedy: str


FINDING_KINDS: dict[KindName, FindingKind] = {
    "image without a mask": FindingKind("error", "add a mask of the same name, or remove the image"),
    "mask without an image": FindingKind("error", "add the image, or remove the mask"),
    "image without a field of view": FindingKind(
        "error", "get the complete dataset: what lies outside of the field of view is void"
    ),
    "same name as another": FindingKind("error", "give it a name that differs by more than the ending"),
    "name that is no text": FindingKind("error", "rename it; the name is not UTF-8"),
    "ignored by DVC": FindingKind(
        "error", "take its pattern out of .dvcignore, or move it away: DVC does not store it"
    ),
    "unreadable image": FindingKind("error", "save it again as PNG, JPEG, BMP, TIFF, WebP, GIF or NPY"),
    "truncated image": FindingKind("error", "copy or download it again"),
    "too large to read": FindingKind(
        "error", "save it as a TIFF or NPY, which prepare.fit=tile reads by windows, or cut it into tiles"
    ),
    "several frames": FindingKind("error", "save each frame that counts as a file with a mask of its own"),
    "unexpected bands": FindingKind(
        "error", "describe what all files hold under `bands` in the card, as `losslab datasets new` does"
    ),
    "values that are not finite": FindingKind("error", "fill the gaps with a number, such as 0"),
    "unreadable mask": FindingKind("error", "save it again as PNG or BMP"),
    "truncated mask": FindingKind("error", "copy or download it again"),
    "size mismatch": FindingKind("error", "make the mask the size of the image"),
    "label not in the card": FindingKind(
        "error", "correct the mask, or add the value to a class or to void in the card"
    ),
    "palette unlike another": FindingKind(
        "error", "save all masks with one palette, or write its colours as the values of the card's classes"
    ),
    "nothing but void": FindingKind("error", "label it, or remove it"),
    "lost in its scaling": FindingKind(
        "error",
        "choose another scaling for the card's bands, such as percentiles; or look for images far brighter or darker than most, "
        "which widen the range",
    ),
    "duplicate across splits": FindingKind("warning", "keep one of them, or run with -S prepare.split.method=grouped"),
    "near-duplicate across splits": FindingKind(
        "warning", "compare them; if they show the same, keep one, or run with -S prepare.split.method=grouped"
    ),
    "group in several splits": FindingKind("warning", "run with -S prepare.split.method=grouped"),
    "duplicate": FindingKind("warning", "keep one of them"),
    "image too small": FindingKind("warning", "use a smaller prepare.size, or larger images"),
    "image of one value": FindingKind("warning", "check that the image is not empty by mistake"),
    "one class only": FindingKind("warning", "check that the mask is not empty by mistake"),
    "class absent": FindingKind(
        "warning", "use another split, such as stratified; or remove the class from the card, if no mask has it"
    ),
    "too fine for prepare.size": FindingKind(
        "warning", "raise prepare.size, or show the net tiles of images at their own size: prepare.fit=tile"
    ),
    "listed, but not on disk": FindingKind("warning", "get the complete dataset, or go on with a part of it"),
    "split without a folder": FindingKind(
        "warning",
        "get the complete dataset; if it has no such split, one drawn from the training images takes its place",
    ),
    "split without masks": FindingKind("note", "nothing, if nobody publishes them; the images are not used"),
    "EXIF turn not applied": FindingKind(
        "warning", "check that its mask fits the pixels as stored, then save it without the tag"
    ),
    "fewer images than published": FindingKind("warning", "get the complete dataset, or go on with a part of it"),
    "rotated by its EXIF tag": FindingKind("note", "nothing: the mask has the rotated size, so the image was rotated"),
    "not an image": FindingKind("note", "nothing"),
    "hidden file": FindingKind("note", "nothing"),
    "in no official list": FindingKind("note", "nothing; a random split would use it"),
}


@dataclass(frozen=True)
class Finding:
    kind: KindName
    file: str
    """A file below the dataset's folder, an image's name, a group, a split or a class."""
    detail: str = ""

    @property
    def severity(self) -> Severity:
        return FINDING_KINDS[self.kind].severity

    def describe(self) -> dict[str, str]:
        return {"severity": self.severity, **asdict(self), "remedy": FINDING_KINDS[self.kind].remedy}
