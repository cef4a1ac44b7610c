"""Pairs of arch and encoder: smp's rules, and the errors that explain them."""

import pytest
import torch

from losslab import models
from losslab.errors import InputError
from losslab.models.registry import ARCHS
from losslab.models.smp_nets import check_pairing, find_obstacle

ON_ENCODERS = [name for name, spec in ARCHS.items() if spec.takes_encoder]


@pytest.mark.parametrize(
    ("arch", "encoder", "reason"),
    [
        ("dpt", "resnet18", "Only Timm encoders are supported for DPT"),
        ("unet", "tu-vit_tiny_patch16_224", "Unsupported model downsampling pattern"),
        ("unetplusplus", "mit_b0", "not support"),
        ("linknet", "mit_b0", "not supported for Linknet"),
        ("pan", "vgg11", "do not support dilated mode"),
        ("deeplabv3", "vgg11", "do not support dilated mode"),
        ("deeplabv3plus", "tu-edgenext_xx_small", "it cannot be dilated"),
    ],
)
def test_impossible_pair_is_an_error_that_lists_possible_ones(arch: str, encoder: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        models.build_model(arch, 3, encoder)
    message = str(caught.value)
    assert f"arch {arch} cannot be built on {encoder!r} (" in message and reason in message and "\n" not in message
    assert f"; {arch} goes with {', '.join(ARCHS[arch].encoders)} and more" in message
    goes_with = message.rpartition(f"{encoder} goes with ")[2].split(", ")
    assert goes_with == [name for name in ON_ENCODERS if find_obstacle(name, encoder) is None]
    assert goes_with and arch not in goes_with


@pytest.mark.parametrize("arch", ON_ENCODERS)
def test_encoders_that_errors_recommend_are_possible(arch: str) -> None:
    for encoder in ARCHS[arch].encoders:
        check_pairing(arch, encoder)


@pytest.mark.parametrize(
    ("arch", "encoder"),
    [
        ("fpn", "mit_b0"),
        ("pan", "mobilenet_v2"),
        ("deeplabv3", "resnet18"),
        ("unet", "tu-swin_tiny_patch4_window7_224"),
        ("segformer", "tu-convnext_atto"),
        ("dpt", "tu-deit_tiny_distilled_patch16_224"),
    ],
)
@torch.no_grad()
def test_pair_takes_any_size(arch: str, encoder: str) -> None:
    net = models.build_model(arch, 2, encoder).eval()
    for size in [(64, 64), (72, 100)]:
        assert net(torch.randn(1, 3, *size)).shape == (1, 2, *size)


def test_trying_pairs_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    check_pairing("fpn", "tu-resnet10t")
    models.check_size(models.build_model("simple_cnn", 1), 20)
    torch.manual_seed(0)
    models.check_encoder("fpn", "tu-resnet14t", None)
    assert torch.equal(torch.rand(1), expected)
