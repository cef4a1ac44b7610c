"""Training: a plan of what params describe, and the run that follows it."""

import losslab.quick_torchmetrics  # noqa: F401 — before what imports torchmetrics
from losslab.training.checkpoints import Checkpoint, checkpoint_of
from losslab.training.fitting import EpochRow, Trained, train
from losslab.training.planning import Plan, plan

__all__ = ["Checkpoint", "EpochRow", "Plan", "Trained", "checkpoint_of", "plan", "train"]
