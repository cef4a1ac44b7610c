"""The trial of plug-ins in the first stage: a fault shows before data are fetched and prepared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from losslab.errors import InputError
from losslab.params import Params, check_params
from losslab.training.trial import try_plugins
from tests.conftest import ROOT, merge

ALL = """
import albumentations as A
from torch import nn
from losslab.plugins import *

@loss
def own_loss(logits, valid, one_hot):
    return ((logits - one_hot) ** 2).mean()

@net(stride=1)
def own_net(num_classes, in_channels, *, width: int = 3):
    return nn.Sequential(nn.Conv2d(in_channels, width, 1), nn.Conv2d(width, num_classes, 1))

@augmentation
def own_recipe():
    return [A.HorizontalFlip(p=1.0)]

@metric
def own_of_classes(hit, truth):
    return hit / truth

@metric
def own_of_images(prediction, target, valid, probabilities, classes):
    return float((prediction == target)[valid].mean()) + probabilities[classes.index("hair")].mean()
"""
CHANGES: dict[str, Any] = {
    "dataset": "synthetic_lesions",
    "loss": "0.5*own_loss+cross_entropy",
    "loss_options": {"class_weights": "inverse_frequency"},
    "arch": "own_net",
    "arch_options": {"width": 2},
    "encoder": None,
    "train": {"augmentation": "own_recipe"},
    "evaluate": {"metrics": {"own_of_classes": {}, "own_of_images": {}}},
}


def try_all(tiny_params: Params) -> None:
    content = merge(tiny_params.model_dump(), CHANGES)
    params = check_params(content, "params.yaml", ROOT / "data/catalog")
    try_plugins(params, ROOT / "data/catalog")


def test_plug_ins_that_work_pass(write: Callable[[str, str], Path], tiny_params: Params) -> None:
    write("own.py", ALL)
    try_all(tiny_params)


@pytest.mark.parametrize(
    ("good", "bad", "line"),
    [
        ("((logits - one_hot) ** 2).mean()", "logits @ one_hot", r"own\.py:8: RuntimeError: .*"),
        ("((logits - one_hot) ** 2).mean()", "logits.mean(1)", r"own\.py:6: own_loss returned a tensor of shape"),
        (
            "((logits - one_hot) ** 2).mean()",
            "logits.exp().mul_(2).mean()",
            r"loss: .*own_loss.*: its gradient fails: .*inplace",
        ),
        ("nn.Conv2d(width, num_classes, 1)", "nn.Conv2d(width, 7, 1)", r"own_net gave \[1, 7, 1, 2\]"),
        ("A.HorizontalFlip(p=1.0)", "A.Resize(8, 8)", r"own_recipe makes images of uint8 \[8, 8, 3\]"),
        ("hit / truth", "hits / truth", r"own\.py:20: NameError: name 'hits' is not defined"),
        ('index("hair")', 'index("fur")', r"own\.py:24: ValueError: 'fur' is not in list"),
    ],
)
def test_fault_is_found_in_the_first_stage(
    write: Callable[[str, str], Path], tiny_params: Params, good: str, bad: str, line: str
) -> None:
    write("own.py", ALL.replace(good, bad))
    with pytest.raises(InputError, match=line):
        try_all(tiny_params)
