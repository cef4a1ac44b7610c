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


def save_small_model(folder: Path, damaged: bool = False, **changes: Any) -> Path:
    """Save a net whose first weight, if `damaged`, is NaN."""
    description = DESCRIPTION | changes
    torch.manual_seed(0)
    net = models.build_model(description["arch"], description["num_classes"], description["encoder"])
    if damaged:
        next(net.parameters()).data.view(-1)[0] = torch.nan
    models.save(folder, net, description)
    return folder
