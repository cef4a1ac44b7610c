"""What `build_model` returns: any net, made to take images of any size."""

from torch import Tensor, nn
from torch.nn import functional as F

from losslab.models.upsampling import FastUpsampling


class SegmentationNet(nn.Module):
    """Pads images to what the net can take and crops its logits back.

    Images are padded at the right and the bottom, with zeros (the mean colour, after normalisation), to the next
    multiple of `stride`, and to no less than `smallest` pixels a side. One whose size fits goes through as it is.

    Shape: images float `[N, in_channels, H, W]` → logits `[N, num_classes, H, W]`.
    """

    def __init__(self, net: nn.Module, stride: int, smallest: int = 1) -> None:
        super().__init__()
        self.net = net
        """smp's net, or a hand-written one."""
        self.stride, self.smallest = stride, smallest

    @property
    def encoder(self) -> nn.Module | None:
        """smp's encoder, such as to give it a learning rate of its own; None for nets without."""
        encoder = getattr(self.net, "encoder", None) if hasattr(self.net, "segmentation_head") else None
        return encoder if isinstance(encoder, nn.Module) else None

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        bottom, right = self._lacking(height), self._lacking(width)
        if bottom or right:
            images = F.pad(images, (0, right, 0, bottom))
        with FastUpsampling():
            logits: Tensor = self.net(images)
        return logits[..., :height, :width] if bottom or right else logits

    def _lacking(self, side: int) -> int:
        return max(-(-side // self.stride), -(-self.smallest // self.stride)) * self.stride - side
