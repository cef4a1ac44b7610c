"""Training: a plan of what params describe, and the run that follows it."""

import losslab.metrics.torchmetrics  # noqa: F401 — before what imports torchmetrics
from losslab.training.checkpoints import open_checkpoint
from losslab.training.fit import EpochRow, TrainedNet, train_net
from losslab.training.plan import plan_training
from losslab.training.resumable_run import train_run

__all__ = ["EpochRow", "TrainedNet", "open_checkpoint", "plan_training", "train_net", "train_run"]
