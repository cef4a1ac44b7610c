"""A model folder made ready to predict, and the options that suit it."""

from pathlib import Path
from typing import TYPE_CHECKING

from losslab.errors import InputError

if TYPE_CHECKING:
    from losslab.inference.predictor import Predictor, TestTimeAugmentation
    from losslab.models.description import ModelDescription


def check_threshold(threshold: float | None, described: "ModelDescription") -> None:
    """Raise InputError if a threshold is not a probability, or the model has more than two classes."""
    if threshold is not None and not 0 < threshold < 1:
        raise InputError(f"--threshold must lie between 0 and 1, not {threshold:g}")
    if threshold is not None and described.num_classes > 1 and described.labels is None:
        reason = f"this one has {described.num_classes} and takes the most likely"
        raise InputError(f"--threshold needs a model of two classes, or of overlapping ones; {reason}")


def load_predictor(folder: Path, tta: "TestTimeAugmentation", device: str) -> "Predictor":
    """Load a model, ready to predict. Raises InputError if the folder holds none, or the device is not available."""
    import torch  # importing this module must not import it

    from losslab import models
    from losslab.inference.predictor import Predictor
    from losslab.runtime.devices import pick_device

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device; use auto or cpu")
    net, description = models.load(folder)
    return Predictor(net, description, tta, pick_device(device))
