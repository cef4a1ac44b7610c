"""Networks behind one door: `build_model` makes one, `save` and `load` keep it with all that is needed to use it.

Importing this room does not import torch; building a net does.
"""

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from losslab.errors import InputError, find_exhausted_memory
from losslab.io.files import atomic_write, read_json, write_json
from losslab.io.hashing import compute_file_sha256
from losslab.models import hub
from losslab.models.registry import available, check_encoder_given, find_arch

if TYPE_CHECKING:
    from torch import nn

    from losslab.models.segmentation_net import SegmentationNet

__all__ = [
    "available",
    "build_model",
    "check_encoder",
    "check_size",
    "compute_weights_digest",
    "find_normalisation",
    "load",
    "save",
]

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


def build_model(
    arch: str,
    num_classes: int,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    in_channels: int = 3,
) -> "SegmentationNet":
    """Build a net: images float `[N, in_channels, H, W]` of any size in, logits `[N, num_classes, H, W]` out.

    Weights are drawn from torch's global random numbers: seed them before. `.net` is smp's net or the hand-written one,
    `.encoder` smp's encoder or None.

    Args:
        encoder_weights: None, the name of published weights such as imagenet, or a local file (see `load_encoder`).

    Raises:
        InputError: unknown arch or encoder, an encoder where none is taken or none where one is needed, a pair that
            cannot be, encoder weights that do not exist, cannot be fetched or do not fit.
    """
    check_encoder(arch, encoder, encoder_weights)
    return _build(arch, num_classes, encoder, encoder_weights, in_channels)


def check_encoder(arch: str, encoder: str | None, encoder_weights: str | None) -> None:
    """Raise InputError for an encoder or weights that the arch cannot have, without any network call."""
    check_encoder_given(arch, encoder, encoder_weights)
    if encoder is not None:
        from losslab.models.smp_nets import check_encoder_names, check_pairing

        check_encoder_names(encoder, encoder_weights)
        check_pairing(arch, encoder)


def check_size(net: "nn.Module", size: int, fewest: int | None = None) -> None:
    """Raise InputError when the net cannot take images of size x size: some encoders have sizes of their own.

    Where the fewest images that it is given in a step are 1, also when it cannot train on one image at a time, as some
    encoders' batch norm cannot.
    """
    from losslab.models.probe import find_fault

    if reason := find_fault(net, size):
        raise InputError(f"encoder: this net cannot take images of prepare.size {size}: {reason}")
    if fewest == 1 and (reason := find_fault(net, size, training=True)):
        raise InputError(
            f"train.batch_size leaves one image for a step of a process, on which this net cannot train: {reason}; "
            "choose another, or fewer train.devices"
        )


def find_normalisation(encoder: str | None, encoder_weights: str | None) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation (0..1 units, per channel) that pretrained encoder weights expect; None without any.

    Makes no network call. Weights in a local file are taken to expect what the encoder's published ones do.
    """
    if encoder is None or encoder_weights is None:
        return None
    from losslab.models.pretrained import find_expected_normalisation

    return find_expected_normalisation(encoder, encoder_weights)


def compute_weights_digest(encoder_weights: str | None) -> str | None:
    """sha256 of the local file that `encoder_weights` names; None where it names none.

    The content of that file is part of what a run is, and neither params.yaml nor DVC knows it.

    Raises:
        InputError: the file does not exist.
    """
    if encoder_weights is None or not hub.is_file(encoder_weights):
        return None
    return compute_file_sha256(hub.find_file(encoder_weights))


def save(folder: Path, net: "nn.Module", description: dict[str, Any]) -> None:
    """Write `model.safetensors` and `model.json`. The description needs arch, encoder and num_classes to be loaded again.

    The weights are those of `net.net`, under its own names: a model on an encoder loads straight into smp's class, such as
    `smp.Unet("resnet18", encoder_weights=None, classes=3).load_state_dict(safetensors.torch.load_file(...))`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Saved weights are plain row-major: channels_last is a matter of the run, not of the model.
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in _inner(net).state_dict().items()}
    with atomic_write(folder / WEIGHTS) as partial:
        try:
            save_file(weights, partial)
        except SafetensorError as error:  # what it makes of a full disk
            raise InputError(f"{folder / WEIGHTS} cannot be written: {error}") from error
    write_json(folder / DESCRIPTION, description)


def load(folder: Path | str) -> "tuple[SegmentationNet, dict[str, Any]]":
    """Rebuild the net that `save` kept, in eval mode on the CPU, with its description.

    Raises:
        InputError: no model in the folder, or weights that do not fit the description.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        description = read_json(folder / DESCRIPTION)
        net = _build(description["arch"], description["num_classes"], description["encoder"])
        net.net.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise InputError(f"{error.filename or folder / WEIGHTS}: no such file; the train stage writes it") from None
    except (json.JSONDecodeError, KeyError, SafetensorError, RuntimeError) as error:
        if find_exhausted_memory(error):
            raise
        raise InputError(f"{folder}: {WEIGHTS} and {DESCRIPTION} are not of one model: {error}") from None
    return net.eval(), description


def _build(
    arch: str, num_classes: int, encoder: str | None, encoder_weights: str | None = None, in_channels: int = 3
) -> "SegmentationNet":
    spec = find_arch(arch)
    if encoder is not None:
        from losslab.models.smp_nets import build_smp_net

        return build_smp_net(spec, num_classes, encoder, encoder_weights, in_channels)
    from losslab.models.segmentation_net import SegmentationNet

    module, _, name = spec.target.partition(":")
    net: nn.Module = getattr(importlib.import_module(module), name)(num_classes, in_channels)
    return SegmentationNet(net, spec.stride, spec.smallest)


def _inner(net: "nn.Module") -> "nn.Module":
    from losslab.models.segmentation_net import SegmentationNet

    return net.net if isinstance(net, SegmentationNet) else net
