"""The decoders of segmentation-models-pytorch (smp), on its own and timm's encoders."""

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import segmentation_models_pytorch as smp
import timm
from segmentation_models_pytorch.encoders import encoders as smp_encoders
from torch import nn

from losslab.errors import InputError

_TIMM = "tu-"


def unet(num_classes: int, encoder: str, encoder_weights: str | None, in_channels: int) -> nn.Module:
    # smp takes True for a timm encoder, whose pretrained tag is part of its name.
    weights = True if encoder_weights is not None and encoder.startswith(_TIMM) else encoder_weights
    with _explained(encoder, encoder_weights):
        net: nn.Module = smp.Unet(encoder, encoder_weights=weights, in_channels=in_channels, classes=num_classes)
    return net


def check_names(encoder: str, encoder_weights: str | None) -> None:
    """Raise InputError for names that smp and timm do not know, without any network call."""
    known = list(smp_encoders) + [_TIMM + name for name in timm.list_models(exclude_filters="test_*")]
    if encoder not in known:
        close = difflib.get_close_matches(encoder, known, n=5, cutoff=0.4)
        hint = f"close to it: {', '.join(close)}; " if close else ""
        raise InputError(
            f"encoder: {encoder!r} is unknown to smp and timm; {hint}timm's names start with {_TIMM}, as tu-resnet18"
        )
    if encoder_weights is None:
        return
    names = ["imagenet"] if encoder.startswith(_TIMM) else list(smp_encoders[encoder]["pretrained_settings"])
    if encoder_weights not in names:
        raise InputError(
            f"encoder_weights: {encoder_weights!r} does not exist for {encoder}; use null or {', '.join(names)}"
        )


def pretrained_normalisation(encoder: str, encoder_weights: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, 0..1 units; smp keeps those of its own encoders beside their weights."""
    with _explained(encoder, encoder_weights):
        settings = smp.encoders.get_preprocessing_params(encoder, encoder_weights)
    return [float(value) for value in settings["mean"]], [float(value) for value in settings["std"]]


@contextmanager
def _explained(encoder: str, encoder_weights: str | None) -> Iterator[None]:
    """Turn what smp, timm and their hub clients raise (any type) into one line; their retries stay silent."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if encoder_weights is None:
            raise InputError(f"encoder: a Unet on {encoder!r} cannot be built: {reason}") from error
        raise InputError(
            f"encoder_weights: {encoder_weights!r} for {encoder} could not be fetched ({reason}); "
            "null trains from scratch, without the network"
        ) from error
    finally:
        hub.setLevel(level)
