import os
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from losslab import models
from losslab.errors import InputError
from losslab.models.grid_pool import GridPool, pool_by_cell
from losslab.models.probe import build_on_meta, find_fault
from losslab.models.registry import ARCHS
from losslab.models.segmentation_net import SegmentationNet
from tests.export.small_model import BAND_NAMES, describe_bands, save_small_model
from tests.prediction.nets import build_description


class BaseModelTester:
    """A new net's test is a subclass of a few lines."""

    arch = ""
    encoder: str | None = None
    idle: tuple[str, ...] = ()
    """Prefixes of the names of parameters that smp builds but the logits do not depend on."""

    def build(self, num_classes: int = 3) -> SegmentationNet:
        return models.build_model(self.arch, num_classes, self.encoder)

    @pytest.fixture(scope="class")
    def net(self) -> SegmentationNet:
        """Build one net for all tests, in eval mode, with three outputs."""
        torch.manual_seed(0)
        return self.build().eval()

    @property
    def side(self) -> int:
        """Return the smallest side that needs no padding and does not shrink to one feature."""
        return max(2 * ARCHS[self.arch].stride, ARCHS[self.arch].smallest)

    @torch.no_grad()
    def test_logits_have_the_inputs_size(self, net: SegmentationNet) -> None:
        assert net.stride == ARCHS[self.arch].stride
        height, width = self.side, self.side + net.stride
        logits = net(torch.randn(2, 3, height, width))
        assert logits.shape == (2, 3, height, width)
        assert logits.isfinite().all() and logits.std() > 0

    @torch.no_grad()
    def test_any_size_is_taken_and_given_back(self, net: SegmentationNet) -> None:
        for height, width in [(37, 50), (5, self.side)]:
            assert net(torch.randn(1, 3, height, width)).shape == (1, 3, height, width)

    @torch.no_grad()
    def test_size_that_fits_goes_through_untouched(self, net: SegmentationNet) -> None:
        images = torch.randn(1, 3, self.side, self.side)
        assert torch.equal(net(images), net.net(images))

    @torch.no_grad()
    def test_logits_come_straight_from_the_last_layer(self, net: SegmentationNet) -> None:
        images = torch.randn(1, 3, self.side, self.side)
        before = net(images)
        *_, last = (module for module in net.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d))
        for factor, expected in [(-2, -2 * before), (-0.5, before)]:
            for parameter in last.parameters():
                parameter.mul_(factor)
            torch.testing.assert_close(net(images), expected)

    def test_with_one_output_every_parameter_gets_a_gradient(self) -> None:
        net = self.build(1)
        logits = net(torch.randn(2, 3, self.side, self.side))
        assert logits.shape == (2, 1, self.side, self.side)
        logits.square().sum().backward()
        without = {name for name, parameter in net.net.named_parameters() if parameter.grad is None}
        assert without == {name for name, _ in net.net.named_parameters() if name.startswith(self.idle or "-")}

    def test_saved_and_loaded_it_gives_the_same_logits(self, net: SegmentationNet, tmp_path: Path) -> None:
        models.save(tmp_path, net, build_description(3, arch=self.arch, encoder=self.encoder, size=64))
        loaded, description = models.load(tmp_path)
        image = torch.randn(1, 3, 64, 64)
        assert torch.equal(loaded(image), net(image))
        assert not loaded.training and description["size"] == 64

    def test_saved_twice_it_gives_the_same_bytes(self, net: SegmentationNet, tmp_path: Path) -> None:
        for memory_format in (torch.contiguous_format, torch.channels_last):
            models.save(tmp_path / str(memory_format), net.to(memory_format=memory_format), {})
        first, second = ((folder / "model.safetensors").read_bytes() for folder in sorted(tmp_path.iterdir()))
        assert first == second


def test_full_disk_is_an_error_and_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"old")

    def fail(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(InputError, match=r"model.safetensors cannot be written: I/O error: No space left on device"):
        models.save(tmp_path, nn.Linear(1, 1), {})
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("model.safetensors", b"old")]


