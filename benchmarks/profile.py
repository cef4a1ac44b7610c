"""Profile of losslab's training: `python -m benchmarks.profile`, with the options of benchmarks.run.

After a first epoch, one epoch times the phases of each step, and another runs under torch's profiler.
Phases are wall-clock time on the CPU. On a GPU, which runs behind, only the table of operators is meaningful.
"""

import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from benchmarks.data import make
from benchmarks.losslab_run import train_with
from benchmarks.run import parse_options
from benchmarks.settings import CAMVID, Settings, Work
from losslab.data.loading.arrays import PreparedData
from losslab.params import load

TIMED_EPOCH, PROFILED_EPOCH = 1, 2
MAX_ROWS = 25


class PhaseTimer(Callback):
    """A callback that adds up the time between the points that Lightning and the net's own hooks mark."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.steps = 0
        self.on, self.last = False, 0.0
        self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def mark(self, ended: str) -> None:
        now = time.perf_counter()
        if self.on:
            self.seconds[ended] += now - self.last
        self.last = now

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        for part, phase in [(module.net, "net's forward"), *((loss, "loss") for loss in module.loss.losses.values())]:
            part.register_forward_pre_hook(lambda *_: self.mark("to input, logging and the rest of the step"))
            part.register_forward_hook(lambda *_, phase=phase: self.mark(phase))

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.on = trainer.current_epoch == TIMED_EPOCH
        if trainer.current_epoch == PROFILED_EPOCH:
            self.profiler.start()
        self.last = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        self.mark("data, and Lightning between steps")

    def on_before_backward(self, *_: Any) -> None:
        self.mark("to input, logging and the rest of the step")

    def on_after_backward(self, *_: Any) -> None:
        self.mark("backward")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.mark("gradient check and optimizer")
        self.steps += self.on
        if trainer.is_last_batch:
            self.on = False
            if trainer.current_epoch == PROFILED_EPOCH:
                self.profiler.stop()


def main() -> None:
    options = parse_options(sys.argv[1:])
    settings = replace(Settings.from_options(options), epochs=PROFILED_EPOCH)
    phases = PhaseTimer()
    with tempfile.TemporaryDirectory(prefix="losslab-profile-") as folder:
        work = Work(Path(folder))
        data = make(work, settings, options.drawn or not CAMVID.is_dir())
        train_with(load(work.params), PreparedData(work.prepared), phases)
    total = sum(phases.seconds.values())
    print(f"{data}; Unet on {settings.encoder}, {settings.size} x {settings.size}, batch {settings.batch_size}")
    print(f"{total / phases.steps * 1000:.0f} ms per step, {settings.batch_size * phases.steps / total:.2f} img/s\n")
    for phase, seconds in sorted(phases.seconds.items(), key=lambda item: -item[1]):
        print(f"{seconds / phases.steps * 1000:9.1f} ms  {seconds / total:6.1%}  {phase}")
    print()
    print(
        phases.profiler.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=MAX_ROWS, max_name_column_width=40
        )
    )


if __name__ == "__main__":
    main()
