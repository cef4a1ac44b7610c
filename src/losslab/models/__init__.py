"""Networks behind one door: `build_model` makes one, `save` and `load` keep it with all that is needed to use it.

Importing this room does not import torch; building a net does.
"""

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from losslab.errors import InputError
from losslab.files import read_json, whole, write_json
from losslab.models.registry import available, check_given, find

if TYPE_CHECKING:
    from torch import nn

__all__ = ["available", "build_model", "check_encoder", "check_size", "load", "normalisation", "save"]

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


def build_model(
    arch: str,
    num_classes: int,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    in_channels: int = 3,
) -> "nn.Module":
    """Build a net: images float `[N, in_channels, H, W]` in, logits `[N, num_classes, H, W]` out.

    H and W must be multiples of the arch's stride (see `losslab.models.registry`).

    Raises:
        InputError: unknown arch or encoder, an encoder where none is taken or none where one is needed, encoder weights
            that do not exist or cannot be fetched.
    """
    check_encoder(arch, encoder, encoder_weights)
    spec = find(arch)
    module, _, function = spec.target.partition(":")
    build = getattr(importlib.import_module(f"losslab.models.{module}"), function)
    net: nn.Module = build(num_classes, encoder, encoder_weights, in_channels)
    return net


def check_encoder(arch: str, encoder: str | None, encoder_weights: str | None) -> None:
    """Raise InputError for an encoder or weights that the arch cannot have, without any network call."""
    check_given(arch, encoder, encoder_weights)
    if encoder is not None:
        from losslab.models.smp_nets import check_names

        check_names(encoder, encoder_weights)


def check_size(net: "nn.Module", size: int) -> None:
    """Raise InputError when the net cannot take images of size x size: some encoders have sizes of their own."""
    import torch

    training = net.training
    try:
        with torch.no_grad():  # what a net caches here must still serve in training
            net.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"encoder: this net cannot take images of prepare.size {size}: {reason}") from error
    finally:
        net.train(training)


def normalisation(encoder: str | None, encoder_weights: str | None) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation (0..1 units, per channel) that pretrained encoder weights expect; None without any."""
    if encoder is None or encoder_weights is None:
        return None
    from losslab.models.smp_nets import pretrained_normalisation

    return pretrained_normalisation(encoder, encoder_weights)


def save(folder: Path, net: "nn.Module", description: dict[str, Any]) -> None:
    """Write `model.safetensors` and `model.json`. The description needs arch, encoder and num_classes to be loaded again."""
    from safetensors.torch import save_file

    # Saved weights are plain row-major: channels_last is a matter of the run, not of the model.
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    with whole(folder / WEIGHTS) as partial:
        save_file(weights, partial)
    write_json(folder / DESCRIPTION, description)


def load(folder: Path | str) -> "tuple[nn.Module, dict[str, Any]]":
    """Rebuild the net that `save` kept, in eval mode on the CPU, with its description.

    Raises:
        InputError: no model in the folder, or weights that do not fit the description.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        description = read_json(folder / DESCRIPTION)
        net = build_model(description["arch"], description["num_classes"], description["encoder"])
        net.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise InputError(f"{error.filename or folder / WEIGHTS}: no such file; the train stage writes it") from None
    except (json.JSONDecodeError, KeyError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{folder}: {WEIGHTS} and {DESCRIPTION} are not of one model: {error}") from None
    return net.eval(), description
