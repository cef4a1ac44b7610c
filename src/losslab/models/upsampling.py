"""Nearest-neighbour upsampling whose backward pass is as fast as its forward one on a CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class FastUpsampling(TorchFunctionMode):
    """Double images in `F.interpolate` on the CPU with the same values, and another sum of the same gradients.

    torch's own backward pass copies channels_last gradients back and forth: 3 % of a training step of a U-Net.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.interpolate and len(args) == 1 and _is_doubling(args[0], **kwargs):
            return _Double.apply(args[0])
        return func(*args, **kwargs)


def _is_doubling(images: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **_: Any) -> bool:
    if mode != "nearest" or images.ndim != 4 or images.device.type != "cpu" or not images.requires_grad:
        return False
    height, width = images.shape[-2:]
    if size is not None:
        return isinstance(size, list | tuple) and tuple(size) == (2 * height, 2 * width)
    return scale_factor in (2, (2, 2), [2, 2])


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        doubled: Tensor = torch.ops.aten.upsample_nearest2d(images, [2 * height, 2 * width])
        return doubled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return F.avg_pool2d(gradients[0], 2, divisor_override=1)
