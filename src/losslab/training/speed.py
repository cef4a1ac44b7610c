"""The speed of training, which is told to MLflow alone: outs are the same whatever it was."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


class SpeedMeter(Callback):
    """Measures each epoch, for those that are called at its end."""

    def __init__(self) -> None:
        self._began = self._trained = time.monotonic()
        self._images = 0

    def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._began = time.monotonic()

    def on_validation_start(self, trainer: L.Trainer, *_: Any) -> None:
        self._trained = time.monotonic()
        loader: Any = trainer.train_dataloader
        self._images = loader.batch_sampler.count

    def measure(self) -> dict[str, float]:
        """Return the seconds of an epoch that has just been validated, and the images a second it was trained on.

        Crops and tiles count as images, validation only in the seconds.
        """
        return {
            "epoch_seconds": time.monotonic() - self._began,
            "images_per_second": self._images / max(self._trained - self._began, 1e-9),
        }
