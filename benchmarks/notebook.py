"""Contestant a: a notebook's loop, with files decoded and resized in every epoch, float32, Dice with `.item()` per class."""

from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import segmentation_models_pytorch as smp
import torch
from albumentations.pytorch import ToTensorV2
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.data import build_mapping
from benchmarks.settings import LR, Settings, Work
from benchmarks.stopwatch import Stopwatch
from losslab.cards import IGNORE_INDEX

MAP = build_mapping()


class NotebookDataset(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, folder: Path, transform: A.Compose) -> None:
        self.images = sorted((folder / "images").iterdir())
        self.masks = sorted((folder / "masks").iterdir())
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = cv2.imread(str(self.images[index]))
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
        mask = cv2.imread(str(self.masks[index]), cv2.IMREAD_GRAYSCALE)
        new_mask = np.full_like(mask, IGNORE_INDEX)
        for old_class, new_class in MAP.items():
            new_mask[mask == old_class] = new_class
        augmented = self.transform(image=image, mask=new_mask)
        return augmented["image"], augmented["mask"].long()


def compute_dice(prediction: Tensor, target: Tensor, num_classes: int) -> float:
    total = 0.0
    for label in range(num_classes):
        predicted, true = prediction == label, target == label
        intersection = (predicted & true).sum().item()
        union = predicted.sum().item() + true.sum().item()
        total += (2.0 * intersection + 1e-6) / (union + 1e-6)
    return total / num_classes


def run(work: Work, settings: Settings, num_classes: int, stopwatch: Stopwatch) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    last = [A.Normalize(), ToTensorV2()]
    resize = A.Resize(settings.size, settings.size)
    train_set = NotebookDataset(work.files / "train", A.Compose([resize, A.HorizontalFlip(p=0.5), *last]))
    test_set = NotebookDataset(work.files / "test", A.Compose([resize, *last]))
    train_loader = DataLoader(train_set, batch_size=settings.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=settings.batch_size, shuffle=False)

    model = smp.Unet(settings.encoder, encoder_weights=None, classes=num_classes).to(device)
    loss_fn = nn.CrossEntropyLoss(ignore_index=IGNORE_INDEX)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    for _ in range(1 + settings.epochs):
        with stopwatch.time_training(len(train_set)):
            train_epoch(model, train_loader, loss_fn, optimizer, device, num_classes)
        with stopwatch.time_evaluation(len(test_set)):
            evaluate(model, test_loader, loss_fn, device, num_classes)


def train_epoch(
    model: Any,
    loader: DataLoader[tuple[Tensor, Tensor]],
    loss_fn: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    num_classes: int,
) -> tuple[float, float]:
    model.train()
    total_loss = total_dice = total_iou = 0.0
    for images, masks in loader:
        images, masks = images.to(device), masks.to(device)
        optimizer.zero_grad()
        outputs = model(images)
        loss = loss_fn(outputs, masks)
        loss.backward()
        optimizer.step()

        total_loss += loss.item()
        preds = torch.argmax(outputs, dim=1)
        total_dice += compute_dice(preds.cpu(), masks.cpu(), num_classes)
        intersection = torch.logical_and(preds == masks, preds >= 0).sum()
        union = torch.logical_or(preds == masks, preds >= 0).sum()
        total_iou += (intersection.float() / (union.float() + 1e-6)).item()
    return total_loss / len(loader), total_dice / len(loader)


def evaluate(
    model: Any, loader: DataLoader[tuple[Tensor, Tensor]], loss_fn: nn.Module, device: torch.device, num_classes: int
) -> tuple[float, float]:
    model.eval()
    total_loss = total_dice = 0.0
    with torch.no_grad():
        for images, masks in loader:
            images, masks = images.to(device), masks.to(device)
            outputs = model(images)
            total_loss += loss_fn(outputs, masks).item()
            preds = torch.argmax(outputs, dim=1)
            total_dice += compute_dice(preds.cpu(), masks.cpu(), num_classes)
    return total_loss / len(loader), total_dice / len(loader)
