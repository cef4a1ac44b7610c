"""A trained net, ready for images of any size: test-time augmentation, and logits at the size that images had."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from losslab.data.images.fit import Fit, compute_placement
from losslab.errors import InputError
from losslab.inference.tensors import to_input
from losslab.models.probe import shorten_error
from losslab.runtime.devices import build_autocast, pick_model_device

TestTimeAugmentation = Literal["none", "flip", "flip_scale"]
FLIPS: dict[TestTimeAugmentation, tuple[bool, ...]] = {
    "none": (False,),
    "flip": (False, True),
    "flip_scale": (False, True),
}
SCALES: dict[TestTimeAugmentation, tuple[float, ...]] = {
    "none": (1.0,),
    "flip": (1.0,),
    "flip_scale": (0.75, 1.0, 1.25),
}


class Predictor:
    """A trained net with what model.json says of it, ready for images of any size.

    Args:
        tta: test-time augmentation. `flip` means over the image and its mirror image, `flip_scale` also over 0.75 and 1.25
            times its size; means are of probabilities.
        device: None takes what the model was trained on, or what there is.
    """

    def __init__(
        self,
        net: nn.Module,
        description: Mapping[str, Any],
        tta: TestTimeAugmentation = "none",
        device: torch.device | None = None,
    ) -> None:
        self.device = device or pick_model_device(description)
        self.net = net.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.description, self.tta = description, tta

    def logits(self, images: Tensor) -> Tensor:
        """Images uint8 `[N, H, W, 3]` → logits float32 `[N, num_classes, H, W]` on this predictor's device.

        With test-time augmentation they are those of the mean probabilities.

        Raises:
            InputError: the net cannot take one of the sizes that test-time augmentation asks for.
        """
        with torch.inference_mode():
            normalised = to_input(images.to(self.device), self.description["mean"], self.description["std"])
            views = [self._view(normalised, scale, flip) for scale in SCALES[self.tta] for flip in FLIPS[self.tta]]
            return views[0] if len(views) == 1 else _mean(views)

    def _view(self, images: Tensor, scale: float, flip: bool) -> Tensor:
        height, width = images.shape[-2:]
        if scale != 1:
            images = _resized(images, round(height * scale), round(width * scale))
        if flip:
            images = images.flip(-1)
        try:
            with build_autocast(self.description["precision"], self.device):
                logits: Tensor = self.net(images.contiguous(memory_format=torch.channels_last))
        except (RuntimeError, AssertionError, ValueError) as error:
            if scale == 1 or isinstance(error, torch.OutOfMemoryError):
                raise
            size = " x ".join(map(str, images.shape[-2:]))
            raise InputError(
                f"tta flip_scale: this net cannot take images of {size}: {shorten_error(error)}; use flip"
            ) from error
        logits = logits.float()
        if flip:
            logits = logits.flip(-1)
        return logits if scale == 1 else _resized(logits, height, width)


def restore_size(logits: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """Logits `[N, C, size, size]` of images that prepare has fitted, at the size that they had: `[N, C, height, width]`.

    Logits of padding are cut off, the others resized bilinearly.
    """
    return restore_rows(logits, height, width, fit, 0, height)


def restore_rows(logits: Tensor, height: int, width: int, fit: Fit, top: int, bottom: int) -> Tensor:
    """Rows `top` to `bottom` of `restore_size`, bit for bit, without the others: `[N, C, bottom - top, width]`."""
    place = compute_placement(height, width, logits.shape[-1], fit)
    kept = logits[..., place.top : place.top + place.height, place.left : place.left + place.width]
    if kept.shape[-2:] == (height, width):
        return kept[..., top:bottom, :]
    columns, rows = _centres(width, 0, width), _centres(height, top, bottom)
    grid = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, width)], dim=-1).to(kept)
    # Not F.interpolate, which cannot give some rows alone: here each value depends on its own place only.
    return F.grid_sample(
        kept.contiguous(), grid.expand(len(kept), -1, -1, -1), padding_mode="border", align_corners=False
    )


def _centres(length: int, start: int, stop: int) -> Tensor:
    """Of pixels `start` to `stop` of `length`, where -1 and 1 are the ends."""
    return (torch.arange(start, stop, dtype=torch.float64) + 0.5) * 2 / length - 1


def _resized(maps: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)


def _mean(views: list[Tensor]) -> Tensor:
    """Logits whose probabilities are the mean of the views' probabilities."""
    stacked, count = torch.stack(views), math.log(len(views))
    if stacked.shape[2] == 1:
        positive, negative = (F.logsigmoid(sign * stacked).logsumexp(dim=0) for sign in (1, -1))
        return positive - negative
    return stacked.log_softmax(dim=2).logsumexp(dim=0) - count
