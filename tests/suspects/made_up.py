"""Folds with nets that say what a test wants, on three prepared images."""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from losslab.data.loading.arrays import PreparedData
from losslab.inference.predictor import Predictor
from losslab.suspects.checking import Fold


@dataclass
class KnowingPredictor:
    """Finds the mask of an image of the test split, as it is prepared; an image in `shifted` is found elsewhere."""

    prepared: PreparedData
    shifted: tuple[int, ...] = ()
    description: dict[str, Any] = field(default_factory=dict)

    def compute_logits(self, images: Tensor) -> Tensor:
        known = np.asarray(self.prepared.images("test"))
        [index] = [number for number, image in enumerate(known) if np.array_equal(image, images[0].numpy())]
        mask = np.asarray(self.prepared.masks("test"))[index]
        mask = np.roll(mask, 16, axis=1) if index in self.shifted else mask
        classes = len(self.prepared.describe()["classes"])
        return torch.from_numpy(8.0 * (np.arange(classes)[:, None, None] == mask))[None].float()


def build_fold(
    prepared: PreparedData, shifted: tuple[int, ...] = (), number: int = 0, miou: float | None = 0.8
) -> Fold:
    """Build a fold whose net contradicts the masks of these images."""
    predictor = KnowingPredictor(prepared, shifted, prepared.describe())
    return Fold(number=number, run=f"run-{number}", predictor=cast(Predictor, predictor), prepared=prepared, miou=miou)
