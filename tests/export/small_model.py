"""A model folder as the train stage writes it, with random weights."""

from pathlib import Path
from typing import Any

import torch

from losslab import models

DESCRIPTION: dict[str, Any] = {
    "arch": "simple_cnn",
    "encoder": None,
    "num_classes": 3,
    "classes": ["skin", "lesion", "hair"],
    "palette": [[240, 200, 170], [150, 50, 90], [20, 60, 160]],
    "ignore_index": None,
    "size": 32,
    "fit": "stretch",
    "mean": [0.7, 0.5, 0.4],
    "std": [0.2, 0.1, 0.3],
    "precision": "32-true",
    "data_md5": "d.dir",
    "run": {"dataset": "tiny", "train": {"device": "cpu"}},
}


BAND_NAMES = ["B02", "B03", "B04", "B08", "B11", "B12"]


def describe_bands(count: int, dtype: str = "uint16", low: float = 0, high: float = 10000) -> dict[str, Any]:
    """Describe that many bands as model.json does, with the mean and standard deviation of each."""
    bands = {
        "names": BAND_NAMES[:count],
        "dtype": dtype,
        "shown": [0, 1, 2] if count >= 3 else [0, 0, 0],
        "low": [low] * count,
        "high": [high - number for number in range(count)],
        "clip": True,
    }
    mean = [0.5 - number / 20 for number in range(count)]
    return {"bands": bands, "mean": mean, "std": [0.25] * count}


def save_small_model(folder: Path, damaged: bool = False, **changes: Any) -> Path:
    """Save a net whose first weight, if `damaged`, is NaN."""
    description = DESCRIPTION | changes
    torch.manual_seed(0)
    arch, outputs, encoder = (description[key] for key in ("arch", "num_classes", "encoder"))
    net = models.build_model(arch, outputs, encoder, in_channels=len(description["mean"]))
    if damaged:
        next(net.parameters()).data.view(-1)[0] = torch.nan
    models.save(folder, net, description)
    return folder
