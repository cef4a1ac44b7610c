"""Peak memory of losslab's train and evaluate for one prepared folder: `python -m benchmarks.memory FOLDER OUT`.

Beside the peak of all resident memory stands that of anonymous memory, what the process itself has taken.
"""

import json
import resource
import sys
import threading
from pathlib import Path

from benchmarks.losslab_run import train_with
from benchmarks.settings import Work
from benchmarks.stopwatch import EpochClock, Stopwatch, peak_mib
from losslab.data.prepared import Prepared
from losslab.evaluation import evaluate
from losslab.params import load

STATUS = Path("/proc/self/status")
EVERY_S = 0.02


def main(folder: str, out: str) -> None:
    work = Work(Path(folder))
    anonymous = AnonymousPeak()
    params, prepared = load(work.params), Prepared(work.prepared)
    trained = train_with(params, prepared, EpochClock(Stopwatch()))
    evaluate(trained.net, trained.description, prepared, "test", params.evaluate.batch_size)
    peaks = {"peak_mib": peak_mib(resource.RUSAGE_SELF), "anonymous_mib": anonymous.stop()}
    Path(out).write_text(json.dumps(peaks), encoding="utf-8")


class AnonymousPeak:
    """Watches anonymous memory from a thread, where there is /proc."""

    def __init__(self) -> None:
        self.kib = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def stop(self) -> float | None:
        self.done.set()
        self.thread.join()
        return self.kib / 1024 or None

    def _watch(self) -> None:
        while STATUS.exists() and not self.done.wait(EVERY_S):
            values = [line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:")]
            self.kib = max([self.kib, *map(int, values)])


if __name__ == "__main__":
    main(*sys.argv[1:])
