"""Contestant b: the Lightning example that smp publishes (examples/camvid_segmentation_multiclass.ipynb), as people copy it.

It is changed only to do the same work as the others: cross entropy instead of Dice, resizing instead of padding, no pretrained
weights, Adam at 1e-3, and void pixels ignored.
"""

import os
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import lightning.pytorch as pl
import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset

from benchmarks.data import build_mapping
from benchmarks.settings import LR, MEAN, STD, Settings, Work
from benchmarks.stopwatch import EpochClock, Stopwatch
from losslab.cards import IGNORE_INDEX


class ExampleDataset(Dataset[tuple[Any, Any]]):
    def __init__(self, folder: Path, augmentation: A.Compose) -> None:
        self.images = sorted((folder / "images").iterdir())
        self.masks = sorted((folder / "masks").iterdir())
        self.augmentation = augmentation
        self.class_map = build_mapping()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = cv2.imread(str(self.images[index]))
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
        mask = cv2.imread(str(self.masks[index]), 0)
        remapped = np.full_like(mask, IGNORE_INDEX)
        for class_value, new_value in self.class_map.items():
            remapped[mask == class_value] = new_value
        sample = self.augmentation(image=image, mask=remapped)
        return sample["image"].transpose(2, 0, 1), sample["mask"]


class ExampleModel(pl.LightningModule):
    mean: Tensor
    std: Tensor

    def __init__(self, encoder: str, num_classes: int, t_max: int) -> None:
        super().__init__()
        self.model = smp.create_model("unet", encoder_name=encoder, encoder_weights=None, classes=num_classes)
        self.number_of_classes, self.t_max = num_classes, t_max
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1) * 255)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255)
        self.loss_fn = smp.losses.SoftCrossEntropyLoss(smooth_factor=0.0, ignore_index=IGNORE_INDEX)
        self.training_step_outputs: list[dict[str, Tensor]] = []
        self.validation_step_outputs: list[dict[str, Tensor]] = []

    def forward(self, image: Tensor) -> Any:
        return self.model((image - self.mean) / self.std)

    def shared_step(self, batch: Any, stage: str) -> dict[str, Tensor]:
        image, mask = batch
        mask = mask.long()
        logits = self.forward(image)
        loss = self.loss_fn(logits, mask)
        pred_mask = logits.softmax(dim=1).argmax(dim=1)
        tp, fp, fn, tn = smp.metrics.get_stats(
            pred_mask, mask, mode="multiclass", num_classes=self.number_of_classes, ignore_index=IGNORE_INDEX
        )
        return {"loss": loss, "tp": tp, "fp": fp, "fn": fn, "tn": tn}

    def shared_epoch_end(self, outputs: list[dict[str, Tensor]], stage: str) -> None:
        counts = [torch.cat([output[name] for output in outputs]) for name in ("tp", "fp", "fn", "tn")]
        per_image_iou = smp.metrics.iou_score(*counts, reduction="micro-imagewise")
        dataset_iou = smp.metrics.iou_score(*counts, reduction="micro")
        self.log_dict({f"{stage}_per_image_iou": per_image_iou, f"{stage}_dataset_iou": dataset_iou}, prog_bar=True)

    def training_step(self, batch: Any, index: int) -> Any:
        outputs = self.shared_step(batch, "train")
        self.training_step_outputs.append(outputs)
        return outputs

    def on_train_epoch_end(self) -> None:
        self.shared_epoch_end(self.training_step_outputs, "train")
        self.training_step_outputs.clear()

    def validation_step(self, batch: Any, index: int) -> Any:
        outputs = self.shared_step(batch, "valid")
        self.validation_step_outputs.append(outputs)
        return outputs

    def on_validation_epoch_end(self) -> None:
        self.shared_epoch_end(self.validation_step_outputs, "valid")
        self.validation_step_outputs.clear()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=LR)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.t_max, eta_min=1e-5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1}}


def run(work: Work, settings: Settings, num_classes: int, stopwatch: Stopwatch) -> None:
    resize = A.Resize(settings.size, settings.size)
    train_set = ExampleDataset(work.files / "train", A.Compose([resize, A.HorizontalFlip(p=0.5)]))
    valid_set = ExampleDataset(work.files / "test", A.Compose([resize]))
    workers = os.cpu_count() or 1
    train_loader = DataLoader(train_set, batch_size=settings.batch_size, shuffle=True, num_workers=workers)
    valid_loader = DataLoader(valid_set, batch_size=settings.batch_size, shuffle=False, num_workers=workers)
    epochs = 1 + settings.epochs
    model = ExampleModel(settings.encoder, num_classes, epochs * len(train_loader))
    trainer = pl.Trainer(
        max_epochs=epochs,
        log_every_n_steps=1,
        default_root_dir=work.folder / "lightning",
        callbacks=[EpochClock(stopwatch, validation=True)],
    )
    trainer.fit(model, train_dataloaders=train_loader, val_dataloaders=valid_loader)
