"""Wall-clock of whole epochs, the time of the first step, and peak memory of one contestant."""

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

from benchmarks.gpu_busy import BusyMeter, meter


@dataclass
class Stopwatch:
    """Seconds and images of each epoch, the first one included; whoever reads them leaves it out."""

    train: list[tuple[float, int]] = field(default_factory=list)
    evaluation: list[tuple[float, int]] = field(default_factory=list)
    first_step_at: float | None = None
    """time.time() after the first optimizer step."""
    gpu_busy: list[float | None] = field(default_factory=list)
    """Share of each training epoch in which the GPU was busy; empty without one."""

    def __post_init__(self) -> None:
        register_optimizer_step_post_hook(self._stepped)

    def _stepped(self, *_: Any) -> None:
        if self.first_step_at is None:
            settle()
            self.first_step_at = time.time()

    @contextmanager
    def epoch(self, kept: list[tuple[float, int]], images: int) -> Iterator[None]:
        began = time.perf_counter()
        yield
        settle()
        kept.append((time.perf_counter() - began, images))

    def to_dict(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "evaluation": self.evaluation,
            "first_step_at": self.first_step_at,
            "gpu_busy": self.gpu_busy,
            "peak_mib": peak_mib(resource.RUSAGE_SELF),
            "peak_worker_mib": peak_mib(resource.RUSAGE_CHILDREN),
        }


class EpochClock(Callback):
    """Feeds a stopwatch from a Lightning trainer's fit: training without validation and, where asked, validation."""

    def __init__(self, stopwatch: Stopwatch, validation: bool = False) -> None:
        self.stopwatch, self.validation = stopwatch, validation
        self.began, self.ended, self.images = 0.0, 0.0, 0
        self.meter: BusyMeter | None = None

    def on_train_epoch_start(self, *_: Any) -> None:
        settle()
        self.meter = meter()
        self.began, self.images = time.perf_counter(), 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.images += len(batch[0])
        if index + 1 == trainer.num_training_batches:
            settle()
            self.ended = time.perf_counter()
            self.stopwatch.train.append((self.ended - self.began, self.images))
            if self.meter is not None:
                self.stopwatch.gpu_busy.append(self.meter.stop())
            self.images = 0

    def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        self.images += len(batch[0])

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if self.validation and not trainer.sanity_checking:
            settle()
            # From the last training step on, for loader workers start before Lightning's first validation hook.
            self.stopwatch.evaluation.append((time.perf_counter() - self.ended, self.images))


def settle() -> None:
    """Wait for the GPU, which runs behind."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mib(who: int) -> float:
    """Peak resident memory: of this process, or of the largest of its children that have ended."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit / 2**20
