"""Wall-clock time of epochs, time of the first step, and peak memory of one contestant."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.gpu_busy import BusyMeter, start_meter


@dataclass
class Stopwatch:
    """Seconds and images of each epoch, including the first, which the report leaves out."""

    train: list[tuple[float, int]] = field(default_factory=list)
    evaluation: list[tuple[float, int]] = field(default_factory=list)
    first_step_at: float | None = None
    """Value of time.time() after the first optimizer step."""
    gpu_busy: list[float | None] = field(default_factory=list)
    """Share of each training epoch in which the GPU was busy; empty without a GPU."""

    def __post_init__(self) -> None:
        register_optimizer_step_post_hook(self._note_step)

    def _note_step(self, *_: Any) -> None:
        if self.first_step_at is None:
            wait_for_gpu()
            self.first_step_at = time.time()

    @contextmanager
    def time_epoch(self, epochs: list[tuple[float, int]], images: int) -> Iterator[None]:
        """Time the block, and append its seconds and images to `epochs`."""
        began = time.perf_counter()
        yield
        wait_for_gpu()
        epochs.append((time.perf_counter() - began, images))

    def to_dict(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "evaluation": self.evaluation,
            "first_step_at": self.first_step_at,
            "gpu_busy": self.gpu_busy,
            "peak_mib": measure_peak_mib(resource.RUSAGE_SELF),
            "peak_worker_mib": measure_peak_mib(resource.RUSAGE_CHILDREN),
        }


class EpochClock(Callback):
    """A callback that times the epochs of Lightning's fit: training, and with `validation=True` validation apart."""

    def __init__(self, stopwatch: Stopwatch, validation: bool = False) -> None:
        self.stopwatch, self.validation = stopwatch, validation
        self.began, self.ended, self.images = 0.0, 0.0, 0
        self.meter: BusyMeter | None = None

    def on_train_epoch_start(self, *_: Any) -> None:
        wait_for_gpu()
        self.meter = start_meter()
        self.began, self.images = time.perf_counter(), 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.images += len(batch[0])
        if index + 1 == trainer.num_training_batches:
            wait_for_gpu()
            self.ended = time.perf_counter()
            self.stopwatch.train.append((self.ended - self.began, self.images))
            if self.meter is not None:
                self.stopwatch.gpu_busy.append(self.meter.stop())
            self.images = 0

    def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.images += len(batch[0])

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if self.validation and not trainer.sanity_checking:
            wait_for_gpu()
            # Counted from the last training step, since loader workers start before Lightning's first validation hook.
            self.stopwatch.evaluation.append((time.perf_counter() - self.ended, self.images))


def wait_for_gpu() -> None:
    """Wait until the GPU, which runs behind, has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure_peak_mib(who: int) -> float:
    """Measure the peak resident memory in MiB of this process, or of the largest of its children that have ended."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit / 2**20
