"""Each loss, followed from the same initial weights, learns four drawn images by heart."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from losslab.data.loading.arrays import PreparedData
from losslab.inference.tensors import InputScaling
from losslab.losses import available, build_loss
from losslab.losses.registry import LOSSES
from losslab.reporting.losses.checks.overfit import build_net, follow, measure_miou


@pytest.fixture(scope="module")
def batch(tiny_data: PreparedData) -> tuple[Tensor, Tensor]:
    """Parts of 32 x 32 of four images; 24 % skin, 71 % lesion, 5 % hair."""
    data, middle = tiny_data.describe(), slice(16, 48)
    images, masks = (
        np.array(array[:4, middle, middle]) for array in (tiny_data.images("train"), tiny_data.masks("train"))
    )
    return InputScaling(data)(torch.from_numpy(images)), torch.from_numpy(masks).long()


@pytest.fixture(scope="module")
def initial() -> nn.Module:
    return build_net()


@pytest.mark.parametrize("name", available())
def test_loss_overfits_four_images(name: str, initial: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """0.85 is out of reach without all three classes; two of them, perfect, make 0.67."""
    images, target = batch
    assert measure_miou(initial(images), target) < 0.4
    loss = build_loss(LOSSES[name].partner or name, 3)
    assert measure_miou(follow(loss, initial, batch, 100 if name == "topology" else 150, enough=0.85), target) > 0.85


@pytest.mark.parametrize("name", [name for name in available() if not LOSSES[name].stands_alone])
def test_term_that_needs_a_partner_falls_when_it_alone_is_followed(
    name: str, initial: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    """A partner could learn the images without it: its own gradient has to lead down too."""
    images, target = batch
    loss = build_loss(name, 3)
    perfect = nn.functional.one_hot(target, 3).permute(0, 3, 1, 2) * 80.0
    with torch.no_grad():
        before, least = float(loss(initial(images), target)), float(loss(perfect, target))
    after = float(loss(follow(loss, initial, batch, 20), target))
    assert after < before - 0.3 * abs(before - least)
