"""The module that `build_model` returns: any net, made to take images of any size."""

from torch import Tensor, nn
from torch.nn import functional as F

from losslab.models.upsampling import FastUpsampling


class SegmentationNet(nn.Module):
    """Pad images to a size that the net can take, and crop its logits back.

    Images are padded at the right and the bottom, with zeros (the mean colour, after normalisation), to the next
    multiple of `stride`, and to at least `smallest` pixels a side. An image whose size fits is not touched.

    Shape: images float `[N, in_channels, H, W]` → logits `[N, num_classes, H, W]`.

    >>> import torch
    >>> SegmentationNet(nn.Conv2d(3, 2, 1), stride=32)(torch.zeros(1, 3, 37, 50)).shape
    torch.Size([1, 2, 37, 50])
    """

    def __init__(
        self, net: nn.Module, stride: int, smallest: int = 1, in_channels: int = 3, first_layer: str | None = None
    ) -> None:
        super().__init__()
        self.net = net
        """The net without padding: smp's, or a hand-written one."""
        self.stride, self.smallest, self.in_channels = stride, smallest, in_channels
        self.first_layer = first_layer
        """A sentence on how a pretrained encoder's first layer was adapted to images of other than three bands, if it was."""

    @property
    def encoder(self) -> nn.Module | None:
        """The encoder of smp's nets, for example to give it its own learning rate; None for the others."""
        encoder = getattr(self.net, "encoder", None) if hasattr(self.net, "segmentation_head") else None
        return encoder if isinstance(encoder, nn.Module) else None

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        bottom, right = self._compute_padding(height), self._compute_padding(width)
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom))
        with FastUpsampling():
            logits: Tensor = self.net(images)
        return logits[..., :height, :width] if bottom or right else logits

    def _compute_padding(self, side: int) -> int:
        return max(-(-side // self.stride), -(-self.smallest // self.stride)) * self.stride - side
