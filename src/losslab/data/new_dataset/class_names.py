"""Names of classes in a file beside the masks, as tools for annotation write it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from losslab.cards import RESERVED_NAMES, RawValue

FILES = ("classes.txt", "class_names.txt", "labels.txt", "codes.txt", "labelmap.txt", "class_dict.csv")
MAX_BYTES = 100_000
COLOUR = re.compile(r"(?P<name>[^,:;]+?)\s*[,:;]\s*(\d{1,3})\s*[,;]\s*(\d{1,3})\s*[,;]\s*(\d{1,3})\b.*")
"""`name,128,0,0` of tables, and `name:128,0,0::` of CVAT's label maps."""
NUMBER_FIRST = re.compile(r"(\d{1,5})\s*[:=,;\s]\s*(?P<name>.+)")
NUMBER_LAST = re.compile(r"(?P<name>.+?)\s*[:=,;]\s*(\d{1,5})")


@dataclass(frozen=True)
class ClassNames:
    path: Path
    by_value: Mapping[RawValue, str]
    in_order: bool
    """Whether the file has names alone, one a line: of values from 0, or of just as many values."""

    def pick(self, values: Sequence[RawValue]) -> list[str] | None:
        """Return the names of these values, or None if one has none, or one that a card cannot hold."""
        if self.in_order and len(values) == len(self.by_value):
            names = list(self.by_value.values())
        else:
            names = [self.by_value.get(value, "") for value in values]
        good = all(re.fullmatch("[A-Za-z0-9][A-Za-z0-9_ -]*", name) for name in names)
        reserved = {name.lower() for name in names} & {"void", *RESERVED_NAMES}
        return names if good and not reserved and len(set(names)) == len(names) else None


def find_class_names(masks: Path) -> ClassNames | None:
    """Find a file of class names in the folder of masks, or in the one above it."""
    for path in (folder / name for folder in (masks, masks.parent) for name in FILES):
        if path.is_file() and path.stat().st_size <= MAX_BYTES:
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            lines = [line for each in text.splitlines() if (line := each.strip()) and not line.startswith("#")]
            if lines:
                return _parse(path, lines)
    return None


def _parse(path: Path, lines: Sequence[str]) -> ClassNames:
    for form in (COLOUR, NUMBER_FIRST, NUMBER_LAST):
        matches = [form.fullmatch(line) for line in lines]
        if all(matches[1:]) and any(matches):  # the first may be a table's header
            by_value: dict[RawValue, str] = {}
            for match in filter(None, matches):
                numbers = [int(part) for part in match.groups() if part and part != match["name"]]
                value = (numbers[0], numbers[1], numbers[2]) if form is COLOUR else numbers[0]
                by_value[value] = match["name"].strip()
            return ClassNames(path, by_value, in_order=False)
    return ClassNames(path, dict(enumerate(lines)), in_order=True)