def test_what_a_killed_save_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    def die(tensors: Any, path: Path) -> None:
        (path.parent / ".tmpabc").touch()  # as safetensors does, which renames it when it is whole
        os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        safetensors.torch.save_file = die  # type: ignore[assignment]
        models.save(tmp_path, nn.Linear(1, 1), {})
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL and any(tmp_path.rglob(".tmpabc"))
    models.save(tmp_path, nn.Linear(1, 1), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


class TestUnet(BaseModelTester):
    arch, encoder = "unet", "resnet18"


class TestUnetOnTimmEncoder(BaseModelTester):
    arch, encoder = "unet", "tu-mobilenetv3_small_050"


class TestUnetPlusPlus(BaseModelTester):
    arch, encoder = "unetplusplus", "tu-mobilenetv3_small_050"


class TestMAnet(BaseModelTester):
    arch, encoder = "manet", "tu-mobilenetv3_small_050"


class TestLinknet(BaseModelTester):
    arch, encoder = "linknet", "tu-mobilenetv3_small_050"


class TestFPN(BaseModelTester):
    arch, encoder = "fpn", "tu-mobilenetv3_small_050"


class TestPSPNet(BaseModelTester):
    arch, encoder, idle = "pspnet", "resnet18", ("encoder.layer3", "encoder.layer4")


class TestDeepLabV3(BaseModelTester):
    arch, encoder = "deeplabv3", "tu-mobilenetv3_small_050"


class TestDeepLabV3Plus(BaseModelTester):
    arch, encoder = "deeplabv3plus", "tu-mobilenetv3_small_050"


class TestPAN(BaseModelTester):
    arch, encoder = "pan", "tu-mobilenetv3_small_050"


class TestUPerNet(BaseModelTester):
    arch, encoder = "upernet", "tu-mobilenetv3_small_050"


class TestSegformer(BaseModelTester):
    arch, encoder = "segformer", "mit_b0"


class TestDPT(BaseModelTester):
    arch, encoder, idle = "dpt", "tu-vit_tiny_patch16_224", ("encoder.model.norm.",)


class TestSegNet(BaseModelTester):
    arch = "segnet"


class TestVanillaUNet(BaseModelTester):
    arch = "vanilla_unet"


class TestStridedUNet(BaseModelTester):
    arch = "strided_unet"


class TestSimpleCNN(BaseModelTester):
    arch = "simple_cnn"


class TestSimpleSegNet(BaseModelTester):
    arch = "simple_segnet"


def test_every_arch_is_tested() -> None:
    tested = {tester.arch for tester in BaseModelTester.__subclasses__()}
    assert tested == set(models.available())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"arch": "unit"}, "arch: 'unit' is not one of unet"),
        ({"encoder": None}, "encoder is null, but arch unet needs one"),
        ({"encoder": "resnet81"}, r"'resnet81' is unknown to smp and timm \(.*\); similar names: .*resnet18"),
        ({"encoder": "tu-nonesuch"}, "unknown to smp and timm"),
        ({"encoder": "tu-resnet18.mars"}, r"tu-resnet18 has no tag mars \(available: .*a1_in1k"),
        ({"encoder_weights": "mars"}, "encoder_weights: 'mars' does not exist for resnet18; use null, imagenet, "),
        (
            {"encoder": "tu-darknet17", "encoder_weights": "imagenet"},
            "encoder_weights: 'imagenet' does not exist for tu-darknet17; use null, or a local file",
        ),
    ],
)
def test_unknown_name_is_an_error_of_one_line(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        models.build_model(**{"arch": "unet", "num_classes": 3, "encoder": "resnet18", **arguments})
    assert "\n" not in str(caught.value)


def test_weights_load_straight_into_the_class_of_smp(tmp_path: Path) -> None:
    net = models.build_model("unet", 3, "resnet18").eval()
    models.save(tmp_path, net, {})
    plain = smp.Unet("resnet18", encoder_weights=None, classes=3).eval()
    plain.load_state_dict(load_file(tmp_path / "model.safetensors"))
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(plain(image), net(image))


def test_weights_follow_from_the_seed() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        net = models.build_model("unet", 3, "resnet18")
        return torch.cat([parameter.flatten() for parameter in net.parameters()])

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_encoder_is_that_of_smp_or_none() -> None:
    net = models.build_model("unet", 3, "resnet18")
    assert net.encoder is not None and net.encoder is net.net.encoder
    assert models.build_model("simple_cnn", 3).encoder is None


def test_pixels_beyond_the_image_are_zeros_at_the_right_and_the_bottom() -> None:
    net = SegmentationNet(nn.Identity(), stride=8, smallest=16)
    seen = []
    net.net.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    image = torch.ones(1, 1, 17, 5)
    assert torch.equal(net(image), image)
    assert seen[0].shape == (1, 1, 24, 16) and seen[0].sum() == 17 * 5 and seen[0][0, 0, :17, :5].min() == 1


@pytest.mark.parametrize("cells", [2, 3, 6, (2, 5)])
def test_pooling_by_cell_is_that_of_torch(cells: int | tuple[int, int]) -> None:
    """GridPool replaces torch's pooling on CUDA, so it must give the same values."""
    features = torch.randn(2, 4, 7, 5)
    torch.testing.assert_close(pool_by_cell(features, cells), nn.functional.adaptive_avg_pool2d(features, cells))


@pytest.mark.parametrize("in_channels", [1, 6])
@pytest.mark.parametrize("arch", ARCHS)
def test_net_takes_any_number_of_bands(arch: str, in_channels: int) -> None:
    encoder = next(iter(ARCHS[arch].encoders), None)
    with build_on_meta():
        net = models.build_model(arch, 2, encoder, in_channels=in_channels)
    assert net.in_channels == in_channels and find_fault(net, 64) is None
    with pytest.raises(RuntimeError, match="channel"):
        net(torch.zeros(1, 3, 64, 64, device="meta"))


def test_encoder_that_takes_three_bands_only_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, in_channels: int, **options: Any) -> NoReturn:
        raise ValueError(f"no in_chans={in_channels}")

    models.check_encoder("unet", "resnet18", None)
    monkeypatch.setattr(smp, "Unet", fail)
    message = "^encoder: arch unet cannot be built on 'resnet18' for 6 bands: no in_chans=6$"
    with pytest.raises(InputError, match=message):
        models.build_model("unet", 2, "resnet18", in_channels=6)


