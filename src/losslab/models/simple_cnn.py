"""The hand-written net of seed 2. The seed ended in a sigmoid; this net returns logits, as all nets here do."""

from torch import Tensor, nn


class SimpleCNN(nn.Module):
    """Images float `[N, in_channels, H, W]`, H and W multiples of 4 → logits `[N, num_classes, H, W]`.

    >>> import torch
    >>> SimpleCNN(2)(torch.zeros(1, 3, 8, 12)).shape
    torch.Size([1, 2, 8, 12])
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose2d(2 * width, width, 2, stride=2), nn.ReLU()),
            nn.ConvTranspose2d(width, num_classes, 2, stride=2),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.encoder(images))
        return logits


class SimpleSegNet(SimpleCNN):
    """The net of seed 4: SimpleCNN, twice as wide."""

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__(num_classes, in_channels, width=32)
