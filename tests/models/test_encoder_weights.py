from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from losslab import models
from losslab.errors import InputError
from losslab.models.encoder_weights import describe_first_layer, load_encoder
from tests.conftest import SHARED

State = dict[str, Tensor]
UNET = smp.Unet
LITE = SHARED / "weights/tf_efficientnet_lite0.imagenet.safetensors"


def build_smp_state(encoder: str, in_channels: int = 3) -> State:
    net = models.build_model("unet", 1, encoder, in_channels=in_channels)
    assert net.encoder is not None
    return dict(net.encoder.state_dict())


def build_timm_state(encoder: str) -> State:
    return dict(timm.create_model(encoder.removeprefix("tu-")).state_dict())


def has_weights(encoder: nn.Module | None, state: State) -> bool:
    """Return whether every weight of the encoder equals the one in `state` under its own name or timm's."""
    assert encoder is not None
    short = {name.replace(".", "_"): tensor for name, tensor in state.items()}
    return all(
        torch.equal(tensor, short[name.removeprefix("model.").replace(".", "_")])
        for name, tensor in encoder.state_dict().items()
    )


@pytest.mark.parametrize(
    ("arch", "encoder", "build"),
    [
        ("unet", "resnet18", build_smp_state),
        ("segformer", "mit_b0", build_smp_state),
        ("unet", "resnet18", build_timm_state),  # torchvision's keys, with the classifier
        ("fpn", "tu-mobilenetv3_small_050", build_timm_state),  # a head past the features
        ("unet", "tu-convnext_atto", build_timm_state),  # stages.0 becomes stages_0
        ("dpt", "tu-vit_tiny_patch16_224", build_timm_state),
    ],
)
def test_file_with_the_keys_of_smp_or_timm_is_loaded_completely(
    arch: str, encoder: str, build: Callable[[str], State], tmp_path: Path
) -> None:
    state = build(encoder)
    file = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    assert has_weights(models.build_model(arch, 3, encoder, str(file)).encoder, state)


@pytest.mark.parametrize("wrapped", [False, True])
def test_pth_is_read_as_well(wrapped: bool, tmp_path: Path) -> None:
    state = build_smp_state("tu-mobilenetv3_small_050")
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "weights.pth")
    net = models.build_model("unet", 3, "tu-mobilenetv3_small_050", str(tmp_path / "weights.pth"))
    assert net.encoder is not None and all(torch.equal(net.encoder.state_dict()[name], state[name]) for name in state)


def test_old_file_without_the_counters_of_batch_norm_is_loaded(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in build_smp_state("resnet18").items() if "num_batches" not in name}
    save_file(state, tmp_path / "weights.safetensors")
    models.build_model("unet", 3, "resnet18", str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_050"])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state, first: state.pop(first), r"which has \d+ keys: 1 missing \({first}\)"),
        (lambda state, _: state.update(mars=torch.ones(1)), r": 1 unknown \(mars\)"),
        (
            lambda state, first: state.update({first: torch.ones(2, 2)}),
            r"1 of another shape \({first} \[2, 2\], not",
        ),
        (lambda state, _: state.clear(), r"\d\d+ missing \(.*, .*, .*, …\)"),
    ],
)
def test_file_that_does_not_fit_is_refused_with_the_keys(
    encoder: str, change: Callable[[State, str], object], complaint: str, tmp_path: Path
) -> None:
    state = build_smp_state(encoder)
    first = next(iter(state))
    change(state, first)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=complaint.format(first=first)) as caught:
        models.build_model("unet", 3, encoder, str(tmp_path / "weights.pth"))
    assert "\n" not in str(caught.value) and "weights.pth does not fit the encoder" in str(caught.value)


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    save_file(build_timm_state("tu-resnet18"), tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match=r"\d+ missing \(.*, …\); \d+ unknown \(.*, …\)"):
        models.build_model("unet", 3, "tu-mobilenetv3_small_050", str(tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_file_that_is_no_weights_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(InputError, match=f"{name} cannot be read as weights: ") as caught:
        models.build_model("unet", 3, "resnet18", str(tmp_path / name))
    assert "\n" not in str(caught.value)


def adapt_by_library(encoder: str, state: State, in_channels: int, folder: Path) -> State:
    """Let smp or timm load published weights for three channels into an encoder for another number."""
    if encoder.startswith("tu-"):
        name = encoder.removeprefix("tu-")
        torch.save(state, folder / "published.pth")
        overlay = {"file": str(folder / "published.pth")}
        return dict(
            timm.create_model(
                name, pretrained=True, in_chans=in_channels, pretrained_cfg_overlay=overlay, features_only=True
            ).state_dict()
        )
    published = smp.encoders.get_encoder(encoder)
    published.load_state_dict(dict(state))
    published.set_in_channels(in_channels)
    return dict(published.state_dict())


@pytest.mark.parametrize("encoder", ["resnet18", "tu-mobilenetv3_small_050", "tu-convnext_atto"])
@pytest.mark.parametrize("in_channels", [1, 2, 4, 6])
def test_file_for_three_channels_is_adapted_as_smp_and_timm_do(encoder: str, in_channels: int, tmp_path: Path) -> None:
    state = build_timm_state(encoder) if encoder.startswith("tu-") else build_smp_state(encoder)
    torch.save(state, tmp_path / "weights.pth")
    net = models.build_model("unet", 2, encoder, str(tmp_path / "weights.pth"), in_channels)
    assert has_weights(net.encoder, adapt_by_library(encoder, state, in_channels, tmp_path))
    assert net.in_channels == in_channels and net.first_layer is not None and "made for 3 channels" in net.first_layer
    models.check_size(net, 64)


def test_file_for_as_many_channels_is_taken_as_it_is(tmp_path: Path) -> None:
    state = build_smp_state("resnet18", 6)
    torch.save(state, tmp_path / "weights.pth")
    net = models.build_model("unet", 2, "resnet18", str(tmp_path / "weights.pth"), 6)
    assert has_weights(net.encoder, state) and net.first_layer is None
    for in_channels in (1, 3, 5):
        with pytest.raises(
            InputError, match=rf"1 of another shape \(conv1.weight \[64, 6, 7, 7\], not \[64, {in_channels}"
        ):
            models.build_model("unet", 2, "resnet18", str(tmp_path / "weights.pth"), in_channels)


def test_layer_that_sees_blocks_of_pixels_is_summed_for_one_band_and_refused_for_more(tmp_path: Path) -> None:
    state = {"conv.weight": torch.arange(6.0).view(1, 6, 1, 1)}
    torch.save(state, tmp_path / "weights.pth")
    blocks = nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 1, 1, bias=False)))
    assert load_encoder(blocks, tmp_path / "weights.pth", 1)
    assert blocks.state_dict()["conv.weight"].flatten().tolist() == [3, 12]
    blocks = nn.Sequential(OrderedDict(conv=nn.Conv2d(8, 1, 1, bias=False)))
    with pytest.raises(InputError, match=r"1 of another shape \(conv.weight \[1, 6, 1, 1\], not \[1, 8, 1, 1\]\)"):
        load_encoder(blocks, tmp_path / "weights.pth", 4)


