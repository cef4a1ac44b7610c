"""What can be wrong with a dataset's files, how bad it is, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""An error keeps an image out, and a strict run from going on; a warning is about data that are used; a note is a file that
is no part of the data, or something to know."""

KindName = Literal[
    "image without a mask",
    "mask without an image",
    "same name as another",
    "name that is no text",
    "unreadable image",
    "truncated image",
    "too large to read",
    "unreadable mask",
    "truncated mask",
    "size mismatch",
    "label not in the card",
    "nothing but void",
    "duplicate across splits",
    "near-duplicate across splits",
    "group in several splits",
    "duplicate",
    "image too small",
    "one class only",
    "class absent",
    "listed, but not on disk",
    "fewer images than published",
    "EXIF turn not applied",
    "rotated by its EXIF tag",
    "16-bit image",
    "not an image",
    "hidden file",
    "in no official list",
]


@dataclass(frozen=True)
class FindingKind:
    severity: Severity
    remedy: str


FINDING_KINDS: dict[KindName, FindingKind] = {
    "image without a mask": FindingKind("error", "add a mask of the same name, or take the image away"),
    "mask without an image": FindingKind("error", "add the image, or take the mask away"),
    "same name as another": FindingKind("error", "give it a name of its own, without the ending"),
    "name that is no text": FindingKind("error", "rename it; it is not in UTF-8"),
    "unreadable image": FindingKind("error", "save it again as PNG, JPEG, BMP, TIFF, WebP or GIF"),
    "truncated image": FindingKind("error", "copy or download it again"),
    "too large to read": FindingKind("error", "cut it into tiles"),
    "unreadable mask": FindingKind("error", "save it again as PNG or BMP"),
    "truncated mask": FindingKind("error", "copy or download it again"),
    "size mismatch": FindingKind("error", "make the mask of the image's size"),
    "label not in the card": FindingKind(
        "error", "correct the mask, or add the value to a class or to void in the card"
    ),
    "nothing but void": FindingKind("error", "label it, or take it away"),
    "duplicate across splits": FindingKind("warning", "keep one of them, or -S prepare.split.method=grouped"),
    "near-duplicate across splits": FindingKind(
        "warning", "look; if they show the same, keep one, or -S prepare.split.method=grouped"
    ),
    "group in several splits": FindingKind("warning", "-S prepare.split.method=grouped"),
    "duplicate": FindingKind("warning", "keep one of them"),
    "image too small": FindingKind("warning", "a smaller prepare.size, or better images"),
    "one class only": FindingKind("warning", "look whether the mask is empty by mistake"),
    "class absent": FindingKind(
        "warning", "another split, such as stratified; or take it out of the card, if no mask has it"
    ),
    "listed, but not on disk": FindingKind("warning", "get the whole dataset, or know that a part is used"),
    "EXIF turn not applied": FindingKind(
        "warning", "look whether its mask fits the pixels as stored; save it without the tag"
    ),
    "fewer images than published": FindingKind("warning", "get the whole dataset, or know that a part is used"),
    "rotated by its EXIF tag": FindingKind("note", "nothing: the mask has the rotated size, so the image was rotated"),
    "16-bit image": FindingKind("note", "nothing: 0..65535 became 0..255; if the values use less, stretch them before"),
    "not an image": FindingKind("note", "nothing"),
    "hidden file": FindingKind("note", "nothing"),
    "in no official list": FindingKind("note", "nothing; a random split would use it"),
}


@dataclass(frozen=True)
class Finding:
    kind: KindName
    file: str
    """Below the dataset's folder; or a split, or a pair."""
    detail: str = ""

    @property
    def severity(self) -> Severity:
        return FINDING_KINDS[self.kind].severity

    def describe(self) -> dict[str, str]:
        kind = FINDING_KINDS[self.kind]
        return {
            "severity": kind.severity,
            "kind": self.kind,
            "file": self.file,
            "detail": self.detail,
            "remedy": kind.remedy,
        }
