"""The bands of your own images as a card says them: what all files hold, and how their values are scaled."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from losslab.bands import MAX_BANDS, CardBands
from losslab.data.images.files import UnusableFileError
from losslab.data.images.windows import TYPES_THAT_FIT, StoredBands, describe_bands
from losslab.data.new_dataset.masks import map_files
from losslab.data.new_dataset.options import NewDatasetOptions
from losslab.errors import InputError
from losslab.formats import format_list, format_plural
from losslab.io.yaml import validate

PERCENTILES = {"percentiles": [0.1, 99.9]}
"""The scaling of types whose range says little of the values."""
MAX_FILES_NAMED = 2
RGB_NAMES = ["red", "green", "blue"]


def choose_bands(images: Mapping[str, Path], options: NewDatasetOptions) -> CardBands | None:
    """Choose the bands of a card; None where it needs none: all files are grey or RGB of 8 bits, and no option says more.

    Files that cannot be read are left to the scan. Raises InputError if others differ in bands or type, or are of a type that
    no card has, or if the options do not fit them.
    """
    is_said = any(said is not None for said in (options.bands, options.scaling, options.shown))
    held = zip(images.values(), map_files(_describe, images.values(), "headers"), strict=True)
    known = {path: stored for path, stored in held if stored is not None}
    if not known or (not is_said and all(stored.is_rgb for stored in known.values())):
        return None
    by_kind = dict[tuple[int, str], list[Path]]()
    for path, stored in known.items():
        by_kind.setdefault((_count_bands(stored, options.bands), stored.dtype.name), []).append(path)
    if len(by_kind) > 1:
        raise InputError(
            f"{next(iter(known)).parent}: {_list_kinds(by_kind)}; a card describes one kind: leave out others"
        )
    (count, held_type), paths = next(iter(by_kind.items()))
    where = f"{paths[0]} holds {format_plural(count, 'band')} of {held_type}"
    # Of two types, the one that takes negative values: whether there are some, only the pixels tell.
    dtype = next((dtype for dtype, fitting in reversed(TYPES_THAT_FIT.items()) if held_type in fitting), None)
    if dtype is None:
        raise InputError(f"{where}; save it as {', '.join(TYPES_THAT_FIT)}")
    if count > MAX_BANDS:
        raise InputError(
            f"{where}; at most {MAX_BANDS} are possible: save those that count, each pixel's side by side "
            "(planarconfig='contig')"
        )
    if options.bands is not None and len(options.bands) != count:
        raise InputError(f"--bands gives {format_plural(len(options.bands), 'name')}, but {where}")
    names = options.bands or _choose_names(count, known[paths[0]])
    described = {
        "names": list(names),
        "dtype": dtype,
        "scaling": options.scaling or ("dtype range" if dtype == "uint8" else PERCENTILES),
        "shown": list(options.shown or (names[:3] if count >= 3 else names[:1])),
    }
    return validate(CardBands, described, "--bands, --scaling and --shown")


def _describe(path: Path) -> StoredBands | None:
    try:
        return describe_bands(path)
    except UnusableFileError:
        return None


def _count_bands(stored: StoredBands, names: Sequence[str] | None) -> int:
    """Count the bands without alpha, unless there are names for all of them."""
    counts_alpha = names is not None and len(names) == stored.bands
    return stored.bands - (stored.has_alpha and not counts_alpha)


def _list_kinds(by_kind: Mapping[tuple[int, str], Sequence[Path]]) -> str:
    kinds = []
    for (count, dtype), paths in by_kind.items():
        names = format_list([path.name for path in paths], MAX_FILES_NAMED)
        kinds.append(f"{names} {'hold' if len(paths) > 1 else 'holds'} {format_plural(count, 'band')} of {dtype}")
    return ", but ".join(kinds)


def _choose_names(count: int, stored: StoredBands) -> list[str]:
    """Choose the names that the first file gives, if they suit a card."""
    found = [re.sub("[^A-Za-z0-9_. -]", "", name).strip(" .-_")[:40] for name in stored.names]
    if len({name for name in found if name}) == count == len(found):
        return found
    return RGB_NAMES if stored.is_rgb and count == 3 else [f"band{number}" for number in range(1, count + 1)]