@pytest.mark.parametrize(
    ("layer", "in_channels", "ending"),
    [
        (1, 1, "summed for 1 band"),
        (2, 2, "taken for the first 2 and scaled by 3/2"),
        (6, 6, "repeated over 6 bands and scaled by 3/6"),
        (96, 6, "drawn anew for 6 bands, because timm cannot adapt them"),
    ],
)
def test_what_became_of_the_first_layer_is_said(layer: int, in_channels: int, ending: str) -> None:
    said = describe_first_layer(nn.Sequential(nn.Identity(), nn.Conv2d(layer, 4, 1), nn.Conv2d(9, 4, 1)), in_channels)
    assert said == f"the encoder's first layer was made for 3 channels; its weights were {ending}"


def test_nothing_is_said_where_nothing_was_adapted(tmp_path: Path) -> None:
    torch.save(build_smp_state("resnet18"), tmp_path / "weights.pth")
    assert models.build_model("unet", 2, "resnet18", str(tmp_path / "weights.pth")).first_layer is None
    assert models.build_model("unet", 2, "resnet18", in_channels=6).first_layer is None
    assert models.build_model("simple_cnn", 2, in_channels=6).first_layer is None


def test_published_weights_are_adapted_by_smp_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """smp fetches them where there is a network; here it gets an encoder without."""
    monkeypatch.setattr("losslab.models.hub.check_reachable", lambda *arguments: None)
    monkeypatch.setattr(
        smp, "Unet", lambda name, encoder_weights, **options: UNET(name, encoder_weights=None, **options)
    )
    net = models.build_model("unet", 2, "resnet18", "imagenet", 4)
    assert net.first_layer is not None and net.first_layer.endswith("repeated over 4 bands and scaled by 3/4")
    assert models.build_model("unet", 2, "resnet18", "imagenet").first_layer is None


def test_digest_is_of_the_files_content(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"abc")
    assert (
        models.compute_weights_digest(str(file)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert models.compute_weights_digest(None) is None and models.compute_weights_digest("imagenet") is None
    with pytest.raises(InputError, match="encoder_weights: no file "):
        models.compute_weights_digest(str(tmp_path / "none.pth"))


@pytest.mark.skipif(not LITE.exists(), reason="needs shared/weights, which is not part of the repository")
def test_published_file_is_loaded_with_its_normalisation() -> None:
    from safetensors.torch import load_file

    encoder, state = "tu-tf_efficientnet_lite0", load_file(LITE)
    net = models.build_model("unet", 3, encoder, str(LITE))
    assert has_weights(net.encoder, state)
    assert models.find_normalisation(encoder, str(LITE)) == ([0.5] * 3, [0.5] * 3)
