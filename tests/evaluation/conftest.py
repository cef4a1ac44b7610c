"""A net whose every prediction can be worked out from the arrays."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from losslab.data.loading.arrays import PreparedData
from losslab.evaluation import SplitResult, evaluate_split


class Brightness(nn.Module):
    """Labels a pixel by its red channel alone: the darker half is the second class."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor) -> Tensor:
        red = images[:, :1]
        return 1 - red if self.outputs == 1 else torch.cat([red - 1, 0 * red, 0 * red - 9], dim=1)


def build_description(prepared: PreparedData) -> dict[str, Any]:
    """Build the part of model.json that evaluation reads."""
    data = prepared.describe()
    kept = {key: data[key] for key in ("classes", "size", "fit", "ignore_index", "palette")}
    return {
        **kept,
        "num_classes": 1 if len(data["classes"]) == 2 else len(data["classes"]),
        "mean": [0.0] * 3,
        "std": [0.5] * 3,
        "precision": "32-true",
        "run": {"train": {"device": "cpu"}},
    }


@pytest.fixture
def description(tiny_data: PreparedData) -> dict[str, Any]:
    return build_description(tiny_data)


@pytest.fixture
def result(tiny_data: PreparedData, description: dict[str, Any]) -> SplitResult:
    return evaluate_split(Brightness(), description, tiny_data, "test", 2)
