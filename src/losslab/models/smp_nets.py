"""The decoders of segmentation-models-pytorch (smp), on its own and timm's encoders."""

import functools
import importlib
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
from segmentation_models_pytorch.encoders import encoders as smp_encoders
from torch import nn

from losslab.errors import InputError, quote
from losslab.models import hub
from losslab.models.encoder_weights import describe_first_layer, load_encoder
from losslab.models.encoders import TIMM_PREFIX, build_pair_error, check_name
from losslab.models.grid_pool import use_grid_pool
from losslab.models.pretrained import check_weights
from losslab.models.probe import build_on_cpu, build_on_meta, find_fault, is_about_meta, shorten_error
from losslab.models.registry import ArchSpec, available, find_arch
from losslab.models.segmentation_net import SegmentationNet


def build_smp_net(
    spec: ArchSpec, num_classes: int, encoder: str, encoder_weights: str | None, in_channels: int
) -> SegmentationNet:
    """Build smp's net of this arch on an encoder; the pair must have passed `check_pairing`.

    Raises:
        InputError: weights that cannot be fetched or do not fit.
    """
    file = None
    if encoder_weights is not None and hub.is_file(encoder_weights):
        file, encoder_weights = hub.find_file(encoder_weights), None
    hub.check_reachable(encoder, encoder_weights)
    with _silence_clients():
        try:
            net = _build_net(spec, num_classes, encoder, encoder_weights, in_channels)
        except Exception as error:  # whatever the hub's clients raise
            if encoder_weights is None and in_channels == 3:
                raise
            if encoder_weights is None:
                about = f"encoder: arch {spec.name} cannot be built on {quote(encoder)} for {in_channels} bands"
                raise InputError(f"{about}: {shorten_error(error)}") from error
            raise hub.build_unavailable_error(encoder, encoder_weights, shorten_error(error)) from error
    adapted = in_channels != 3 and encoder_weights is not None
    if file is not None:
        adapted = load_encoder(net.encoder, file, in_channels)
    use_grid_pool(net)
    first_layer = describe_first_layer(net.encoder, in_channels) if adapted else None
    return SegmentationNet(net, _compute_stride(spec, net), spec.smallest, in_channels, first_layer)


def list_encoders() -> list[str]:
    """List the names of smp's and timm's encoders."""
    return list(smp_encoders) + [TIMM_PREFIX + name for name in timm.list_models(exclude_filters="test_*")]


def check_encoder_names(encoder: str, encoder_weights: str | None) -> None:
    """Raise InputError for names that smp and timm do not know, without any network call.

    >>> check_encoder_names("resnet18", "mars")
    Traceback (most recent call last):
    losslab.errors.InputError: encoder_weights: 'mars' does not exist for resnet18; use null, imagenet, ssl, ...
    """
    check_name(encoder, list_encoders())
    name, _, tag = encoder.partition(".")
    if tag:
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name.removeprefix(TIMM_PREFIX)}.*")]
        if tag not in tags:
            raise InputError(
                f"encoder: {quote(encoder)}: {name} has no tag {tag} (available: {', '.join(tags) or 'none'})"
            )
    if encoder_weights is not None:
        check_weights(encoder, encoder_weights)


def check_pairing(arch: str, encoder: str) -> None:
    """Raise InputError if smp cannot build this arch on this encoder; the message lists pairs that go together.

    Nobody publishes the pairs, so they are tried, on torch's meta device: no weights, no arithmetic, no random numbers.
    """
    if (reason := find_obstacle(arch, encoder)) is None:
        return
    if "output_stride" in reason:
        reason = "it cannot be dilated"
    others = [name for name in available() if find_arch(name).takes_encoder and find_obstacle(name, encoder) is None]
    raise build_pair_error(arch, encoder, others, reason)


@functools.cache
def find_obstacle(arch: str, encoder: str) -> str | None:
    """Return why smp cannot build this arch on this encoder, or None if it can, at least at the encoder's own size."""
    spec = find_arch(arch)
    reason = None
    for place in (build_on_meta, build_on_cpu):
        with place(), _silence_clients():
            try:
                net = _build_net(spec, 2, encoder, None, 3)
            except Exception as error:
                reason = shorten_error(error)
                if not is_about_meta(error):
                    break
                continue
        for size in _list_trial_sizes(spec, net):
            if (reason := find_fault(net, size)) is None:
                return None
        if not is_about_meta(reason or ""):
            break
    return reason


def _list_trial_sizes(spec: ArchSpec, net: nn.Module) -> list[int]:
    """List sizes in pixels to try: two that fit the stride, and the one that a timm encoder was made for."""
    stride = _compute_stride(spec, net)
    config = getattr(getattr(net.encoder, "model", None), "pretrained_cfg", None) or {}
    own = config.get("input_size", (3, 224, 224))[-1]
    return [-(-max(spec.smallest, size) // stride) * stride for size in (64, 128)] + [own]


def _build_net(spec: ArchSpec, num_classes: int, encoder: str, encoder_weights: str | None, in_channels: int) -> Any:
    module, _, name = spec.target.partition(":")
    # smp takes True for a timm encoder, whose pretrained tag is part of its name.
    weights = True if encoder_weights is not None and encoder.startswith(TIMM_PREFIX) else encoder_weights
    return getattr(importlib.import_module(module), name)(
        encoder,
        encoder_weights=weights,
        in_channels=in_channels,
        classes=num_classes,
        **_find_timm_options(encoder, features_only=spec.name != "dpt"),
    )


@functools.cache
def _find_timm_options(encoder: str, features_only: bool) -> dict[str, Any]:
    """Return the options that let a timm encoder take images of any size, if it has such options.

    Args:
        features_only: False for a plain transformer, which is used as a complete model.
    """
    if not encoder.startswith(TIMM_PREFIX):
        return {}
    options: dict[str, Any] = {} if features_only else {"num_classes": 0}  # the features do not reach the classifier
    any_size = options | {"dynamic_img_size": True}
    try:
        with build_on_meta():
            timm.create_model(encoder.removeprefix(TIMM_PREFIX), features_only=features_only, **any_size)
    except Exception:  # most know no such option; any other fault shows when the net itself is built
        return options
    return any_size


def _compute_stride(spec: ArchSpec, net: Any) -> int:
    """Compute a stride that fits the decoder and the encoder, whose patches may have 14 pixels, for example."""
    return math.lcm(spec.stride, int(net.encoder.output_stride))


@contextmanager
def _silence_clients() -> Iterator[None]:
    """Silence the retries of the hub's client and the advice of smp, which do not concern the reader of a run."""
    client = logging.getLogger("huggingface_hub")
    level = client.level
    client.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        client.setLevel(level)
