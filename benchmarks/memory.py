"""Peak memory of losslab's train and evaluate for one prepared folder: `python -m benchmarks.memory FOLDER OUT`.

OUT holds the peak of all resident memory, and that of anonymous memory, which the process itself has taken.
"""

import json
import resource
import sys
from pathlib import Path

from benchmarks.anonymous_peak import AnonymousPeak
from benchmarks.losslab_run import train_with
from benchmarks.settings import Work
from benchmarks.stopwatch import EpochClock, Stopwatch, measure_peak_mib
from losslab.data.loading.arrays import PreparedData
from losslab.evaluation import evaluate_split
from losslab.params import load


def main(folder: str, out: str) -> None:
    work = Work(Path(folder))
    anonymous = AnonymousPeak()
    params, prepared = load(work.params), PreparedData(work.prepared)
    trained = train_with(params, prepared, EpochClock(Stopwatch()))
    evaluate_split(trained.net, trained.description, prepared, "test", params.evaluate.batch_size)
    peaks = {"peak_mib": measure_peak_mib(resource.RUSAGE_SELF), "anonymous_mib": anonymous.stop()}
    Path(out).write_text(json.dumps(peaks), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
