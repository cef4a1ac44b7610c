"""Who starts the processes of a run: this one alone, Lightning, torchrun or SLURM."""

import os
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from losslab.errors import InputError
from losslab.params import TrainParams


def count_launched() -> int | None:
    """The number of processes that torchrun or srun has started of this run; None where neither has."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS"]) if SLURMEnvironment.detect() else None


def check_launch(train: TrainParams) -> None:
    """Raise InputError where others than the processes of params.train have been started, or nobody can start them."""
    started, wanted = count_launched(), train.devices * train.nodes
    if started is not None and started != wanted:
        raise InputError(
            f"torchrun or srun has started {started} processes; train.devices x train.nodes is {wanted}: make them the same"
        )
    if started is None and train.nodes > 1 and "MASTER_ADDR" not in os.environ:
        raise InputError(
            f"train.nodes is {train.nodes}, and nothing says where the others are: start with torchrun or srun, "
            "as docs/training.md shows"
        )


def build_environments() -> list[Any]:
    """Lightning's plugins for the launcher, where its own choice would not do."""
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]  # it would leave checkpoints of its own
