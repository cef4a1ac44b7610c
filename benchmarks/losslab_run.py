"""Contestant c: losslab's own training and evaluation on its prepared arrays."""

from typing import Any

import lightning as L

from benchmarks.settings import Settings, Work
from benchmarks.stopwatch import EpochClock, Stopwatch
from losslab import training
from losslab.data.loading.arrays import PreparedData
from losslab.evaluation import evaluate_split
from losslab.params import Params, load


def run(work: Work, settings: Settings, num_classes: int, stopwatch: Stopwatch) -> None:
    params, prepared = load(work.params), PreparedData(work.prepared)
    trained = train_with(params, prepared, EpochClock(stopwatch), settings.deterministic)
    stopwatch.precision = trained.description["precision"]
    for _ in range(1 + settings.epochs):
        with stopwatch.time_evaluation(len(prepared.images("test"))):
            evaluate_split(trained.net, trained.description, prepared, "test", params.evaluate.batch_size)


def train_with(
    params: Params, prepared: PreparedData, callback: L.Callback, deterministic: bool = True
) -> training.TrainedNet:
    """Train with losslab and one more Lightning callback."""
    planned = training.plan_training(params, prepared)
    original = L.Trainer

    def build_trainer(**options: Any) -> L.Trainer:
        return original(**options | {"deterministic": deterministic and options["deterministic"]})

    L.Trainer = build_trainer  # type: ignore[assignment, misc]
    try:
        return training.train_net(planned, callbacks=[callback])
    finally:
        L.Trainer = original  # type: ignore[misc]
