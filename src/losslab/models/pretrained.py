"""Facts about published encoder weights that need no network: their names, and the normalisation they expect."""

import timm
from segmentation_models_pytorch.encoders import encoders as smp_encoders

from losslab.errors import InputError, quote
from losslab.models.encoders import TIMM_PREFIX
from losslab.models.hub import is_file

Normalisation = tuple[list[float], list[float]]
IMAGENET: Normalisation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALVES: Normalisation = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
DPN: Normalisation = [124 / 255, 117 / 255, 104 / 255], [1 / (0.0167 * 255)] * 3
SMP_NORMALISATION = {
    **dict.fromkeys(("inceptionresnetv2", "inceptionv4", "xception", "timm-tf_efficientnet_lite"), HALVES),
    "dpn": DPN,
}
"""Normalisation by the beginning of an encoder's name; all others are IMAGENET. smp kept this table as
`_legacy_pretrained_settings` before it moved to files on the hub, which cannot be read offline."""


def _list_weights(encoder: str) -> list[str]:
    """List the names of an encoder's published weights; a timm encoder's tag is part of its own name."""
    if encoder.startswith(TIMM_PREFIX):
        return ["imagenet"] if timm.models.is_model_pretrained(encoder.removeprefix(TIMM_PREFIX)) else []
    return list(smp_encoders[encoder]["pretrained_settings"])


def find_expected_normalisation(encoder: str, encoder_weights: str) -> Normalisation:
    """Return the mean and standard deviation per channel, in 0..1 units, that pretrained weights expect."""
    if encoder.startswith(TIMM_PREFIX):
        config = timm.models.get_pretrained_cfg(encoder.removeprefix(TIMM_PREFIX))
        if config is None:
            return IMAGENET
        return [float(value) for value in config.mean], [float(value) for value in config.std]
    if encoder_weights == "advprop":
        return HALVES
    return next((value for start, value in SMP_NORMALISATION.items() if encoder.startswith(start)), IMAGENET)


def check_weights(encoder: str, encoder_weights: str) -> None:
    """Raise InputError for names of weights that the encoder was not published with; files are not checked."""
    if is_file(encoder_weights):
        return
    names = _list_weights(encoder)
    if encoder_weights not in names:
        raise InputError(
            f"encoder_weights: {quote(encoder_weights)} does not exist for {encoder}; use {', '.join(['null', *names])}, "
            "or a local file"
        )
