"""How an out differs from another of the same name, in what its kind of file counts in."""

import csv
import filecmp
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from losslab.formats import format_plural
from losslab.io.files import flatten


def describe_difference(old: Path, new: Path) -> str | None:
    """Tell how a file or folder, which may be missing now, differs from what it was; None if every byte is the same."""
    if not new.exists():
        return "is missing"
    if old.is_dir():
        return _compare_folders(old, new)
    if filecmp.cmp(old, new, shallow=False):
        return None
    try:
        difference = BY_SUFFIX[new.suffix](old, new) if new.suffix in BY_SUFFIX else None
    except Exception as error:  # from any library: one of the two is not what its name says
        return f"cannot be compared ({type(error).__name__}); {_compare_bytes(old, new)}"
    if new.suffix not in BY_SUFFIX:
        return f"differs, {_compare_bytes(old, new)}"
    return difference or f"has the same content, but is written differently; {_compare_bytes(old, new)}"


def _compare_folders(old: Path, new: Path) -> str | None:
    before, after = (
        {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} for folder in (old, new)
    )
    unequal = {name for name in before & after if not filecmp.cmp(old / name, new / name, shallow=False)}
    differ = sorted((before ^ after) | unequal)
    if not differ:
        return None
    first = differ[0]
    how = describe_difference(old / first, new / first) if first in before else "is new"
    return f"{len(differ)} of {format_plural(len(before | after), 'file')} differ, first {first}: {how}"


def _compare_bytes(old: Path, new: Path) -> str:
    before, after = old.read_bytes(), new.read_bytes()
    same = min(len(before), len(after))
    unequal = np.frombuffer(before[:same], np.uint8) != np.frombuffer(after[:same], np.uint8)
    position = int(unequal.argmax()) if unequal.any() else same
    sizes = f"{len(before)} bytes" if len(before) == len(after) else f"{len(before)} bytes, now {len(after)}"
    return f"first in byte {position + 1} of {sizes}"


def _compare_tensors(old: Path, new: Path) -> str | None:
    from safetensors.torch import load_file

    before, after = load_file(old), load_file(new)
    if odd := sorted(before.keys() ^ after.keys()):
        return f"{format_plural(len(odd), 'tensor')} only in one of the two, such as {odd[0]}"
    for name in sorted(before):
        if before[name].shape != after[name].shape:
            return f"{name} was {list(before[name].shape)}, is {list(after[name].shape)}"
    arrays = {name: (before[name].double().numpy(), after[name].double().numpy()) for name in sorted(before)}
    unequal = {name: count for name, pair in arrays.items() if (count := _count_unequal(*pair))}
    if not unequal:
        return None
    largest = {name: _find_largest_gap(*arrays[name]) for name in unequal}
    worst = max(largest, key=lambda name: largest[name])
    values = sum(pair[0].size for pair in arrays.values())
    return (
        f"{len(unequal)} of {len(arrays)} tensors and {sum(unequal.values()):,} of {values:,} values differ, "
        f"by {largest[worst]:.2g} at most ({worst})"
    )


def _compare_array(old: Path, new: Path) -> str | None:
    before, after = (np.load(path, mmap_mode="r") for path in (old, new))
    if before.shape != after.shape or before.dtype != after.dtype:
        return f"was {before.dtype} {list(before.shape)}, is {after.dtype} {list(after.shape)}"
    count = largest = 0.0
    for one, other in zip(before, after, strict=True):  # one image at a time: such files are large
        count += _count_unequal(one, other)
        largest = max(largest, _find_largest_gap(one.astype(np.float64), other.astype(np.float64)))
    return f"{int(count):,} of {before.size:,} values differ, by {largest:g} at most" if count else None


def _compare_pixels(old: Path, new: Path) -> str | None:
    from PIL import Image

    with Image.open(old) as one, Image.open(new) as other:
        if (one.mode, one.size) != (other.mode, other.size):
            return f"was {one.mode} {one.width}x{one.height}, is {other.mode} {other.width}x{other.height}"
        before, after = np.asarray(one), np.asarray(other)
    unequal = (before != after).reshape(*before.shape[:2], -1).any(axis=-1)
    return f"{int(unequal.sum()):,} of {unequal.size:,} pixels differ" if unequal.any() else None


def _compare_table(old: Path, new: Path) -> str | None:
    (before, *rows), (after, *new_rows) = (
        list(csv.reader(path.read_text(encoding="utf-8").splitlines())) for path in (old, new)
    )
    if before != after:
        return f"had the columns {','.join(before)}, has {','.join(after)}"
    if len(rows) != len(new_rows):
        return f"had {format_plural(len(rows), 'row')}, has {len(new_rows)}"
    return _compare_values(_name_cells(before, rows), _name_cells(after, new_rows))


def _name_cells(columns: list[str], rows: list[list[str]]) -> dict[str, str]:
    return {
        f"row {number}, {name}": value
        for number, row in enumerate(rows, 1)
        for name, value in zip(columns, row, strict=True)
    }


def _compare_json(old: Path, new: Path) -> str | None:
    return _compare_values(*(flatten(json.loads(path.read_text("utf-8")), with_lists=True) for path in (old, new)))


def _compare_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    missing = object()
    keys = dict.fromkeys([*before, *after])
    differ = [key for key in keys if before.get(key, missing) != after.get(key, missing)]
    if not differ:
        return None
    was, now = (values.get(differ[0], "missing") for values in (before, after))
    difference = f"{len(differ)} of {len(keys)} values differ, first {differ[0]}: {was}, now {now}"
    gaps = [gap for key in differ if (gap := _compute_gap(before.get(key), after.get(key))) is not None]
    return f"{difference}; by {max(gaps):.2g} at most" if gaps else difference


def _compute_gap(one: Any, other: Any) -> float | None:
    try:
        gap = abs(float(one) - float(other))
    except (TypeError, ValueError):
        return None
    return gap if math.isfinite(gap) else None


def _count_unequal(before: Any, after: Any) -> int:
    equal = before == after
    if np.issubdtype(before.dtype, np.floating):
        equal |= np.isnan(before) & np.isnan(after)
    return int(np.size(equal) - np.count_nonzero(equal))


def _find_largest_gap(before: Any, after: Any) -> float:
    gaps = np.abs(before - after)
    return float(np.nanmax(gaps)) if np.size(gaps) and not np.isnan(gaps).all() else math.nan


BY_SUFFIX: dict[str, Callable[[Path, Path], str | None]] = {
    ".safetensors": _compare_tensors,
    ".npy": _compare_array,
    ".png": _compare_pixels,
    ".csv": _compare_table,
    ".json": _compare_json,
}
