from pathlib import Path
from typing import Any

import pytest
import torch

from losslab import models
from losslab.errors import InputError
from losslab.models.registry import ARCHS


class BaseModelTester:
    """A new net's test is a subclass of a few lines."""

    arch = ""
    encoder: str | None = None

    @pytest.mark.parametrize("num_classes", [1, 3])
    def test_logits_have_the_inputs_size(self, num_classes: int) -> None:
        net = models.build_model(self.arch, num_classes, self.encoder)
        stride = ARCHS[self.arch].stride
        logits = net(torch.randn(2, 3, 2 * stride, 3 * stride))
        assert logits.shape == (2, num_classes, 2 * stride, 3 * stride)
        assert logits.isfinite().all() and (logits < 0).any() and (logits > 0).any()

    def test_every_parameter_gets_a_gradient(self) -> None:
        net = models.build_model(self.arch, 3, self.encoder)
        stride = ARCHS[self.arch].stride
        net(torch.randn(2, 3, 2 * stride, 2 * stride)).square().sum().backward()
        assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []

    def test_saved_and_loaded_it_gives_the_same_logits(self, tmp_path: Path) -> None:
        net = models.build_model(self.arch, 3, self.encoder).eval()
        models.save(tmp_path, net, {"arch": self.arch, "encoder": self.encoder, "num_classes": 3, "size": 64})
        loaded, description = models.load(tmp_path)
        image = torch.randn(1, 3, 64, 64)
        assert torch.equal(loaded(image), net(image))
        assert not loaded.training and description["size"] == 64

    def test_saved_twice_it_gives_the_same_bytes(self, tmp_path: Path) -> None:
        net = models.build_model(self.arch, 3, self.encoder)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            models.save(tmp_path / str(memory_format), net.to(memory_format=memory_format), {})
        first, second = ((folder / "model.safetensors").read_bytes() for folder in sorted(tmp_path.iterdir()))
        assert first == second


class TestUnet(BaseModelTester):
    arch, encoder = "unet", "resnet18"


class TestUnetOnTimmEncoder(BaseModelTester):
    arch, encoder = "unet", "tu-mobilenetv3_small_050"


def test_every_arch_is_tested() -> None:
    tested = {tester.arch for tester in BaseModelTester.__subclasses__()}
    assert tested == set(models.available())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"arch": "unit"}, "arch: 'unit' is not one of unet"),
        ({"encoder": None}, "encoder is null; arch unet needs one"),
        ({"encoder": "resnet81"}, "'resnet81' is unknown to smp and timm; close to it: .*resnet18"),
        ({"encoder": "tu-nonesuch"}, "unknown to smp and timm"),
        ({"encoder_weights": "mars"}, "encoder_weights: 'mars' does not exist for resnet18; use null or imagenet"),
        ({"encoder": "tu-vit_base_patch16_224"}, "a Unet on 'tu-vit_base_patch16_224' cannot be built"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        models.build_model(**{"arch": "unet", "num_classes": 3, "encoder": "resnet18", **arguments})
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_fetched_are_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import segmentation_models_pytorch as smp

    def fail(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("no network\nsecond line")

    monkeypatch.setattr(smp, "Unet", fail)
    with pytest.raises(InputError, match=r"'imagenet' for resnet18 could not be fetched \(no network\); null trains"):
        models.build_model("unet", 3, "resnet18", "imagenet")


def test_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.json: no such file; the train stage writes it"):
        models.load(tmp_path)


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    net = models.build_model("unet", 3, "resnet18")
    models.save(tmp_path, net, {"arch": "unet", "encoder": "resnet18", "num_classes": 2})
    with pytest.raises(InputError, match="are not of one model"):
        models.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="are not of one model"):
        models.load(tmp_path)
