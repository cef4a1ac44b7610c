"""A reader of a layout that a plug-in defines, checked before its samples are used."""

import os
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from losslab.cards import SPLITS
from losslab.errors import InputError, quote
from losslab.plugins import Sample
from losslab.plugins.loading import call_plugin, load_plugin
from losslab.plugins.manifest import PluginEntry


def read_samples(entry: PluginEntry, folder: Path) -> list[Sample]:
    """Return the reader's samples, with paths below the folder; InputError: it fails, or gives what is no sample."""
    reader = load_plugin(entry.origin, entry.attribute)

    @wraps(reader)
    def read_all(**inputs: Any) -> list[Any]:
        return list(reader(**inputs))

    found = call_plugin(read_all, entry.origin, {"folder": folder.absolute()})
    return [_check(sample, entry, folder) for sample in found]


def _check(sample: Any, entry: PluginEntry, folder: Path) -> Sample:
    where = f"{entry.place}: {entry.name} gave"
    if not isinstance(sample, Sample):
        raise InputError(f"{where} {type(sample).__name__}; a reader gives losslab.plugins.Sample")
    if not isinstance(sample.name, str) or not sample.name:
        raise InputError(f"{where} {quote(sample.name)} as a name; a name is a text")
    if sample.split not in (None, *SPLITS):
        raise InputError(f"{where} the split {quote(sample.split)}; a split is one of {', '.join(SPLITS)}, or None")
    if sample.split is not None and not entry.facts.get("official_split"):
        raise InputError(f"{where} a split; write @reader(official_split=True)")
    root = folder.absolute()

    def place(path: Path) -> Path:
        whole = Path(os.path.normpath(root / path))
        if not whole.is_relative_to(root):
            raise InputError(f"{where} {whole}, which is not below {root}: DVC would not see it change")
        return folder / whole.relative_to(root)

    valid = None if sample.valid is None else place(sample.valid)
    return replace(sample, image=place(sample.image), mask=place(sample.mask), valid=valid)
