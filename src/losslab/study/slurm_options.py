"""Options of sbatch for the runs of a study, from the project's `slurm.yaml` and the command line."""

import re
from collections.abc import Sequence
from pathlib import Path

from losslab.errors import InputError, quote
from losslab.io.faults import describe_value
from losslab.io.yaml import read_yaml

OPTIONS = Path("slurm.yaml")
"""File of a project with options of sbatch, which `--slurm` overrides."""
OWN_OPTIONS = (
    "array",
    "error",
    "job-name",
    "nodes",
    "ntasks",
    "ntasks-per-node",
    "open-mode",
    "output",
    "signal",
    "wrap",
)
"""Options of sbatch that are set here."""


def read_options(root: Path, given: Sequence[str]) -> dict[str, str | bool]:
    """Read the options of sbatch from `slurm.yaml` and from `--slurm KEY=VALUE`, which come after it.

    Returns the options by their long names; True for one without a value. Raises InputError for what cannot be one.
    """
    options: dict[str, str | bool] = {}
    if (root / OPTIONS).exists():
        content = read_yaml(root / OPTIONS)
        if not isinstance(content, dict):
            raise InputError(f"{OPTIONS}: must hold options of sbatch, such as partition: gpu")
        for key, value in content.items():
            options |= _check_option(str(OPTIONS), str(key), value)
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise InputError(f"--slurm {text}: must be OPTION=VALUE of sbatch, such as partition=gpu or exclusive=true")
        options |= _check_option(f"--slurm {' '.join(text.split())}", key, True if value == "true" else value)
    return options


def parse_minutes(text: str | bool | None) -> int:
    """Return the minutes of a time limit as Slurm writes it, rounded up. Raises InputError if it is none.

    >>> parse_minutes("90"), parse_minutes("4:00:00"), parse_minutes("1-12"), parse_minutes("0:30")
    (90, 240, 2160, 1)
    """
    if text is None:
        raise InputError(f"--engine slurm needs a time limit for a run: --slurm time=4:00:00, or time in {OPTIONS}")
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", str(text))
    if match is not None:
        days, *parts = match.groups()
        numbers = [int(part) for part in parts if part is not None]
        units = [3600, 60, 1] if days is not None or len(numbers) == 3 else [60, 1]
        seconds = int(days or 0) * 86400 + sum(number * unit for number, unit in zip(numbers, units, strict=False))
        if seconds > 0:
            return -(-seconds // 60)
    raise InputError(f"time is {quote(text)}; it must be a time limit of Slurm: 90 (minutes), 4:00:00 or 1-12:00:00")


def _check_option(where: str, key: str, value: object) -> dict[str, str | bool]:
    name = key.strip().removeprefix("--").replace("_", "-")
    if not re.fullmatch(r"[a-z][a-z0-9-]+", name):
        raise InputError(f"{where}: {quote(key)} is not a long option of sbatch, such as partition")
    if name in OWN_OPTIONS:
        hint = ", to --jobs jobs at once" if name == "array" else ""
        raise InputError(f"{where}: losslab sets {name} itself{hint}; remove it")
    if value in (None, False) or isinstance(value, dict | list) or "\n" in str(value):
        raise InputError(
            f"{where}: {name} is {describe_value(value)}; it must be a plain value, or true for an option without one"
        )
    return {name: value if value is True else str(value)}


def parse_cpus(value: str | bool | int) -> int:
    """Return the number of processors of a run. Raises InputError if it is none."""
    if not re.fullmatch(r"[1-9]\d*", str(value)):
        raise InputError(f"cpus-per-task is {quote(value)}; it must be a number from 1")
    return int(value)
