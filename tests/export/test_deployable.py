"""The exported net replaces operations that exporters cannot take by plain ones, with the same values."""

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from losslab.export.deployable import DeployableNet, TraceableNet
from losslab.inference.tensors import InputScaling
from losslab.models.grid_pool import GridPool
from losslab.models.segmentation_net import SegmentationNet

MEAN, STD = [0.7, 0.5, 0.4], [0.2, 0.1, 0.3]


def build_net(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.Upsample(scale_factor=4), nn.Conv2d(4, 2, 3, padding=1))


class Pooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = GridPool((3, 5))

    def forward(self, images: Tensor) -> Tensor:
        return F.interpolate(self.pool(images), images.shape[-2:])


NETS: dict[str, nn.Module] = {
    "convolutions with same padding": build_net(
        Conv2dSame(3, 4, 3, stride=2), Conv2dSame(4, 4, 6, stride=2), Conv2dSame(4, 4, 3, dilation=2)
    ),
    "pooling to a grid": Pooling(),
    "nothing special": build_net(nn.Conv2d(3, 4, 4, stride=4)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", [DeployableNet, TraceableNet])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (61, 63), (40, 22), (3, 5)])
def test_values_are_those_of_the_net(name: str, kind: type[DeployableNet], height: int, width: int) -> None:
    images = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    net = SegmentationNet(NETS[name], stride=4, smallest=16).eval()
    with torch.no_grad():
        expected = net(InputScaling({"mean": MEAN, "std": STD})(images))
        got = kind(net, MEAN, STD)(images.permute(0, 3, 1, 2).float())
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_net_itself_stays_as_it_is() -> None:
    inner = Pooling()
    net = SegmentationNet(inner, stride=4).train()
    DeployableNet(net, MEAN, STD)
    assert net.training and type(inner.pool) is GridPool
