"""What is known of published encoder weights without any network call: their names, and the normalisation they expect."""

import timm
from segmentation_models_pytorch.encoders import encoders as smp_encoders

from losslab.errors import InputError
from losslab.models.hub import is_file

TIMM = "tu-"
Normalisation = tuple[list[float], list[float]]
IMAGENET: Normalisation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
HALVES: Normalisation = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
DPN: Normalisation = [124 / 255, 117 / 255, 104 / 255], [1 / (0.0167 * 255)] * 3
SMP_NORMALISATION = {
    "inceptionresnetv2": HALVES,
    "inceptionv4": HALVES,
    "xception": HALVES,
    "timm-tf_efficientnet_lite": HALVES,
    "dpn": DPN,
}
"""By how an encoder's name begins; all others are IMAGENET. smp kept this as `_legacy_pretrained_settings` before it moved
to files on the hub, which cannot be read offline."""


def list_weights(encoder: str) -> list[str]:
    """The published weights of an encoder, by name; a timm encoder's tag is part of its own name."""
    if encoder.startswith(TIMM):
        return ["imagenet"] if timm.models.is_model_pretrained(encoder.removeprefix(TIMM)) else []
    return list(smp_encoders[encoder]["pretrained_settings"])


def find_expected_normalisation(encoder: str, encoder_weights: str) -> Normalisation:
    """Mean and standard deviation per channel, 0..1 units. A local file is taken to be trained as the encoder's own were."""
    if encoder.startswith(TIMM):
        config = timm.models.get_pretrained_cfg(encoder.removeprefix(TIMM))
        if config is None:
            return IMAGENET
        return [float(value) for value in config.mean], [float(value) for value in config.std]
    if encoder_weights == "advprop":
        return HALVES
    return next((value for start, value in SMP_NORMALISATION.items() if encoder.startswith(start)), IMAGENET)


def check_weights(encoder: str, encoder_weights: str) -> None:
    """Raise InputError for weights that the encoder was not published with; files are not looked at."""
    if is_file(encoder_weights):
        return
    names = list_weights(encoder)
    if encoder_weights not in names:
        raise InputError(
            f"encoder_weights: {encoder_weights!r} does not exist for {encoder}; use {', '.join(['null', *names])}, "
            "or a local file"
        )
