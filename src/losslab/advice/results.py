"""The committed rows of the odyssey: how each loss did on each kind of data, and the measures of these data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import median, variance

import numpy as np

from losslab.data.measures import DatasetMeasures
from losslab.errors import InputError, quote
from losslab.io.files import iterate_csv, parse_number, read_csv
from losslab.project.code import REPOSITORY

RESULTS, DATASETS = Path("results/odyssey"), "datasets.csv"
MAY_BE_ZERO = ("empty_share", "tiny_share", "small_share", "border_share")
COUNTS = ("runs", "failed")
"""Columns of datasets.csv that count the rows of a kind."""
CARRIED = Path(__file__).parents[1] / "odyssey"
"""Folder in the wheel with the rows of losslab's own repository."""


@dataclass(frozen=True, kw_only=True)
class KindResults:
    """The runs that count of one kind of data: those with the learning rates that were chosen."""

    kind: str
    measures: DatasetMeasures
    scores: Mapping[str, Mapping[str, tuple[float, ...]]]
    """Loss → net → mIoU on test of each seed, 0..1."""

    @cached_property
    def points(self) -> dict[str, float]:
        """Points of mIoU, 0..100, of each loss: the mean over seeds, then over nets. A loss without a run on some net is out."""
        nets = set[str]().union(*self.scores.values())
        whole = {loss: scores for loss, scores in self.scores.items() if scores.keys() == nets}
        return {
            loss: 100 * float(np.mean([np.mean(scores[net]) for net in sorted(nets)])) for loss, scores in whole.items()
        }

    @cached_property
    def gaps(self) -> dict[str, float]:
        """Points of mIoU that each loss is below the best."""
        best = max(self.points.values(), default=math.nan)
        return {loss: best - points for loss, points in self.points.items()}

    @cached_property
    def noise(self) -> float:
        """Standard error, in points, that seeds give to the difference between two losses; NaN where none has two on each net.

        It is that of typical losses, the median of all: a loss whose nets fail with some seeds says nothing of the others.
        """
        variances = [
            sum(variance(seeds) / len(seeds) for seeds in self.scores[loss].values()) / len(self.scores[loss]) ** 2
            for loss in self.points
            if all(len(seeds) > 1 for seeds in self.scores[loss].values())
        ]
        return 100 * math.sqrt(2 * median(variances)) if variances else math.nan


def find_results(root: Path) -> Path:
    """Return the folder of a project's own rows, results/odyssey, or of those that come with losslab if it has none."""
    if (root / RESULTS / DATASETS).is_file():
        return root / RESULTS
    return CARRIED if CARRIED.is_dir() else REPOSITORY / RESULTS


def read_results(folder: Path) -> list[KindResults]:
    """Read all kinds of data that have runs that count, in the order of datasets.csv.

    Raises:
        InputError: there are none, or a table lacks something; the message names the file.
    """
    path = folder / DATASETS
    if not path.is_file():
        raise InputError(f"{path}: no such file; advice needs the odyssey's rows, which come with losslab")
    kinds = []
    for row in iterate_csv(path):
        if row.get("kind") is None:
            raise InputError(f"{path}: no column kind")
        kinds.append(
            KindResults(kind=row["kind"], measures=_parse_measures(row, path), scores=_read_scores(folder, row))
        )
    known = [kind for kind in kinds if kind.points]
    if not known:
        raise InputError(f"{folder}: no kind of data has a finished run; advice needs the odyssey's rows")
    return known


def _parse_measures(row: Mapping[str, str], path: Path) -> DatasetMeasures:
    values = {}
    for field in fields(DatasetMeasures):
        where = f"{path}: {row['kind']}: {field.name}"
        value = _parse(row.get(field.name), where)
        if value < 0 or (value == 0 and field.name not in MAY_BE_ZERO):
            raise InputError(f"{where} is {quote(row[field.name])}; it must be above 0")
        values[field.name] = int(value) if field.type is int else value
    return DatasetMeasures(**values)  # type: ignore[arg-type]


def _read_scores(folder: Path, row: Mapping[str, str]) -> dict[str, dict[str, tuple[float, ...]]]:
    path = folder / f"{row['kind']}.runs.csv"
    if not path.is_file():
        raise InputError(f"{path}: no such file, but {DATASETS} has a row of this kind")
    scores: dict[str, dict[str, tuple[float, ...]]] = {}
    runs = read_csv(path)
    if not runs:
        raise InputError(f"{path}: it has no rows")
    counts = [_parse(row[name], f"{folder / DATASETS}: {row['kind']}: {name}") for name in COUNTS if name in row]
    if counts and sum(counts) != len(runs):
        raise InputError(
            f"{path}: {len(runs)} rows, but {DATASETS} counts {sum(counts):.0f} runs: one of them was cut or changed"
        )
    for run in runs:
        missing = [name for name in ("loss", "net", "state", "chosen", "miou") if run.get(name) is None]
        if missing:
            raise InputError(f"{path}: no column {missing[0]}")
        if (run["state"], run["chosen"]) == ("done", "yes"):
            nets = scores.setdefault(run["loss"], {})
            where = f"{path}: {run.get('run')}: miou"
            if not 0 <= (score := _parse(run["miou"], where)) <= 1:
                raise InputError(f"{where} is {run['miou']}; it must be 0 to 1")
            nets[run["net"]] = (*nets.get(run["net"], ()), score)
    return scores


def _parse(cell: str | None, where: str) -> float:
    try:
        value = parse_number(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where} is {quote(cell)}; it must be a number")
    return value
