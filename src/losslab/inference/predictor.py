"""A trained net, ready for images of any size: test-time augmentation, and logits at the original size."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from losslab.cards import has_overlapping_labels
from losslab.data.images.fit import Fit, compute_placement
from losslab.errors import InputError
from losslab.inference.tensors import InputScaling, average_logits, check_finite
from losslab.models.probe import shorten_error
from losslab.runtime.devices import build_autocast, pick_model_device

TestTimeAugmentation = Literal["none", "flip", "flip_scale"]
VIEWS: dict[TestTimeAugmentation, list[tuple[float, bool]]] = {
    "none": [(1.0, False)],
    "flip": [(1.0, False), (1.0, True)],
    "flip_scale": [(scale, flip) for scale in (0.75, 1.0, 1.25) for flip in (False, True)],
}
"""Scale of each view of an image, and whether it is mirrored."""


class Predictor:
    """A trained net with its description from model.json, ready for images of any size.

    Args:
        tta: test-time augmentation. `flip` averages the probabilities of the image and its mirror image, `flip_scale`
            also those of 0.75 and 1.25 times its size.
        device: None stands for the CPU if the model was trained there, else for the best device of this machine.
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
        self.scaling = InputScaling(description).to(self.device)
        self.description, self.tta = description, tta
        self.overlapping = has_overlapping_labels(description)

    def compute_logits(self, images: Tensor) -> Tensor:
        """Compute logits float32 `[N, num_classes, H, W]` of images uint8 `[N, H, W, 3]`, on this predictor's device.

        Test-time augmentation gives the logits of mean probabilities. Raises InputError if the net cannot take its
        sizes, or its logits are not finite.
        """
        with torch.inference_mode():
            normalised = self.scaling(images.to(self.device))
            views = (self._compute_view(normalised, scale, flip) for scale, flip in VIEWS[self.tta])
            return average_logits(views, self.overlapping)

    def _compute_view(self, images: Tensor, scale: float, flip: bool) -> Tensor:
        height, width = images.shape[-2:]
        if scale != 1:
            images = _resize(images, round(height * scale), round(width * scale))
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
        logits = logits.float().flip(-1) if flip else logits.float()
        check_finite(logits)
        return logits if scale == 1 else _resize(logits, height, width)


def restore_size(logits: Tensor, height: int, width: int, fit: Fit) -> Tensor:
    """Resize logits `[N, C, size, size]` of fitted images to their own size `[N, C, height, width]`, less padding."""
    return restore_rows(logits, height, width, fit, 0, height)


def restore_rows(logits: Tensor, height: int, width: int, fit: Fit, top: int, bottom: int) -> Tensor:
    """Compute rows `top` to `bottom` of `restore_size` alone, bit for bit: `[N, C, bottom - top, width]`."""
    place = compute_placement(height, width, logits.shape[-1], fit)
    kept = logits[..., place.top : place.top + place.height, place.left : place.left + place.width]
    if kept.shape[-2:] == (height, width):
        return kept[..., top:bottom, :]
    columns, rows = _compute_centres(width, 0, width), _compute_centres(height, top, bottom)
    grid = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, width)], dim=-1).to(kept)
    # Not F.interpolate, which cannot give some rows alone: here each value depends on its own place only.
    grids = grid.expand(len(kept), -1, -1, -1)
    return F.grid_sample(kept.contiguous(), grids, padding_mode="border", align_corners=False)


def _compute_centres(length: int, start: int, stop: int) -> Tensor:
    """Compute the centres of pixels `start` to `stop` of `length` in units in which the ends are -1 and 1."""
    return (torch.arange(start, stop, dtype=torch.float64) + 0.5) * 2 / length - 1


def _resize(maps: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
