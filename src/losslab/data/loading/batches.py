"""Training batches, in an order and with augmentation that depend on (seed, epoch, sample) alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from losslab.cards import IGNORE_INDEX
from losslab.data.loading.arrays import Pixels, PreparedData, build_batch_loader
from losslab.data.loading.augmentation import build_augmentation
from losslab.data.loading.crops import CropSampler
from losslab.runtime.randomness import derive_seed

Key = tuple[int, int]
"""Epoch and sample, an image or a crop of one: everything that its pixels depend on, besides the seed."""


class EpochBatchSampler(Sampler[list[Key]]):
    """The share of one process in every batch of an epoch, as (epoch, sample) pairs.

    The batches are those of a run in one process. Lightning calls `set_epoch` before each epoch on `sampler`.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world
        self.epoch = 0
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size)
        # Batch norm cannot train on a last batch of one; the order changes each epoch, so every image gets its turn.
        lonely = rest == 1 and full > 0
        return full + (rest > 0 and not lonely)

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "order") + self.epoch)
        order = torch.randperm(self.count, generator=generator).tolist()
        for number in range(len(self)):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            # A process must take part in every step: without a sample of its own it takes one that weighs nothing.
            yield [(self.epoch, index) for index in batch[self.rank :: self.world] or batch[:1]]

    def count_fewest(self) -> int:
        """Return the fewest samples that any process has in a step."""
        rest = self.count - (len(self) - 1) * self.batch_size
        return max(1, min(self.batch_size, rest) // self.world)

    def compute_weight(self, number: int) -> float:
        """Return the weight of this process's loss in the mean over processes of batch `number`: its share of samples."""
        size = min(self.batch_size, self.count - number * self.batch_size)
        return len(range(self.rank, size, self.world)) * self.world / size


class TrainingDataset(Dataset[tuple[Tensor, Tensor]]):
    """Batches by their (epoch, sample) pairs: images uint8 `[N, H, W, 3]` and targets uint8 `[N, H, W]`."""

    def __init__(self, prepared: PreparedData, augmentation: str, seed: int, crops: CropSampler | None = None) -> None:
        self.images, self.masks, self.seed = prepared.rows("train", "images"), prepared.rows("train", "masks"), seed
        data = prepared.describe()
        void = IGNORE_INDEX if data["ignore_index"] is None else data["ignore_index"]
        self.crops = crops
        self.augment = build_augmentation(augmentation, [round(255 * value) for value in data["mean"]], void)

    def __len__(self) -> int:
        return len(self.images) * (1 if self.crops is None else self.crops.per_image)

    def _read(self, keys: list[Key]) -> tuple[Pixels, Pixels]:
        if self.crops is None:
            indices = [index for _, index in keys]
            return self.images.read(indices), self.masks.read(indices)
        side = self.crops.side
        images, masks = (np.empty((len(keys), side, side, *rest), np.uint8) for rest in ((3,), ()))
        for image, mask, (epoch, number) in zip(images, masks, keys, strict=True):
            index = number // self.crops.per_image
            (whole,) = self.masks.read([index])
            top, left = self.crops.place(whole, epoch, number)
            mask[:] = whole[top : top + side, left : left + side]
            image[:] = self.images.read_crop(index, top, left, side)
        return images, masks

    def __getitems__(self, keys: list[Key]) -> tuple[Tensor, Tensor]:
        images, masks = self._read(keys)
        if self.augment is not None:
            for (epoch, index), image, mask in zip(keys, images, masks, strict=True):
                # Without a seed, albumentations draws the same numbers in every worker and epoch.
                self.augment.set_random_seed(derive_seed(self.seed, "augmentation", epoch, index))
                changed = self.augment(image=image, mask=mask)
                np.copyto(image, changed["image"])
                np.copyto(mask, changed["mask"])
        return torch.from_numpy(images), torch.from_numpy(masks)


def build_training_loader(
    prepared: PreparedData,
    augmentation: str,
    batch_size: int,
    workers: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    crops: CropSampler | None = None,
) -> DataLoader[Any]:
    """Load shuffled training batches, uint8 `[N, H, W, 3]` and `[N, H, W]`; all processes share `batch_size` images or crops."""
    dataset = TrainingDataset(prepared, augmentation, seed, crops)
    return build_batch_loader(dataset, EpochBatchSampler(len(dataset), batch_size, seed, rank, world), workers)
