"""How many threads each run of a study computes with: as many for all, because their number changes the last bits of weights."""

import os
from pathlib import Path

from losslab.errors import InputError
from losslab.formats import format_plural
from losslab.io.files import read_json, write_json
from losslab.runtime.parallel import count_cores

RECORD = "threads.json"
"""File in the folder of a study's state; its value null says that torch chooses."""


def share_threads(folder: Path, jobs: int) -> tuple[str | None, str | None]:
    """Return the `OMP_NUM_THREADS` of each run of a study, and a line to tell if it is not what `jobs` alone would give.

    A study that is resumed keeps the number that it began with, whatever `jobs` is now. Else runs share the cores, and
    one at a time leaves it to torch (None), as `dvc repro` does. `OMP_NUM_THREADS` of this process is what the user
    wants, and replaces both.

    Args:
        folder: of the study's state, where the number is kept.
        jobs: how many runs go on at once.
    """
    path, wanted = folder / RECORD, os.environ.get("OMP_NUM_THREADS")
    shared = str(max(1, count_cores() // jobs)) if jobs > 1 else None
    try:
        recorded = read_json(path)["threads"]
    except (FileNotFoundError, InputError, KeyError):
        write_json(path, {"threads": wanted or shared})
        return wanted or shared, None
    if wanted and wanted != recorded:
        write_json(path, {"threads": wanted})
        return wanted, f"threads: {_describe(wanted)}, earlier runs {_describe(recorded)}: the last bits differ"
    if recorded == (wanted or shared):
        return recorded, None
    return recorded, f"threads: {_describe(recorded)}, as this study began; set OMP_NUM_THREADS to change that"


def _describe(threads: str | None) -> str:
    if threads is None:
        return "as torch chooses"
    return f"{format_plural(int(threads), 'thread')} a run" if threads.isdecimal() else f"{threads} a run"
