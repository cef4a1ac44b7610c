"""losslab's steps and bare ones in turn, in one process: `python -m benchmarks.paired_steps`, with the options of benchmarks.run.

Each step of losslab's training, with loading and all that Lightning does between steps, is followed by a bare one of as many
images: a neighbour that comes and goes affects both. Processor time counts only what this process ran, so it means something
even on a machine that is never free. It needs OMP_NUM_THREADS=1, since threads that wait for others count too.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from benchmarks.bare_step import BareTraining
from benchmarks.data import make
from benchmarks.losslab_run import train_with
from benchmarks.run import parse_options
from benchmarks.settings import CAMVID, Settings, Work
from benchmarks.stopwatch import wait_for_gpu
from losslab.data.loading.arrays import PreparedData
from losslab.params import load

CLOCKS = {"wall clock": time.perf_counter, "processor time": time.process_time}
Pair = tuple[dict[str, float], dict[str, float]]
"""Seconds of a step of losslab's and of the bare one after it, by clock."""


class PairedSteps(Callback):
    """A callback that adds a bare step to each step but the first of an epoch, and times both."""

    def __init__(self, bare: BareTraining) -> None:
        self.bare = bare
        self.batches: Iterator[Tensor] = iter(())
        self.pairs: list[Pair] = []
        self.began: dict[str, float] | None = None

    def on_train_epoch_start(self, *_: Any) -> None:
        self.batches, self.began = iter(self.bare.draw_batches()), None

    def on_train_batch_end(self, *_: Any) -> None:
        middle = read_clocks()
        torch.use_deterministic_algorithms(False)
        self.bare.step(next(self.batches))
        torch.use_deterministic_algorithms(True)
        ended = read_clocks()
        if self.began is not None:
            self.pairs.append((subtract(middle, self.began), subtract(ended, middle)))
        self.began = read_clocks()


def read_clocks() -> dict[str, float]:
    wait_for_gpu()
    return {name: read() for name, read in CLOCKS.items()}


def subtract(ended: dict[str, float], began: dict[str, float]) -> dict[str, float]:
    return {name: ended[name] - began[name] for name in CLOCKS}


def render_pairs(pairs: Sequence[Pair]) -> str:
    """Render the medians of both steps by clock, and the median and the quartiles of the ratios of their speeds."""
    lines = ["| | losslab, ms | bare, ms | losslab/bare (quartiles) |", "|---|---|---|---|"]
    for clock in CLOCKS:
        own, bare = ([pair[which][clock] * 1000 for pair in pairs] for which in (0, 1))
        low, middle, high = statistics.quantiles([b / o for o, b in zip(own, bare, strict=True)], n=4)
        times = f"{statistics.median(own):.1f} | {statistics.median(bare):.1f}"
        lines.append(f"| {clock} | {times} | {middle:.3f} ({low:.3f} to {high:.3f}) |")
    return "\n".join(lines)


def measure(work: Work, settings: Settings) -> list[Pair]:
    """Measure the pairs of all epochs but the first."""
    prepared = PreparedData(work.prepared)
    bare = BareTraining(work, settings, len(prepared.describe()["classes"]))
    paired = PairedSteps(bare)
    train_with(load(work.params), prepared, paired)
    first_epoch = len(paired.pairs) // (1 + settings.epochs)
    return paired.pairs[first_epoch:]


def main() -> None:
    options = parse_options(sys.argv[1:])
    settings = Settings.from_options(options)
    with tempfile.TemporaryDirectory(prefix="losslab-pairs-") as folder:
        work = Work(Path(folder))
        data = make(work, settings, options.drawn or not CAMVID.is_dir())
        pairs = measure(work, settings)
    print(f"{data}; Unet on {settings.encoder}, {settings.size} x {settings.size}, batch {settings.batch_size}")
    print(f"{len(pairs)} pairs of steps, {torch.get_num_threads()} threads\n\n{render_pairs(pairs)}")


if __name__ == "__main__":
    main()
