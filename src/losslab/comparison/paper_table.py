"""The table of a paper, as YAML or CSV, for `losslab doubt`."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from losslab.comparison.doubt import Method
from losslab.errors import InputError, quote
from losslab.formats import format_plural
from losslab.io.yaml import MAX_FILE_BYTES, Section, read_yaml, validate

MAX_SHARE_SD = 0.5
"""The most that scores from 0 to 1 can spread: half of them 0, half 1. Over images, scores in percent spread more than that."""
MIN_SEED_SD = 0.1
"""Points below which a standard deviation over seeds is taken for one of scores from 0 to 1."""
METRICS = ("dice", "iou")
SEPARATORS = (",", ";", "\t")


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

    metric: Literal["dice", "iou"] | None = None
    like: Literal["lesions", "pets", "streets", "typical"] | None = None
    images: int | None = Field(default=None, ge=1)
    seeds: int | None = Field(default=None, ge=1)
    rows: list[Any]


@dataclass(frozen=True)
class PaperTable:
    """The table of a paper, in scores from 0 to 1."""

    methods: list[Method]
    images: int
    metric: Literal["dice", "iou"]
    states_metric: bool
    """Whether the metric is said; else Dice is assumed."""
    like: str | None
    """Kind of data, if it is said."""
    states_seeds: bool
    """Whether it is said of all methods how many seeds they had; else one is assumed."""


def read_paper_table(
    path: Path, images: int | None = None, seeds: int | None = None, metric: str | None = None, like: str | None = None
) -> PaperTable:
    """Read the table of a paper; what is given here counts instead of what the file says.

    Raises:
        InputError: the file does not exist, or something in it is wrong; the message names file and row.
    """
    if metric not in (None, *METRICS):
        raise InputError(f"--metric {metric}: must be one of {', '.join(METRICS)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the YAML or CSV file with the table")
    if not path.is_file():
        raise InputError(f"{path}: no such file; it must be a YAML or CSV file with a row for each method")
    if path.suffix.lower() == ".csv":
        file = _read_csv_file(path)
    elif path.suffix.lower() in (".yaml", ".yml"):
        content = read_yaml(path)
        if isinstance(content, list):
            raise InputError(f"{path}: is a list; put it below a key, rows:")
        file = validate(PaperFile, content, path)
    else:
        raise InputError(f"{path}: must be a .yaml or .csv file")
    if len(file.rows) < 2:
        raise InputError(
            f"{path}: has {format_plural(len(file.rows), 'method')}; an order needs at least two, a row each"
        )
    file = file.model_copy(update={"metric": metric or file.metric, "like": like or file.like})
    rows = [validate(PaperRow, row, f"{path}: row {number}") for number, row in enumerate(file.rows, start=1)]
    scale = _find_scale(path, rows)
    shared = images or _find_images(path, rows, file.images)
    known = [seeds or row.seeds or file.seeds for row in rows]
    methods = [
        Method(
            name=row.method,
            mean=row.mean / scale,
            sd=_find_sd(row, scale, shared, f"{path}: row {number}"),
            seed_sd=_scale_sd("seed_sd", row.seed_sd, 1.0, scale, MIN_SEED_SD, f"{path}: row {number}"),
            seeds=count or 1,
        )
        for number, (row, count) in enumerate(zip(rows, known, strict=True), start=1)
    ]
    names = [method.name for method in methods]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise InputError(f"{path}: row {number + 1}: {quote(name)} is a method of an earlier row; name each once")
    return PaperTable(
        methods=methods,
        images=shared,
        metric=file.metric or "dice",
        states_metric=file.metric is not None,
        like=file.like,
        states_seeds=None not in known,
    )


def _read_csv_file(path: Path) -> PaperFile:
    """Read a CSV file, whose names may have capitals and spaces, separated by the one of `SEPARATORS` that it has most of."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{path}: more than {MAX_FILE_BYTES} bytes, which is no table of a paper")
    try:
        text = path.read_text(encoding="utf-8-sig")
        separator = max(SEPARATORS, key=text.partition("\n")[0].count)
        given = list(csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as CSV: {error}") from None
    lines = [cells for each in given if any(cells := [cell.strip() for cell in each])]
    if not lines:
        raise InputError(
            f"{path}: is empty; it must have a line of names, such as method,mean,sd,images, and rows below it"
        )
    names = [re.sub(r"\s+", "_", name.lower()) for name in lines[0]]
    for name in ("method", "mean"):
        if name not in names:
            allowed = ", ".join(PaperRow.model_fields)
            raise InputError(
                f"{path}: has no column {name}; it has {', '.join(lines[0])}, and columns may be {allowed}"
            )
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path}: has two columns {twice[0]}; name each once")
    rows = [
        _convert_line(names, cells, separator, f"{path}: row {number}") for number, cells in enumerate(lines[1:], 1)
    ]
    return validate(PaperFile, {"rows": rows}, path)


def _convert_line(names: Sequence[str], cells: Sequence[str], separator: str, where: str) -> dict[str, Any]:
    """Convert a line's cells to numbers, whose decimal sign may be a comma where that is no separator; empty ones are left out."""
    if len(cells) > len(names):
        raise InputError(f"{where}: has more cells than the line of names")
    row: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=False):
        if name == "method" or not cell:
            row |= {name: cell} if cell else {}
            continue
        try:
            number = float(cell if separator == "," else cell.replace(",", "."))
        except ValueError:
            raise InputError(f"{where}: {name} is {quote(cell)}; it must be a number") from None
        row[name] = int(number) if name in ("images", "seeds") and number.is_integer() else number
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
    if row.se is not None:
        return _scale_sd("se", row.se, math.sqrt(images), scale, MAX_SHARE_SD, where)
    return _scale_sd("sd", row.sd, 1.0, scale, MAX_SHARE_SD, where)


def _scale_sd(name: str, value: float | None, factor: float, scale: float, least: float, where: str) -> float | None:
    """Return `factor` times a value as a standard deviation of scores from 0 to 1.

    Raises InputError if it is of more than such scores can have, or in percent at most `least`, so not in percent.
    """
    if value is None:
        return None
    if value * factor > MAX_SHARE_SD * scale:
        raise InputError(
            f"{where}: {name} is {value:g}; it must be at most {MAX_SHARE_SD * scale / factor:.3g}, as such scores spread no more"
        )
    if scale > 1 and 0 < value * factor <= least:
        seeds = "" if name == "seed_sd" else ", or call it seed_sd if it is over seeds"
        raise InputError(
            f"{where}: {name} is {value:g}, means are in percent; give it in percent too ({100 * value:g}){seeds}"
        )
    return value * factor / scale
