"""A net with its normalisation and padding inside, of plain operations alone."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from losslab.models.grid_pool import GridPool
from losslab.models.segmentation_net import SegmentationNet


class DeployableNet(nn.Module):
    """What is exported: a copy of the net in float32 on the CPU, in eval mode.

    Shape: images float32 `[N, 3, H, W]`, RGB, 0 to 255 → logits float32 `[N, num_classes, H, W]`.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: SegmentationNet, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Past SegmentationNet: its padding is Python's, its upsampling a mode with a backward pass of its own.
        self.net = copy.deepcopy(net.net).cpu().float()
        self.stride, self.smallest = net.stride, net.smallest
        self.register_buffer("shift", torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", torch.tensor(std).view(1, 3, 1, 1) * 255)
        for module in self.net.modules():
            if type(module) in _PLAIN:
                module.__class__ = _PLAIN[type(module)]
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        bottom, right = (self._taken(side) - side for side in images.shape[-2:])
        logits: Tensor = self.net(F.pad(self._normalised(images), (0, right, 0, bottom)))
        # A slice would be another net to torch.export where nothing is cut off.
        return F.pad(logits, (0, -right, 0, -bottom))

    def _normalised(self, images: Tensor) -> Tensor:
        return (images - self.shift) / self.scale

    def _taken(self, side: Any) -> Any:
        """The side that the net is given; a symbol where the exported size varies."""
        whole = (side + self.stride - 1) // self.stride * self.stride
        fewest = -(-self.smallest // self.stride) * self.stride
        return whole if fewest <= self.stride else torch.sym_max(whole, fewest)


class TraceableNet(DeployableNet):
    """The same for `torch.jit.trace`, which would keep the padding of the one size that it sees: here it is a script."""

    def __init__(self, net: SegmentationNet, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(net, mean, std)
        self.pad, self.crop = torch.jit.script(_padded), torch.jit.script(_cropped)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(self.pad(self._normalised(images), self.stride, self.smallest))
        cropped: Tensor = self.crop(logits, images)
        return cropped


class _PlainGridPool(GridPool):
    """As two matrix products: torch's own is exported wrong where the size varies, and cell by cell it takes minutes."""

    def forward(self, features: Tensor) -> Tensor:
        size = self.output_size if isinstance(self.output_size, tuple) else (self.output_size, self.output_size)
        rows, columns = (
            _means(side, cells) for side, cells in zip(features.shape[-2:], size, strict=True) if cells is not None
        )
        return rows @ features @ columns.T


class _PlainConv2dSame(Conv2dSame):
    """timm's padding depends on the side, by formulas over which exporters take hours where the side varies. The stride
    divides the side here, because images are padded, and then it does not.
    """

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = (
            max((kernel - 1) * dilation + 1 - stride, 0)
            for kernel, dilation, stride in zip(self.kernel_size, self.dilation, self.stride, strict=True)
        )
        padded = F.pad(features, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(padded, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)


_PLAIN = {GridPool: _PlainGridPool, Conv2dSame: _PlainConv2dSame}


def _means(side: int, cells: int) -> Tensor:
    """A matrix `[cells, side]` that takes the mean of each cell's share of a side, shares as in `F.adaptive_avg_pool2d`."""
    cell, pixel = torch.arange(cells)[:, None], torch.arange(side)
    begin = torch.div(cell * side, cells, rounding_mode="floor")
    end = torch.div((cell + 1) * side + cells - 1, cells, rounding_mode="floor")
    inside = ((pixel >= begin) & (pixel < end)).float()
    return inside / inside.sum(dim=1, keepdim=True)


def _padded(images: Tensor, stride: int, smallest: int) -> Tensor:
    fewest = (smallest + stride - 1) // stride * stride
    bottom = max((images.shape[2] + stride - 1) // stride * stride, fewest) - images.shape[2]
    right = max((images.shape[3] + stride - 1) // stride * stride, fewest) - images.shape[3]
    return torch.constant_pad_nd(images, [0, right, 0, bottom], 0.0)


def _cropped(logits: Tensor, images: Tensor) -> Tensor:
    return logits[:, :, : images.shape[2], : images.shape[3]]


def build_metadata(net: SegmentationNet, description: Mapping[str, Any], model_md5: str) -> dict[str, Any]:
    """What a user of the file needs to know, as it travels inside: model.json without its run, and how to call it."""
    kept = {key: value for key, value in description.items() if key != "run"}
    binary = description["num_classes"] == 1
    return {
        "input": "images: float32 [N, 3, H, W], RGB, 0 to 255; normalised inside",
        "output": f"logits: float32 [N, {description['num_classes']}, H, W], at the size of the input",
        "label": "1 where the logit is positive, else 0" if binary else "argmax of the logits over axis 1",
        **kept,
        "precision": "float32",
        "trained_precision": description["precision"],
        "stride": net.stride,
        "smallest": net.smallest,
        "model_md5": model_md5,
    }
