"""A plain PyTorch training loop with losslab's loss, model and metrics, on drawn skin lesions."""

import torch

from losslab.data.download.synthetic import RandomStream, draw_lesion
from losslab.losses import build_loss
from losslab.metrics import SegmentationMetrics
from losslab.models import build_model

NUM_CLASSES = 3  # skin, lesion, hair


def draw_images(seed: int, count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw images float32 `[N, 3, H, W]` in -1 to 1, and their labels int64 `[N, H, W]`."""
    images, labels = zip(*(draw_lesion(RandomStream(seed, number), side) for number in range(count)), strict=True)
    stacked = torch.stack([torch.from_numpy(image) for image in images])
    return stacked.permute(0, 3, 1, 2) / 127.5 - 1, torch.stack([torch.from_numpy(label) for label in labels]).long()


def train_net(epochs: int = 20, side: int = 64) -> float:
    """Train on 32 drawn images and return the mIoU on 16 others after the last epoch."""
    torch.manual_seed(0)
    net, loss = build_model("simple_segnet", NUM_CLASSES), build_loss("cross_entropy+dice", NUM_CLASSES)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    (images, labels), (val_images, val_labels) = draw_images(0, 32, side), draw_images(1, 16, side)
    for epoch in range(epochs):
        for batch in torch.randperm(len(images)).reshape(-1, 8):
            optimizer.zero_grad()
            loss(net(images[batch]), labels[batch]).backward()
            optimizer.step()
        metrics = SegmentationMetrics(NUM_CLASSES)
        with torch.no_grad():
            metrics.update(net(val_images).argmax(dim=1), val_labels)
        miou = float(metrics.compute()["miou"])
        print(f"epoch {epoch + 1}: val mIoU {miou:.3f}")
    return miou


if __name__ == "__main__":
    train_net()
