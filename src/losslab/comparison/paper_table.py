"""The table of a paper, as YAML or CSV, for `losslab doubt`."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from losslab.comparison.doubt import Method
from losslab.errors import InputError, quote
from losslab.io.yaml import MAX_FILE_BYTES, Section, read_yaml, validate

MAX_SHARE_SD = 0.5
"""The most that scores from 0 to 1 can spread: half of them 0, half 1."""


class PaperRow(Section):
    """One method of the table; the scores are from 0 to 1, or all in percent."""

    method: str = Field(min_length=1)
    mean: float = Field(ge=0, le=100)
    sd: float | None = Field(default=None, ge=0)
    """Standard deviation over test images."""
    se: float | None = Field(default=None, ge=0)
    """Standard error over test images."""
    seed_sd: float | None = Field(default=None, ge=0)
    """Standard deviation over seeds."""
    images: int | None = Field(default=None, ge=1)
    seeds: int | None = Field(default=None, ge=1)


class PaperFile(Section):
    """The content of a YAML file; what a row does not say, the file may say for all."""

    metric: Literal["dice", "iou"] = "dice"
    like: Literal["lesions", "pets", "streets", "typical"] | None = None
    images: int | None = Field(default=None, ge=1)
    seeds: int | None = Field(default=None, ge=1)
    rows: list[Any] = Field(min_length=2)


@dataclass(frozen=True)
class PaperTable:
    """The table of a paper, in scores from 0 to 1."""

    methods: list[Method]
    images: int
    metric: Literal["dice", "iou"]
    like: str | None
    """Kind of data, if the file says it."""
    states_seeds: bool
    """Whether it is said of all methods how many seeds they had; else one is assumed."""


def read_paper_table(path: Path, images: int | None = None, seeds: int | None = None) -> PaperTable:
    """Read the table of a paper; `images` and `seeds` are those of methods of which the file does not say it.

    Raises:
        InputError: the file does not exist, or something in it is wrong; the message names file and row.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; it must be a YAML or CSV file with a row for each method")
    if path.suffix.lower() == ".csv":
        file = _read_csv_file(path)
    elif path.suffix.lower() in (".yaml", ".yml"):
        file = validate(PaperFile, read_yaml(path), path)
    else:
        raise InputError(f"{path}: must be a .yaml or .csv file")
    rows = [validate(PaperRow, row, f"{path}: row {number}") for number, row in enumerate(file.rows, start=1)]
    scale = _find_scale(path, rows)
    shared = _find_images(path, rows, file.images or images)
    known = [row.seeds or file.seeds or seeds for row in rows]
    methods = [
        Method(
            name=row.method,
            mean=row.mean / scale,
            sd=_find_sd(row, scale, shared, f"{path}: row {number}"),
            seed_sd=None if row.seed_sd is None else row.seed_sd / scale,
            seeds=count or 1,
        )
        for number, (row, count) in enumerate(zip(rows, known, strict=True), start=1)
    ]
    names = [method.name for method in methods]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InputError(f"{path}: row {number + 1}: {quote(name)} is a method of an earlier row; name each once")
    return PaperTable(methods, shared, file.metric, file.like, None not in known)


def _read_csv_file(path: Path) -> PaperFile:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes, which is no table of a paper")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as CSV: {error}") from None
    if not lines:
        raise InputError(
            f"{path}: is empty; it must have a line of names, such as method,mean,sd,images, and rows below it"
        )
    if missing := [name for name in ("method", "mean") if name not in lines[0]]:
        has, allowed = ", ".join(map(str, lines[0])), ", ".join(PaperRow.model_fields)
        raise InputError(f"{path}: has no column {missing[0]}; it has {has}, and columns may be {allowed}")
    rows = [_convert_line(line, f"{path}: row {number}") for number, line in enumerate(lines, start=1)]
    return validate(PaperFile, {"rows": rows}, path)


def _convert_line(line: dict[str | None, Any], where: str) -> dict[str, Any]:
    """Convert a line's cells to numbers; empty ones are left out."""
    if None in line:
        raise InputError(f"{where}: has more cells than the line of names")
    row: dict[str, Any] = {}
    for name, cell in line.items():
        if name == "method" or not (cell or "").strip():
            row |= {str(name): cell.strip()} if cell and cell.strip() else {}
            continue
        try:
            number = float(cell)
        except ValueError:
            raise InputError(f"{where}: {name} is {quote(cell)}; it must be a number") from None
        row[str(name)] = int(number) if name in ("images", "seeds") and number.is_integer() else number
    return row


def _find_scale(path: Path, rows: Sequence[PaperRow]) -> float:
    """Return 100 where the scores are in percent, 1 where they are from 0 to 1."""
    if all(row.mean <= 1 for row in rows):
        return 1.0
    for number, row in enumerate(rows, start=1):
        if 0 < row.mean <= 1:
            raise InputError(
                f"{path}: row {number}: mean is {row.mean:g}, others are in percent; give all in percent, or all from 0 to 1"
            )
    return 100.0


def _find_images(path: Path, rows: Sequence[PaperRow], given: int | None) -> int:
    """Find the number of test images, which all methods share."""
    known = [row.images or given for row in rows]
    for number, images in enumerate(known, start=1):
        if images is None:
            raise InputError(
                f"{path}: row {number}: images is missing; say how many test images there are, there or with --images"
            )
        if images != known[0]:
            raise InputError(
                f"{path}: row {number}: images is {images}, in row 1 {known[0]}; methods must be scored on the same images"
            )
    return known[0] or 1


def _find_sd(row: PaperRow, scale: float, images: int, where: str) -> float | None:
    if row.sd is not None and row.se is not None:
        raise InputError(f"{where}: has sd and se; give one of them")
    sd = row.sd if row.se is None else row.se * math.sqrt(images)
    if sd is not None and sd / scale > MAX_SHARE_SD:
        name, most = ("sd", MAX_SHARE_SD) if row.se is None else ("se", MAX_SHARE_SD / math.sqrt(images))
        raise InputError(
            f"{where}: {name} is {row.se or row.sd:g}; it must be at most {most * scale:.3g}, as such scores spread no more"
        )
    return None if sd is None else sd / scale
