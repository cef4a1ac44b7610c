"""The exported net replaces operations that exporters cannot take by plain ones, with the same values."""

from typing import Any

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from losslab.export.deployable import DeployableNet, TraceableNet, describe_input
from losslab.inference.tensors import InputScaling
from losslab.models.grid_pool import GridPool
from losslab.models.segmentation_net import SegmentationNet
from tests.export.small_model import describe_bands

RGB_IMAGES = {"mean": [0.7, 0.5, 0.4], "std": [0.2, 0.1, 0.3]}


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
        expected = net(InputScaling(RGB_IMAGES)(images))
        got = kind(net, RGB_IMAGES)(images.permute(0, 3, 1, 2).float())
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [DeployableNet, TraceableNet])
@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 10, 200), ("uint16", 100, 10000), ("float32", -3.5, 0.25)]
)
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_values_of_any_bands_are_clipped_and_normalised_inside(
    kind: type[DeployableNet], dtype: str, low: float, high: float, clip: bool, count: int
) -> None:
    description = describe_bands(count, dtype, low, high - 0.01 * count)
    description["bands"] |= {"clip": clip, "high": [high - 0.01 * number for number in range(count)]}
    drawn = torch.randn(2, 7, 9, count, generator=torch.Generator().manual_seed(0)) * (high - low) + (low + high) / 2
    images = drawn if dtype == "float32" else drawn.clamp(0, 255 if dtype == "uint8" else 65535).round()
    assert (images < low).any() and (images > high).any()
    net = SegmentationNet(nn.Identity(), stride=4, in_channels=count)
    expected = net(InputScaling(description)(images.to(getattr(torch, dtype))))
    got = kind(net, description)(images.permute(0, 3, 1, 2))
    assert torch.equal(got, expected)
    assert (got.amin(), got.amax()) == (expected.amin(), expected.amax()) and got.shape == (2, count, 7, 9)


@pytest.mark.parametrize(
    ("count", "changes", "said"),
    [
        (2, {}, "[N, 2, H, W], bands B02, B03, values as in the files (uint16, clipped to low to high of each band)"),
        (1, {}, "[N, 1, H, W], band B02, values as in the files (uint16, clipped to 0 to 10000)"),
        (2, {"clip": False}, "[N, 2, H, W], bands B02, B03, values as in the files (uint16)"),
        (
            1,
            {"dtype": "float32", "high": [0.5]},
            "[N, 1, H, W], band B02, values as in the files (float32, clipped to 0 to 0.5)",
        ),
    ],
)
def test_input_is_described_in_the_units_of_the_files(count: int, changes: dict[str, Any], said: str) -> None:
    description = describe_bands(count)
    assert describe_input(description | {"bands": description["bands"] | changes}) == f"float32 {said}"
    assert describe_input(RGB_IMAGES) == "float32 [N, 3, H, W], RGB, 0 to 255"


def test_net_itself_stays_as_it_is() -> None:
    inner = Pooling()
    net = SegmentationNet(inner, stride=4).train()
    DeployableNet(net, RGB_IMAGES)
    assert net.training and type(inner.pool) is GridPool
