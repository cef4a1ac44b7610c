"""The hand-written nets against the notebooks they come from."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from losslab import models
from losslab.models.segnet import SegNet, unpool


@pytest.mark.parametrize(
    ("arch", "num_classes", "parameters"),
    [
        ("segnet", 1, 24_980_929),
        ("vanilla_unet", 1, 21_978_177),
        ("strided_unet", 1, 16_755_777),
        ("simple_cnn", 1, 7_217),
        ("simple_segnet", 6, 28_390),
    ],
)
def test_parameters_are_as_many_as_the_notebook_counts(arch: str, num_classes: int, parameters: int) -> None:
    net = models.build_model(arch, num_classes)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


@pytest.mark.parametrize(("arch", "expected"), [("segnet", True), ("vanilla_unet", False), ("strided_unet", False)])
def test_batch_norm_is_where_the_notebook_has_it(arch: str, expected: bool) -> None:
    assert any(isinstance(module, nn.BatchNorm2d) for module in models.build_model(arch, 1).modules()) == expected


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_unpooling_is_that_of_torch(memory_format: torch.memory_format) -> None:
    images = torch.randn(2, 5, 8, 12).to(memory_format=memory_format)
    pooled, places = F.max_pool2d(images, 2, return_indices=True)
    unpooled = unpool(pooled, places)
    assert torch.equal(unpooled, nn.MaxUnpool2d(2)(pooled, places))
    assert unpooled.is_contiguous(memory_format=memory_format)


def test_unpooling_puts_a_maximum_back_where_it_was() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 0], image[0, 0, 2, 3] = 5.0, 7.0
    assert torch.equal(unpool(*F.max_pool2d(image, 2, return_indices=True)), image)


def test_segnet_unpools_by_the_places_of_its_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    def spy(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        widths.append(places.shape[-1])
        return unpool(features, places)

    monkeypatch.setattr("losslab.models.segnet.unpool", spy)
    SegNet(1).eval()(torch.randn(1, 3, 32, 32))
    assert widths == [1, 2, 4, 8, 16]


def test_segnet_trains_with_deterministic_algorithms() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        models.build_model("segnet", 1)(torch.randn(2, 3, 32, 32)).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
