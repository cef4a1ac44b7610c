"""Test-time augmentation and the way back to an image's own size."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from losslab.data.images.fit import Fit, compute_placement, fit_image
from losslab.errors import InputError
from losslab.inference.predictor import Predictor, TestTimeAugmentation, restore_size
from losslab.inference.tensors import to_probabilities

DESCRIPTION: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.25] * 3, "precision": "32-true"}
CPU = torch.device("cpu")


class Slanted(nn.Module):
    """A net whose logits depend on the column, so that a mirrored image gives others."""

    def __init__(self, outputs: int, only: int | None = None) -> None:
        super().__init__()
        self.outputs, self.only = outputs, only

    def forward(self, images: Tensor) -> Tensor:
        if self.only and images.shape[-1] != self.only:
            raise AssertionError(f"takes images of {self.only} pixels only")
        ramp = torch.linspace(0, 3, images.shape[-1]).expand_as(images[:, :1])
        return torch.cat([images[:, :1] * (k + 1) + ramp * (-1) ** k for k in range(self.outputs)], dim=1)


def build_predictor(outputs: int, tta: TestTimeAugmentation) -> Predictor:
    return Predictor(Slanted(outputs), DESCRIPTION, tta, CPU)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (2, 8, 12, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("outputs", [1, 3])
def test_flip_averages_the_probabilities_of_image_and_mirror_image(outputs: int, images: Tensor) -> None:
    plain = build_predictor(outputs, "none")
    straight = to_probabilities(plain.compute_logits(images))
    mirrored = to_probabilities(plain.compute_logits(images.flip(2))).flip(-1)
    averaged = to_probabilities(build_predictor(outputs, "flip").compute_logits(images))
    assert torch.allclose(averaged, (straight + mirrored) / 2, atol=1e-6)
    assert not torch.allclose(straight, mirrored, atol=1e-2)


@pytest.mark.parametrize("outputs", [1, 3])
def test_prediction_with_flip_mirrors_with_the_image(outputs: int, images: Tensor) -> None:
    """Left and right do not matter any more, with scales either."""
    tta: TestTimeAugmentation
    for tta in ("flip", "flip_scale"):
        net = build_predictor(outputs, tta)
        assert torch.allclose(net.compute_logits(images.flip(2)), net.compute_logits(images).flip(-1), atol=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("tta", ["none", "flip", "flip_scale"])
def test_logits_that_are_not_finite_are_an_error(tta: TestTimeAugmentation, value: float, images: Tensor) -> None:
    """Averages of views could hide them, and every label of NaN looks like one of the first class."""

    class Damaged(Slanted):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            logits[0, 0, 0, 0] = value
            return logits

    with pytest.raises(InputError, match=r"^the model's logits are not finite \(1 of \d+\): its weights are damaged"):
        Predictor(Damaged(3), DESCRIPTION, tta, CPU).compute_logits(images)


def test_scales_are_averaged_at_the_size_of_the_image(images: Tensor) -> None:
    logits = build_predictor(3, "flip_scale").compute_logits(images)
    assert logits.shape == (2, 3, 8, 12) and logits.dtype == torch.float32
    assert not torch.allclose(logits, build_predictor(3, "flip").compute_logits(images), atol=1e-3)
    assert torch.allclose(to_probabilities(logits).sum(dim=1), torch.ones(2, 8, 12))


def test_net_with_one_size_refuses_scales(images: Tensor) -> None:
    with pytest.raises(
        InputError, match="tta flip_scale: this net cannot take images of 6 x 9: takes images of 12 pixels"
    ):
        Predictor(Slanted(1, only=12), DESCRIPTION, "flip_scale", CPU).compute_logits(images)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize(("height", "width"), [(40, 100), (100, 40), (32, 32), (7, 9)])
def test_image_comes_back_to_where_it_was(fit: Fit, height: int, width: int) -> None:
    """A bright square in the image is found at the same place after the way to the net's size and back."""
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 4 : height // 2, width // 2 : width // 4 * 3] = 200
    fitted = fit_image(image, 32, fit)
    assert fitted.shape == (32, 32, 3)
    back = restore_size(torch.from_numpy(fitted[None, ..., 0].copy()).float()[None], height, width, fit)
    assert back.shape == (1, 1, height, width)
    wrong = (back[0, 0].numpy() > 100) != (image[..., 0] > 100)
    place = compute_placement(height, width, 32, fit)
    pixel = max(height / place.height, width / place.width, 1)  # of the fitted image, in pixels of the image
    assert wrong.sum() <= pixel * 2 * (height / 4 + width / 4 + 4 * pixel)


def test_logits_of_the_right_size_are_not_touched() -> None:
    logits = torch.randn(2, 3, 16, 16)
    assert torch.equal(restore_size(logits, 16, 16, "letterbox"), logits)
