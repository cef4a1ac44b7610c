"""A net with its normalisation and padding inside, made of operations that exporters can take."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.nn import functional as F

from losslab.bands import RGB, read_bands
from losslab.cards import has_overlapping_labels
from losslab.inference.tensors import InputScaling
from losslab.models.grid_pool import GridPool
from losslab.models.segmentation_net import SegmentationNet


class DeployableNet(nn.Module):
    """The net that is exported: a copy in float32 on the CPU, in eval mode.

    Shape: images float32 `[N, B, H, W]`, values as in the files → logits float32 `[N, num_classes, H, W]`.

    Args:
        description: content of model.json.
    """

    shift: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, net: SegmentationNet, description: Mapping[str, Any]) -> None:
        super().__init__()
        # The net inside SegmentationNet, which pads in Python and upsamples with a backward pass of its own.
        self.net = copy.deepcopy(net.net).cpu().float()
        self.stride, self.smallest = net.stride, net.smallest
        scaling = InputScaling(description)
        self.clips = scaling.clips
        for name in ("shift", "scale", "low", "high") if self.clips else ("shift", "scale"):
            self.register_buffer(name, getattr(scaling, name).view(1, -1, 1, 1))
        for module in self.net.modules():
            if type(module) in _PLAIN:
                module.__class__ = _PLAIN[type(module)]
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        bottom, right = (self._compute_side(side) - side for side in images.shape[-2:])
        logits: Tensor = self.net(F.pad(self._normalise(images), (0, right, 0, bottom)))
        # Not a slice: torch.export would treat a size at which nothing is cut off as another net.
        return F.pad(logits, (0, -right, 0, -bottom))

    def _normalise(self, images: Tensor) -> Tensor:
        if self.clips:
            images = torch.minimum(torch.maximum(images, self.low), self.high)
        return (images - self.shift) / self.scale

    def _compute_side(self, side: Any) -> Any:
        """Compute the padded side, a multiple of the stride; it is a symbol if the exported size varies."""
        multiple = (side + self.stride - 1) // self.stride * self.stride
        smallest = -(-self.smallest // self.stride) * self.stride
        return multiple if smallest <= self.stride else torch.sym_max(multiple, smallest)


class TraceableNet(DeployableNet):
    """A deployable net for `torch.jit.trace`: its padding is a script, since a trace would keep that of one size."""

    def __init__(self, net: SegmentationNet, description: Mapping[str, Any]) -> None:
        super().__init__(net, description)
        self.pad, self.crop = torch.jit.script(_pad), torch.jit.script(_crop)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(self.pad(self._normalise(images), self.stride, self.smallest))
        cropped: Tensor = self.crop(logits, images)
        return cropped


class _PlainGridPool(GridPool):
    """A grid pool of two matrix products: torch's own is exported wrong if the size varies, and a loop over cells takes minutes."""

    def forward(self, features: Tensor) -> Tensor:
        size = self.output_size if isinstance(self.output_size, tuple) else (self.output_size, self.output_size)
        rows, columns = (
            _build_mean_matrix(side, cells)
            for side, cells in zip(features.shape[-2:], size, strict=True)
            if cells is not None
        )
        return rows @ features @ columns.T


class _PlainConv2dSame(Conv2dSame):
    """A convolution with fixed padding, as sides are multiples of the stride; timm's formulas keep exporters busy for hours."""

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = (
            max((kernel - 1) * dilation + 1 - stride, 0)
            for kernel, dilation, stride in zip(self.kernel_size, self.dilation, self.stride, strict=True)
        )
        padded = F.pad(features, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(padded, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)


_PLAIN = {GridPool: _PlainGridPool, Conv2dSame: _PlainConv2dSame}


def _build_mean_matrix(side: int, cells: int) -> Tensor:
    """Build a matrix `[cells, side]` that averages each cell's part of a side, as `F.adaptive_avg_pool2d` does."""
    cell, pixel = torch.arange(cells)[:, None], torch.arange(side)
    begin = torch.div(cell * side, cells, rounding_mode="floor")
    end = torch.div((cell + 1) * side + cells - 1, cells, rounding_mode="floor")
    inside = ((pixel >= begin) & (pixel < end)).float()
    return inside / inside.sum(dim=1, keepdim=True)


def _pad(images: Tensor, stride: int, smallest: int) -> Tensor:
    least = (smallest + stride - 1) // stride * stride
    bottom = max((images.shape[2] + stride - 1) // stride * stride, least) - images.shape[2]
    right = max((images.shape[3] + stride - 1) // stride * stride, least) - images.shape[3]
    return torch.constant_pad_nd(images, [0, right, 0, bottom], 0.0)


def _crop(logits: Tensor, images: Tensor) -> Tensor:
    return logits[:, :, : images.shape[2], : images.shape[3]]


def describe_input(description: Mapping[str, Any]) -> str:
    """Describe the images that the exported net of a model.json takes.

    >>> describe_input({})
    'float32 [N, 3, H, W], RGB, 0 to 255'
    """
    bands = read_bands(description)
    if bands == RGB:
        return "float32 [N, 3, H, W], RGB, 0 to 255"
    names, values = f"band{'s' if len(bands.names) > 1 else ''} {', '.join(bands.names)}", str(bands.dtype)
    if bands.clip:
        ends = {f"{low:g} to {high:g}" for low, high in zip(bands.low, bands.high, strict=True)}
        values += f", clipped to {ends.pop() if len(ends) == 1 else 'low to high of each band'}"
    return f"float32 [N, {len(bands.names)}, H, W], {names}, values as in the files ({values})"


def build_metadata(net: SegmentationNet, description: Mapping[str, Any], model_md5: str) -> dict[str, Any]:
    """Build what the file says about itself: model.json without its run, and how to call the net."""
    kept = {key: value for key, value in description.items() if key != "run"}
    meaning = "argmax of the logits over axis 1"
    if has_overlapping_labels(description):
        meaning = "each class where its logit is positive; they overlap"
    elif description["num_classes"] == 1:
        meaning = "1 where the logit is positive, else 0"
    return {
        "input": f"images: {describe_input(description)}; normalised inside",
        "output": f"logits: float32 [N, {description['num_classes']}, H, W], at the size of the input",
        "label": meaning,
        **kept,
        "precision": "float32",
        "trained_precision": description["precision"],
        "stride": net.stride,
        "smallest": net.smallest,
        "model_md5": model_md5,
    }
