"""Loading an encoder's weights from a local file: all of them, or an error that counts and names what does not fit."""

import contextlib
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from losslab.errors import InputError
from losslab.models.probe import build_on_meta, shorten_error

NAMED = 3
"""How many keys an error names."""
COUNTER = ".num_batches_tracked"
"""Of batch norm. Old files lack it, and nothing reads it: torch fills it in."""


def load_encoder(encoder: nn.Module, file: Path) -> None:
    """Give `encoder` (smp's) the weights in `file`, under smp's key names or, for a timm encoder, timm's.

    Keys that the encoder has no place for are left over only where they belong to layers past its features: those that
    timm's whole model has, or that smp itself drops, such as the classifier.

    Raises:
        InputError: a file that cannot be read; keys that are missing, unknown or of another shape, counted and named.
    """
    found = _read(file)
    wanted = {name: tensor for name, tensor in encoder.state_dict().items() if not name.endswith(COUNTER)}
    if not _is_timm(encoder) or not wanted.keys() <= found.keys():
        found = _renamed(encoder, found)
    shapes = [
        f"{name} {list(found[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    missing = wanted.keys() - found.keys()
    unknown = found.keys() - encoder.state_dict().keys() - _left_over(encoder, found.keys())
    faults = [
        f"{len(names)} {what} ({', '.join(sorted(names)[:NAMED])}{', …' if len(names) > NAMED else ''})"
        for what, names in [
            ("of its keys are missing", missing),
            ("keys are not the encoder's", unknown),
            ("keys have another shape", shapes),
        ]
        if names
    ]
    if faults:
        raise InputError(
            f"encoder_weights: {file} does not fit the encoder, which has {len(wanted)} keys: {'; '.join(faults)}"
        )
    # Past smp's own load_state_dict, which drops and renames keys: that has been done.
    nn.Module.load_state_dict(
        encoder, {name: tensor for name, tensor in found.items() if name in encoder.state_dict()}, strict=False
    )


def _read(file: Path) -> dict[str, Tensor]:
    try:
        content = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise InputError(f"encoder_weights: {file} cannot be read as weights: {shorten_error(error)}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"encoder_weights: {file} holds no weights by name; save a state_dict")
    return dict(content)


def _renamed(encoder: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keys as the encoder has them, from those of a whole timm model or of a classifier that smp knows to convert."""
    if not _is_timm(encoder):
        renamed = dict(found)
        with contextlib.suppress(RuntimeError):  # keys and shapes that do not fit are told by name later
            # smp's encoders drop their classifier and rename within load_state_dict, in the dict they are given.
            encoder.load_state_dict(renamed)
        return renamed
    own = encoder.state_dict().keys()
    return {next((place for place in _places(name) if place in own), name): tensor for name, tensor in found.items()}


def _places(name: str) -> Iterable[str]:
    """Where timm's feature extractors put a key of the whole model: as it is, flattened by one level, or wrapped."""
    yield f"model.{name}"
    yield f"model.{name.replace('.', '_', 1)}"
    yield f"model.body.{name}"
    yield f"model.model.{name}"


def _left_over(encoder: nn.Module, names: Iterable[str]) -> set[str]:
    """Those of `names` that timm's whole model has, none of which the features reach."""
    if not _is_timm(encoder):
        return set()
    with build_on_meta():
        whole = timm.create_model(str(encoder.name)).state_dict().keys()
    return {name for name in names if name.removeprefix("model.") in whole}


def _is_timm(encoder: nn.Module) -> bool:
    return hasattr(encoder, "name") and hasattr(encoder, "model")