@pytest.mark.parametrize("in_channels", [1, 2, 6])
@pytest.mark.parametrize(("arch", "encoder"), [("simple_cnn", None), ("unet", "resnet18")])
def test_saved_net_for_other_bands_is_loaded_with_them(
    arch: str, encoder: str | None, in_channels: int, tmp_path: Path
) -> None:
    save_small_model(tmp_path, arch=arch, encoder=encoder, **describe_bands(in_channels))
    net, described = models.load(tmp_path)
    assert net.in_channels == in_channels and described["bands"]["names"] == BAND_NAMES[:in_channels]
    assert net(torch.zeros(1, in_channels, 40, 32)).shape == (1, 3, 40, 32)


@pytest.mark.parametrize("arch", ["pspnet", "upernet"])
def test_no_net_pools_to_a_grid_by_torch(arch: str) -> None:
    net = models.build_model(arch, 2, "resnet18")
    pools = [module for module in net.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    assert [pool.output_size for pool in pools if type(pool) is GridPool] in ([2, 3, 6], [(2, 2), (3, 3), (6, 6)])
    assert {pool.output_size for pool in pools if type(pool) is not GridPool} <= {1, (1, 1)}


def test_net_that_cannot_train_on_one_image_is_an_error() -> None:
    net = models.build_model("unet", 3, "tu-skresnet18")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    models.check_size(net, 64, smallest_batch=2)
    message = r"train.batch_size leaves one image per process and step, .* cannot train: Expected more than 1"
    with pytest.raises(InputError, match=message):
        models.check_size(net, 64, smallest_batch=1, images=2)
    assert net.training and all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("arch", [name for name, spec in ARCHS.items() if spec.takes_encoder])
def test_batch_of_one_is_refused_where_it_fails(arch: str) -> None:
    """The check of params.yaml agrees with the nets themselves: 64 pixels are two features a side or more."""
    with build_on_meta():
        net = models.build_model(arch, 2, ARCHS[arch].encoders[0])
    assert (find_fault(net, 64, training=True) is not None) == ARCHS[arch].pools_to_one


def test_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.json: no such file; the train stage writes it"):
        models.load(tmp_path)


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    net = models.build_model("unet", 3, "resnet18")
    models.save(tmp_path, net, build_description(2, arch="unet", encoder="resnet18"))
    with pytest.raises(InputError, match="do not match"):
        models.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="do not match"):
        models.load(tmp_path)
