"""Training batches, in an order and with augmentation that depend on (seed, epoch, sample) alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from losslab.data.augmentation import recipe
from losslab.data.prepared import Pixels, Prepared
from losslab.randomness import derive


class EpochSampler(DistributedSampler[int]):
    """Yields (epoch, sample) pairs, so that a sample needs nothing but its index to know its augmentation.

    Lightning calls `set_epoch` before each epoch. The parent shuffles by (seed, epoch) and deals to processes.
    """

    def __init__(self, dataset: "TrainingSet", seed: int) -> None:
        super().__init__(dataset, num_replicas=1, rank=0, shuffle=True, seed=derive(seed, "order"))

    def __iter__(self) -> Iterator[Any]:
        return ((self.epoch, index) for index in super().__iter__())


class TrainingSet(Dataset[tuple[Tensor, Tensor]]):
    """Image uint8 `[H, W, 3]` and target int64 `[H, W]` of an (epoch, sample) pair."""

    def __init__(self, images: Pixels, masks: Pixels, augmentation: str, seed: int) -> None:
        self.images, self.masks, self.seed = images, masks, seed
        self.augment = recipe(augmentation)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        image, mask = np.array(self.images[index]), np.array(self.masks[index])
        if self.augment is not None:
            # albumentations draws the same numbers in every worker and epoch unless told otherwise.
            self.augment.set_random_seed(derive(self.seed, "augmentation", epoch, index))
            changed = self.augment(image=image, mask=mask)
            image, mask = np.ascontiguousarray(changed["image"]), np.ascontiguousarray(changed["mask"])
        return torch.from_numpy(image), torch.from_numpy(mask).long()


def training_loader(prepared: Prepared, augmentation: str, batch_size: int, workers: int, seed: int) -> DataLoader[Any]:
    """Shuffled batches of the training split: uint8 `[N, H, W, 3]` and int64 `[N, H, W]`."""
    dataset = TrainingSet(prepared.images("train"), prepared.masks("train"), augmentation, seed)
    # Batch norm cannot train on a last batch of one; the order changes each epoch, so every image gets its turn.
    lonely = len(dataset) > 1 and len(dataset) % batch_size == 1
    return DataLoader(
        dataset,
        batch_size,
        sampler=EpochSampler(dataset, seed),
        num_workers=workers,
        drop_last=lonely and batch_size > 1,
    )
