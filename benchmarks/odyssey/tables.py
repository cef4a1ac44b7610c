"""The CSV files in results/odyssey/: what is committed of each kind of data, and all that the page is made of."""

import csv
import io
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from losslab.errors import InputError
from losslab.io.files import parse_number, read_csv, write_csv

RESULTS = Path("results/odyssey")
DATASETS, COST, REPEATED = "datasets.csv", "cost.csv", "repeated.csv"
REFERENCE = "cross_entropy"
"""The loss that all others are held against."""
MAX_BYTES = 60_000
"""Size of a file beyond which it does not belong into Git."""
Row = Mapping[str, str]

RUN_COLUMNS = (
    *("run", "loss", "net", "seed", "lr", "chosen", "commit", "model_md5", "epochs", "best_epoch", "val_miou"),
    *("miou", "mdice", "boundary_iou", "hd95", "surface_dice_1", "ece", "mcc"),
    *("recall_tiny", "recall_small", "border_error", "train_seconds", "state", "reason"),
)
"""Columns that every KIND.runs.csv has; `iou_<class>` stand between `mcc` and `recall_tiny`."""
VERDICT_COLUMNS = (
    *("metric", "net", "loss", "rank", "mean", "low", "high", "sd", "seeds", "claimable"),
    *("gain", "gain_low", "gain_high", "gain_real", "beats"),
)
DATASET_COLUMNS = (
    *(
        "kind",
        "dataset",
        "title",
        "classes",
        "rare_class",
        "test_images",
        "test_groups",
        "size",
        "epochs",
        "batch_size",
        "seeds",
    ),
    *("losses", "nets", "runs", "failed", "missing", "commit", "hardware", "precision", "threads"),
    *("cpu_hours", "timed_runs", "command"),
)
COST_COLUMNS = (
    *("dataset", "classes", "net", "size", "batch_size", "loss", "ms", "ratio", "lowest", "highest"),
    *("hardware", "precision", "threads"),
)
REPEATED_COLUMNS = ("kind", "run", "commit", "model_md5", "hardware")
COLLECT = "PYTHONPATH=. python -m benchmarks.odyssey collect"


def format_number(value: float | None, digits: int = 4) -> str:
    """Format a number for a CSV file; nothing for a missing one.

    >>> format_number(0.81239), format_number(float("nan")), format_number(12.0, 1)
    ('0.8124', '', '12.0')
    """
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, whole or not at all. InputError: there is none, or the file would be too large for Git."""
    if not rows:
        raise InputError(f"{path}: there is nothing to write")
    text = io.StringIO()
    csv.writer(text).writerows([rows[0].keys(), *(row.values() for row in rows)])
    if (size := len(text.getvalue().encode())) > MAX_BYTES:
        raise InputError(f"{path}: {size:,} bytes are too many to commit, at most {MAX_BYTES:,}")
    write_csv(path, rows)


def replace_row(path: Path, row: Row, key: str) -> None:
    """Write a row into a table in place of the one with the same value of `key`, if there is one; rows are sorted by it."""
    others = [other for other in read_csv(path) if other[key] != row[key]] if path.exists() else []
    columns = dict.fromkeys([*row, *(name for other in others for name in other)], "")
    write_table(path, sorted(({**columns, **each} for each in [row, *others]), key=lambda each: each[key]))


def read_table(path: Path, columns: Iterable[str], remedy: str) -> list[dict[str, str]]:
    """Read a table. InputError, which ends in the remedy: it is not there, or lacks one of the columns."""
    try:
        rows = read_csv(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {remedy}") from None
    if not rows:
        raise InputError(f"{path}: it has no rows; {remedy}")
    if lacking := [name for name in columns if rows[0].get(name) is None]:
        raise InputError(f"{path}: no column {', '.join(lacking)}; {remedy}")
    return rows


@dataclass(frozen=True)
class Kind:
    """Everything that is committed about one kind of data."""

    name: str
    about: Row
    """Its row of datasets.csv."""
    runs: Sequence[Row]
    verdicts: Sequence[Row]

    @property
    def title(self) -> str:
        return self.name.replace("_", " ")

    @property
    def rare_metric(self) -> str | None:
        """Key of the IoU of the rarest class; None where no class is rare."""
        return f"iou_{self.about['rare_class']}" if self.about["rare_class"] else None

    @cached_property
    def chosen(self) -> list[Row]:
        """The runs that count: no losing trials, no failures."""
        return [row for row in self.runs if row["chosen"] == "yes" and row["state"] == "done"]

    @cached_property
    def losses(self) -> list[str]:
        """All losses, in the order of the study's file."""
        return list(dict.fromkeys(row["loss"] for row in self.runs))

    def list_standings(self, metric: str, net: str = "") -> list[Row]:
        """List the losses by a metric, the best first; without a net, as means over the nets. Empty: it is not judged."""
        return [row for row in self.verdicts if (row["metric"], row["net"]) == (metric, net)]

    def find_beaten(self, metric: str = "miou", net: str = "") -> set[tuple[str, str]]:
        """Find pairs of losses of which the first is really better than the second: among all, or one is cross entropy."""
        rows = self.list_standings(metric, net)
        pairs = {(row["loss"], worse) for row in rows for worse in split_names(row["beats"])}
        held = {(row["loss"], REFERENCE): get_number(row, "gain") > 0 for row in rows if row["gain_real"] == "yes"}
        return pairs | {pair if is_better else pair[::-1] for pair, is_better in held.items()}

    def find_worse(self, metric: str = "miou", net: str = "") -> set[str]:
        """Find losses than which some other is really better."""
        return {worse for _, worse in self.find_beaten(metric, net)}

    def list_leading(self, metric: str = "miou", net: str = "") -> list[str]:
        """List losses that can be told from others, and than which none is really better, the best mean first."""
        worse = self.find_worse(metric, net)
        rows = self.list_standings(metric, net)
        return [row["loss"] for row in rows if row["claimable"] == "yes" and row["loss"] not in worse]

    @cached_property
    def is_judged(self) -> bool:
        """Whether losses can be told apart at all: not if the test images are of too few groups, such as videos."""
        return any(row["claimable"] == "yes" for row in self.list_standings("miou"))


def write_command(name: str, sets: Iterable[str], alias: str | None) -> str:
    """Write the command that ran a study, as a shell takes it.

    >>> write_command("odyssey_small", ["dataset=camvid", "tune={train.lr: [0.01]}"], "odyssey_camvid")
    "losslab study run odyssey_small --set dataset=camvid --set 'tune={train.lr: [0.01]}' --as odyssey_camvid"
    """
    options = [word for text in sets for word in ("--set", text)] + (["--as", alias] if alias else [])
    return shlex.join(["losslab", "study", "run", name, *options])


def split_names(text: str) -> list[str]:
    return text.split(";") if text else []


def read_kinds(folder: Path) -> list[Kind]:
    """Read all kinds of data that have results. InputError: there is none, or a table lacks something."""
    first = f"`{COLLECT} KIND --project FOLDER` writes it"
    kinds = []
    for about in read_table(folder / DATASETS, DATASET_COLUMNS, first):
        again = f"write it again with `{COLLECT} {about['kind']} --project FOLDER`"
        runs = read_table(folder / f"{about['kind']}.runs.csv", RUN_COLUMNS, again)
        verdicts = read_table(folder / f"{about['kind']}.verdicts.csv", VERDICT_COLUMNS, again)
        kinds.append(Kind(about["kind"], about, runs, verdicts))
    return kinds


def get_number(row: Row, column: str) -> float:
    """Get the number in a column; NaN where there is none."""
    return parse_number(row.get(column))
