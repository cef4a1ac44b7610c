"""Loading an encoder's weights from a local file: all of them, or an error that counts and names what does not fit."""

import contextlib
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import adapt_input_conv
from torch import Tensor, nn

from losslab.errors import InputError
from losslab.models.probe import build_on_meta, shorten_error

MAX_SHOWN = 3
"""Number of keys that an error names."""
COUNTER_SUFFIX = ".num_batches_tracked"
"""Ending of the counters of batch norm. Old files lack them, and nothing reads them: torch fills them in."""


def load_encoder(encoder: nn.Module, file: Path, in_channels: int = 3) -> bool:
    """Load the weights in `file` into `encoder` (smp's), under smp's key names or, for a timm encoder, timm's.

    If the file is for three channels and the encoder is not, its first layer is adapted as smp and timm adapt that of
    published weights; return whether it was.

    Keys that the encoder has no place for are ignored only if they belong to layers past its features: those that
    timm's complete model has, or that smp itself drops, such as the classifier.

    Raises:
        InputError: a file that cannot be read; keys that are missing, unknown or of another shape, counted and named.
    """
    weights = _read_weights(file)
    wanted = {name: tensor for name, tensor in encoder.state_dict().items() if not name.endswith(COUNTER_SUFFIX)}
    if not _is_timm(encoder) or not wanted.keys() <= weights.keys():
        weights = _rename_keys(encoder, weights)
    adapted = _adapt_first_layer(weights, wanted, in_channels)
    weights |= adapted
    shapes = [
        f"{name} {list(weights[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    missing = wanted.keys() - weights.keys()
    unknown = weights.keys() - encoder.state_dict().keys() - _find_keys_past_features(encoder, weights.keys())
    faults = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:MAX_SHOWN])}{', …' if len(names) > MAX_SHOWN else ''})"
        for what, names in [("missing", missing), ("unknown", unknown), ("of another shape", shapes)]
        if names
    ]
    if faults:
        raise InputError(
            f"encoder_weights: {file} does not fit the encoder, which has {len(wanted)} keys: {'; '.join(faults)}"
        )
    # Past smp's own load_state_dict, which drops and renames keys: that has been done.
    own = {name: tensor for name, tensor in weights.items() if name in encoder.state_dict()}
    nn.Module.load_state_dict(encoder, own, strict=False)
    return bool(adapted)


def describe_first_layer(encoder: nn.Module, in_channels: int) -> str:
    """Say what became of pretrained weights for three channels in the first layer of an encoder for another number.

    >>> describe_first_layer(nn.Conv2d(6, 8, 3), 6)
    "the encoder's first layer was made for 3 channels; its weights were repeated over 6 bands and scaled by 3/6"
    """
    made = "the encoder's first layer was made for 3 channels; its weights were"
    first = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    if in_channels == 1:
        return f"{made} summed for 1 band"
    if in_channels == 2:
        return f"{made} taken for the first 2 and scaled by 3/2"
    if first.in_channels != in_channels:  # it sees blocks of pixels as channels: timm adapts no such layer
        return f"{made} drawn anew for {in_channels} bands, because timm cannot adapt them"
    return f"{made} repeated over {in_channels} bands and scaled by 3/{in_channels}"


def _adapt_first_layer(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], in_channels: int
) -> dict[str, Tensor]:
    """Return the weights that are for three channels, adapted to `in_channels`, by the keys that want them so."""
    adapted: dict[str, Tensor] = {}
    for name, tensor in wanted.items():
        given = weights.get(name)
        if given is None or given.ndim != 4 or given.shape[1] * in_channels != tensor.shape[1] * 3:
            continue
        # Of a layer that sees blocks of pixels as channels, timm adapts one band alone; the caller names the others' shapes.
        if given.shape != tensor.shape and (given.shape[1] == 3 or in_channels == 1):
            adapted[name] = adapt_input_conv(in_channels, given)
    return adapted


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        content = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise InputError(f"encoder_weights: {file} cannot be read as weights: {shorten_error(error)}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"encoder_weights: {file} does not hold named weights; save a state_dict")
    return dict(content)


def _rename_keys(encoder: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate the keys of a complete timm model, or of a classifier that smp can convert, to the encoder's own."""
    if not _is_timm(encoder):
        renamed = dict(weights)
        with contextlib.suppress(RuntimeError):  # the caller names the keys and shapes that do not fit
            # smp's encoders drop their classifier and rename within load_state_dict, in the dict they are given.
            encoder.load_state_dict(renamed)
        return renamed
    own = encoder.state_dict().keys()
    return {next((key for key in _list_keys(name) if key in own), name): tensor for name, tensor in weights.items()}


def _list_keys(name: str) -> list[str]:
    """List what timm's feature extractors may call a key of the complete model: as it is, flattened, or wrapped."""
    return [f"model.{name}", f"model.{name.replace('.', '_', 1)}", f"model.body.{name}", f"model.model.{name}"]


def _find_keys_past_features(encoder: nn.Module, names: Iterable[str]) -> set[str]:
    """Return those of `names` that timm's complete model has, which goes on past the encoder's features."""
    if not _is_timm(encoder):
        return set()
    with build_on_meta():
        complete = timm.create_model(str(encoder.name)).state_dict().keys()
    return {name for name in names if name.removeprefix("model.") in complete}


def _is_timm(encoder: nn.Module) -> bool:
    return hasattr(encoder, "name") and hasattr(encoder, "model")
