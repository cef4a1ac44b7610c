"""Wall-clock time of epochs, the share of it that loaders take, time of the first step, and peak memory of one contestant."""

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
from torch.utils.data.dataloader import _BaseDataLoaderIter

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
    loader_busy: list[float] = field(default_factory=list)
    """Share of each training epoch in which the contestant waited for the next batch of a DataLoader."""
    precision: str = "32-true"
    """Precision that the contestant trains in, by Lightning's name."""
    step_gflops: float | None = None
    """10^9 operations of a training step for an image; the bare step counts them."""
    gemm_gflops_per_s: dict[str, float] = field(default_factory=dict)
    """10^9 operations a second in products of large matrices, by precision; the bare step measures them."""
    _began: float = 0.0
    _waited: float = 0.0
    _meter: BusyMeter | None = None

    def __post_init__(self) -> None:
        register_optimizer_step_post_hook(self._note_step)
        original = _BaseDataLoaderIter.__next__

        def load(loader: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(loader)
            finally:
                self._waited += time.perf_counter() - began

        _BaseDataLoaderIter.__next__ = load  # type: ignore[assignment, method-assign]

    def _note_step(self, *_: Any) -> None:
        if self.first_step_at is None:
            wait_for_gpu()
            self.first_step_at = time.time()

    def begin_training(self) -> None:
        wait_for_gpu()
        self._meter = start_meter()
        self._began, self._waited = time.perf_counter(), 0.0

    def end_training(self, images: int) -> None:
        wait_for_gpu()
        seconds = time.perf_counter() - self._began
        self.train.append((seconds, images))
        self.loader_busy.append(self._waited / seconds)
        if self._meter is not None:
            self.gpu_busy.append(self._meter.stop())

    @contextmanager
    def time_training(self, images: int) -> Iterator[None]:
        """Time the block as one epoch of training on so many images."""
        self.begin_training()
        yield
        self.end_training(images)

    @contextmanager
    def time_evaluation(self, images: int) -> Iterator[None]:
        """Time the block as one evaluation of so many images."""
        began = time.perf_counter()
        yield
        wait_for_gpu()
        self.evaluation.append((time.perf_counter() - began, images))

    def to_dict(self) -> dict[str, Any]:
        return {
            "train": self.train,
            "evaluation": self.evaluation,
            "first_step_at": self.first_step_at,
            "gpu_busy": self.gpu_busy,
            "loader_busy": self.loader_busy,
            "precision": self.precision,
            "step_gflops": self.step_gflops,
            "gemm_gflops_per_s": self.gemm_gflops_per_s,
            "peak_mib": measure_peak_mib(resource.RUSAGE_SELF),
            "peak_worker_mib": measure_peak_mib(resource.RUSAGE_CHILDREN),
        }


class EpochClock(Callback):
    """A callback that times the epochs of Lightning's fit: training, and with `validation=True` validation apart."""

    def __init__(self, stopwatch: Stopwatch, validation: bool = False) -> None:
        self.stopwatch, self.validation = stopwatch, validation
        self.ended, self.images = 0.0, 0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.images = 0
        self.stopwatch.begin_training()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.images += len(batch[0])
        if index + 1 == trainer.num_training_batches:
            self.stopwatch.end_training(self.images)
            self.ended, self.images = time.perf_counter(), 0

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
