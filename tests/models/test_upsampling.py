import pytest
import torch
from torch.nn import functional as F

from losslab import models
from losslab.models import upsampling
from losslab.models.upsampling import FastUpsampling


@pytest.mark.parametrize(
    "arguments", [{"scale_factor": 2}, {"scale_factor": 2.0, "mode": "nearest"}, {"size": (10, 14)}]
)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_doubling_has_the_values_and_gradients_of_torchs(
    arguments: dict[str, object], memory_format: torch.memory_format
) -> None:
    image = torch.randn(2, 3, 5, 7, dtype=torch.float64).to(memory_format=memory_format)
    results = []
    for fast in (False, True):
        leaf = image.clone().requires_grad_()
        if fast:
            with FastUpsampling():
                doubled = F.interpolate(leaf, **arguments)  # type: ignore[arg-type]
            assert doubled.grad_fn is not None and "_Double" in type(doubled.grad_fn).__name__
        else:
            doubled = F.interpolate(leaf, **arguments)  # type: ignore[arg-type]
        torch.autograd.backward(doubled.pow(2).mul(torch.arange(140.0).view(10, 14)).sum())
        results.append((doubled.detach(), leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


@pytest.mark.parametrize(
    "arguments", [{"scale_factor": 3}, {"size": (10, 15)}, {"size": 14}, {"scale_factor": 2, "mode": "bilinear"}]
)
def test_anything_else_is_left_to_torch(arguments: dict[str, object]) -> None:
    image = torch.randn(1, 1, 5, 7, requires_grad=True)
    with FastUpsampling():
        result = F.interpolate(image, **arguments)  # type: ignore[arg-type]
    assert torch.equal(result, F.interpolate(image, **arguments))  # type: ignore[arg-type]
    assert "_Double" not in type(result.grad_fn).__name__


def test_unet_trains_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[torch.Tensor] = []
    double = upsampling._Double.apply

    def count(image: torch.Tensor) -> torch.Tensor:
        called.append(image)
        result: torch.Tensor = double(image)
        return result

    monkeypatch.setattr(upsampling._Double, "apply", count)
    models.build_model("unet", 2, "tu-mobilenetv3_small_050")(torch.randn(2, 3, 32, 32, requires_grad=True))
    assert len(called) == 5
