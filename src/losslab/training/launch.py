"""The launcher of a run's processes: none, Lightning, torchrun or SLURM."""

import os
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from losslab.errors import InputError
from losslab.params import TrainParams


def count_launched() -> int | None:
    """Return how many processes torchrun or srun has started for this run; None if neither has."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS"]) if SLURMEnvironment.detect() else None


def check_launch(train: TrainParams) -> None:
    """Raise InputError if the processes that were started are not those of params.train, or nothing can start them."""
    started, wanted = count_launched(), train.devices * train.nodes
    if started is not None and started != wanted:
        product = f"train.devices x train.nodes is {wanted}"
        raise InputError(f"torchrun or srun started {started} processes, but {product}: make them equal")
    if started is None and train.nodes > 1 and "MASTER_ADDR" not in os.environ:
        needs = "which needs torchrun or srun to start the other nodes: see `losslab docs training`"
        raise InputError(f"train.nodes is {train.nodes}, {needs}")


def build_environments() -> list[Any]:
    """Build Lightning's plugins for the launcher where its own choice would not do."""
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]  # it would leave checkpoints of its own
