from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from losslab import models
from losslab.errors import InputError
from tests.conftest import SHARED

State = dict[str, Tensor]
LITE = SHARED / "weights/tf_efficientnet_lite0.imagenet.safetensors"


def build_smp_state(encoder: str) -> State:
    net = models.build_model("unet", 1, encoder)
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


def test_file_is_for_three_channels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is for an encoder with 3 channels, not 4"):
        models.build_model("unet", 3, "resnet18", str(tmp_path / "weights.pth"), in_channels=4)


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
