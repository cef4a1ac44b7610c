"""Files and folders that appear completely or not at all."""

import csv
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from losslab.errors import InputError

JsonObject = dict[str, Any]
Row = Mapping[str, object]
MAX_DEPTH = 50
"""Levels in a file that is read: none that losslab writes has ten, and thousands end in a stack overflow."""
PRIVATE = ".losslab"
"""Folder of a repository with what is neither Git's nor DVC's: checkpoints, downloads, locks, the logs of studies."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, for the caller to make a file or folder of; rename it if all went well.

    Its name is always the same, so that the next run clears away the leftovers of a killed one.
    """
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        with name_errors(path, partial):
            yield partial
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        _remove(partial)


@contextmanager
def name_errors(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Name this file in an error of the system that names none, as those of a write do, or its partial one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        if partial is not None:
            error.filename, error.filename2 = (
                str(path) + named.removeprefix(str(partial))
                if isinstance(named, str) and named.startswith(str(partial))
                else named
                for named in (error.filename, error.filename2)
            )
        raise


@contextmanager
def open_scratch_folder(path: Path) -> Iterator[Path]:
    """Yield `path` as an empty folder and remove it afterwards; leftovers of a killed run are cleared away first."""
    clear_folder(path)
    try:
        yield path
    finally:
        _remove(path)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there. A repository's `.losslab` is its owner's alone: it has logs."""
    for private in (path for path in (folder, *folder.parents) if path.name == PRIVATE):
        private.mkdir(0o700, parents=True, exist_ok=True)
        with suppress(PermissionError):  # another user's
            private.chmod(0o700)
    folder.mkdir(parents=True, exist_ok=True)


def clear_folder(folder: Path) -> None:
    """Make an empty folder, and remove whatever is there."""
    _remove(folder)
    folder.mkdir(parents=True)


def unlock_folders(folder: Path) -> None:
    """Let the user into `folder` and all folders below it, whatever permissions an archive gave them."""
    folder.chmod(0o755)
    for place, names, _ in os.walk(folder):  # top down: os.walk enters `names` afterwards
        for path in (Path(place) / name for name in names):
            if not path.is_symlink():
                path.chmod(0o755)


def walk_files(
    folder: Path, is_kept: Callable[[Path], bool] = lambda path: True, above: tuple[Path, ...] = ()
) -> Iterator[Path]:
    """Yield the files that a folder holds, then those of its subfolders, through links too; `is_kept` judges both.

    `above` are the real folders that lead to it. Raises InputError for a broken link, and for one that leads in a circle.
    """
    real = folder.resolve()
    if real in above:
        raise InputError(f"{folder} links to a folder that contains it")
    with os.scandir(folder) as entries:
        paths = sorted(path for path in (Path(entry.path) for entry in entries) if is_kept(path))
    if broken := next((path for path in paths if not path.exists()), None):
        raise InputError(f"{broken} is a broken link, to {broken.readlink()}")
    yield from (path for path in paths if path.is_file())
    for path in paths:
        if path.is_dir():
            yield from walk_files(path, is_kept, (*above, real))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends on every system, so that hashes agree."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def open_private(path: Path) -> BinaryIO:
    """Open a new file for writing that only its owner may read."""
    path.unlink(missing_ok=True)  # only a new file gets the mode
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, such as one with passwords."""
    with open_private(path) as file:
        file.write(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON, with NaN as null, because JSON has no NaN."""
    write_text(path, json.dumps(_replace_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> JsonObject:
    """Read a JSON file. Raises InputError for one that is not JSON, holds endless numbers, or is nested too deep."""
    try:
        content: JsonObject = json.loads(path.read_text(encoding="utf-8"))
        level, depth = [content], 0
        while level := [item for value in level for item in _list_items(value)]:
            depth += 1
            if depth > MAX_DEPTH:
                raise RecursionError
    except RecursionError:
        raise InputError(f"{path}: nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # of json, of UTF-8, and of numbers with thousands of digits
        raise InputError(f"{path}: not valid JSON: {error}") from None
    return content


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write rows that all have the keys of the first; NaN and None become empty cells."""
    rest = iter(rows)
    first = [row for row in (next(rest, None),) if row is not None]
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(first[0]) if first else [], lineterminator="\n")
        writer.writeheader()
        for row in chain(first, rest):
            writer.writerow({key: "" if _is_nan(value) else value for key, value in row.items()})


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(iterate_csv(path))


def iterate_csv(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file one by one: all of a large one are hundreds of megabytes. InputError: it is none, or torn."""
    with path.open(encoding="utf-8", newline="") as file:
        try:
            for row in (rows := csv.DictReader(file)):
                if None in row or None in row.values():
                    raise InputError(
                        f"{path}: line {rows.line_num} has not as many columns as the header: the file is torn"
                    )
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not readable as CSV: {error}") from None


def flatten(value: Any, joint: str = ".", with_lists: bool = False) -> dict[str, Any]:
    """Return the leaves of nested dicts under the joined keys that lead there; an empty dict is a leaf.

    Args:
        joint: text between two keys.
        with_lists: flatten lists too, by position: `tolerances[0]`.

    >>> flatten({"train": {"lr": 0.1, "ema": None}, "seed": 0})
    {'train.lr': 0.1, 'train.ema': None, 'seed': 0}
    """
    kinds = (Mapping, list) if with_lists else (Mapping,)
    if not value or not isinstance(value, kinds):
        return {"": value}
    items = value.items() if isinstance(value, Mapping) else ((f"[{place}]", item) for place, item in enumerate(value))
    leaves: dict[str, Any] = {}
    for key, item in items:
        for rest, leaf in flatten(item, joint, with_lists).items():
            leaves[f"{key}{joint if rest and not rest.startswith('[') else ''}{rest}"] = leaf
    return leaves


def _list_items(value: Any) -> Iterable[Any]:
    """List what a value of JSON holds, one level down."""
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _replace_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _replace_nan(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_replace_nan(item) for item in value]
    return None if _is_nan(value) else value


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and value != value


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        try:
            shutil.rmtree(path)
        except PermissionError:
            unlock_folders(path)
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def parse_number(cell: str | None) -> float:
    """Return the number in a cell of a CSV file; NaN for an empty or missing one."""
    return float(cell) if cell else math.nan
