"""Several nets that answer as one."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from losslab.inference.ensemble import EnsembleNet
from losslab.inference.predictor import Predictor
from losslab.inference.tensors import average_logits, to_probabilities
from losslab.models import build_model


def describe(mean: float, std: float) -> dict[str, Any]:
    return {
        "mean": [mean] * 3,
        "std": [std] * 3,
        "precision": "32-true",
        "run": {"train": {"device": "cpu"}},
    }


@pytest.mark.parametrize("outputs", [1, 3])
def test_logits_are_those_of_the_mean_of_probabilities(outputs: int) -> None:
    several = [4 * torch.randn(2, outputs, 5, 6, generator=torch.Generator().manual_seed(s)) for s in range(4)]
    mean = torch.stack([to_probabilities(logits.double()) for logits in several]).mean(dim=0)
    assert torch.allclose(to_probabilities(average_logits(iter(several))).double(), mean, atol=1e-6)
    assert average_logits(several[:1]) is several[0]
    sure = torch.full((1, outputs, 1, 1), 300.0)  # whose probability of the other class is 0 in float32
    assert average_logits([sure, sure]).isfinite().all()


def test_each_net_sees_images_as_in_its_own_training() -> None:
    torch.manual_seed(0)
    nets = [build_model("simple_cnn", 2).eval() for _ in range(2)]
    own = [describe(0.4, 0.2), describe(0.5, 0.3)]
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    alone = [Predictor(net, each).compute_logits(images) for net, each in zip(nets, own, strict=True)]
    both = Predictor(EnsembleNet(nets, own), own[0])
    assert torch.allclose(both.compute_logits(images), average_logits(alone), atol=1e-5)
    flipped = Predictor(both.net, own[0], "flip").compute_logits(images)
    views = [Predictor(net, each, "flip").compute_logits(images) for net, each in zip(nets, own, strict=True)]
    assert torch.allclose(flipped, average_logits(views), atol=1e-5)


def test_windows_suit_every_net() -> None:
    class Sized(nn.Module):
        def __init__(self, stride: int, smallest: int) -> None:
            super().__init__()
            self.stride, self.smallest = stride, smallest

        def forward(self, images: Tensor) -> Tensor:
            return images[:, :1]

    net = EnsembleNet([Sized(4, 32), Sized(6, 8)], [describe(0, 1)] * 2)
    assert (net.stride, net.smallest, net.in_channels) == (12, 32, 3)
