"""A run of the train stage: it resumes after a kill, is tracked while it trains, and frees its checkpoint when it is done."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from losslab import models, stage
from losslab.io.hashing import compute_file_md5
from losslab.params import Params
from losslab.runtime.devices import describe_hardware
from losslab.runtime.processes import is_main_process
from losslab.training.checkpoints import Warn, open_checkpoint
from losslab.training.fit import EpochRow, TrainedNet, train_net
from losslab.training.plan import TrainingPlan
from losslab.training.speed import SpeedMeter


class Tracker(Protocol):
    """The record of a run that is being trained; it ignores epochs that it has already."""

    def log_epoch(self, row: Mapping[str, float]) -> None: ...
    def log_model(self, models: Path, seconds: float) -> None: ...


Track = Callable[[Params, str, str, str, Path, Warn, bool, float], AbstractContextManager[Tracker]]
"""Called with params, the key of the run, the md5 of its data, hardware, main repository, warn, whether it resumes, begin."""


@contextmanager
def train_run(plan: TrainingPlan, track: Track, folder: Path, began: float) -> Iterator[TrainedNet | None]:
    """Train as planned, going on from the checkpoint of an interrupted run, and yield the net; the body writes the outs.

    The run's lock is held, and its record stays open, until the outs are written. Under DVC the checkpoint is kept until
    DVC has taken them in. Of several processes, all but the main one yield None.

    The body writes the model into `folder`; the stage `began` then, on the monotonic clock.
    """
    stage.forget_finished()
    checkpoints, warn, data_md5 = stage.find_checkpoints_folder(), stage.print_warning, plan.description["data_md5"]
    if not is_main_process():
        with open_checkpoint(plan.description, checkpoints, warn, main=False) as checkpoint:
            train_net(plan, checkpoint)
        yield None
        return
    if hint := plan.params.parsed_loss.advice:
        warn(hint)
    if plan.inexact:
        warn(f"not bit-exact on this device: it has no deterministic version of {', '.join(plan.inexact)}")
    if first_layer := plan.description.get("first_layer"):
        stage.print_line(f"train: {first_layer}")
    speed = SpeedMeter()
    root, hardware = stage.find_main_repo(), describe_hardware()
    with (
        open_checkpoint(plan.description, checkpoints, warn) as checkpoint,
        track(plan.params, checkpoint.key, data_md5, hardware, root, warn, bool(checkpoint.rows), began) as tracker,
    ):

        def report_epoch(row: EpochRow) -> None:
            tracker.log_epoch({**row, **speed.measure()})
            stage.print_line(
                f"epoch {row['epoch']}/{plan.params.train.epochs}  loss {row['train_loss']:.4f}"
                f"  val loss {row['val_loss']:.4f}  val mIoU {row['val_miou']:.4f}  {time.monotonic() - began:.0f} s"
            )

        for row in checkpoint.rows:
            tracker.log_epoch(row)
        if checkpoint.rows:
            stage.print_line(f"resuming after epoch {len(checkpoint.rows)}, where this run was interrupted")
        yield train_net(plan, checkpoint, report_epoch, sys.stderr.isatty(), [speed])
        tracker.log_model(folder, time.monotonic() - began)
        if "DVC_STAGE" in os.environ:
            checkpoint.finish([compute_file_md5(folder / name) for name in (models.WEIGHTS, models.DESCRIPTION)])
            stage.forget_finished()  # a run that was forced, with outs that DVC knows
        else:
            checkpoint.remove()
