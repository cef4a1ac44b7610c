"""A model folder made ready to predict, and the options that suit it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from losslab.cards import has_overlapping_labels
from losslab.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from losslab.inference.predictor import Predictor, TestTimeAugmentation


def check_threshold(threshold: float | None, description: "Mapping[str, Any]") -> None:
    """Raise InputError if a threshold is not a probability, or the model has more than two classes."""
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"--threshold must lie between 0 and 1, not {threshold:g}")
    if threshold is not None and description["num_classes"] > 1 and not has_overlapping_labels(description):
        reason = f"this one has {description['num_classes']} and takes the most likely"
        raise InputError(f"--threshold needs a model of two classes, or of overlapping ones; {reason}")


def load_predictor(folder: Path, tta: "TestTimeAugmentation", device: str) -> "Predictor":
    """Load a model, ready to predict. Raises InputError if the folder holds none, or the device is not available."""
    from losslab import models  # importing this module must not import torch

    _check_device(device)
    return build_predictor(*models.load(folder), tta, device)


def build_predictor(
    net: "nn.Module", description: "Mapping[str, Any]", tta: "TestTimeAugmentation", device: str
) -> "Predictor":
    """Make a net with its description ready to predict. Raises InputError if the device is not available."""
    from losslab.inference.predictor import Predictor
    from losslab.runtime.devices import pick_device

    _check_device(device)
    return Predictor(net, description, tta, pick_device(device))


def _check_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device; use auto or cpu")
