"""The progress of a run, for who waits for it: the stages and epochs that its log has."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from tqdm import tqdm

from losslab.stage import print_line
from losslab.study.results import find_epoch

STAGE = re.compile(r"^Running stage '(\w+)'", re.MULTILINE)
INTERVAL_S = 0.5


@contextmanager
def show_progress(name: str, log: Path, epochs: int) -> Iterator[None]:
    """Follow a log in this context: with a bar on a terminal and in a notebook, else with a line for each stage."""
    is_live = sys.stderr.isatty() or "ipykernel" in sys.modules
    form = "{desc} {bar} {n_fmt}/{total_fmt} epochs, {elapsed}{postfix}"
    bar = tqdm(desc=name, total=epochs, bar_format=form, disable=not is_live, leave=False)
    has_ended = Event()

    def follow() -> None:
        is_last, shown = False, 0
        while not is_last:
            is_last = has_ended.wait(INTERVAL_S)
            stages = STAGE.findall(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else []
            for stage in stages[shown:]:
                bar.set_postfix_str(stage, refresh=False)
                if not is_live:
                    print_line(f"{name}: {stage}")
            shown = len(stages)
            bar.n = int((find_epoch(log) or "epoch 0/").split()[1].partition("/")[0])
            bar.refresh()

    follower = Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        has_ended.set()
        follower.join()
        bar.close()
