"""Training batches, in an order and with augmentation that depend on (seed, epoch, sample) alone."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from losslab.bands import read_bands
from losslab.cards import IGNORE_INDEX
from losslab.data.loading.arrays import Pixels, PreparedData, build_batch_loader
from losslab.data.loading.augmentation import build_augmentation
from losslab.data.loading.crops import CropSampler
from losslab.data.loading.tiles import TileGrid
from losslab.runtime.randomness import derive_seed

Key = tuple[int, int]
"""Epoch and sample, an image or a part of one: everything that its pixels depend on, besides the seed."""


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
    """Batches by their (epoch, sample) pairs: images as prepared, `[N, H, W, B]`, and targets uint8 `[N, H, W]`, or `[…, C]`.

    A sample is an image, a tile of one where images keep their own sizes (fit tile), or a crop. Augmented images that are
    not RGB of 8 bits come as float32, in the units of their files.
    """

    def __init__(self, prepared: PreparedData, augmentation: str, seed: int, crops: CropSampler | None = None) -> None:
        self.images, self.masks, self.seed = prepared.rows("train", "images"), prepared.rows("train", "masks"), seed
        data = prepared.describe()
        self.void = IGNORE_INDEX if data["ignore_index"] is None else data["ignore_index"]
        self.crops, self.bands = crops, read_bands(data)
        self.tiles = TileGrid(self.masks.sizes, data["size"]) if data["fit"] == "tile" and crops is None else None
        self.is_rgb = "bands" not in data
        self.augment = build_augmentation(augmentation, data["mean"], self.void, self.is_rgb)

    def __len__(self) -> int:
        return len(self.crops or self.tiles or self.images)

    def _read(self, keys: list[Key]) -> tuple[Pixels, Pixels]:
        if self.crops is not None:
            side, places = self.crops.side, [self.crops.place(epoch, number) for epoch, number in keys]
        elif self.tiles is not None:
            tiles = [self.tiles[number] for _, number in keys]
            side, places = self.tiles.side, [(tile.image, tile.top, tile.left) for tile in tiles]
        else:
            indices = [index for _, index in keys]
            return self.images.read(indices), self.masks.read(indices)
        images = np.stack([self.images.read_square(*place, side, 0) for place in places])
        return images, np.stack([self.masks.read_square(*place, side, self.void) for place in places])

    def __getitems__(self, keys: list[Key]) -> tuple[Tensor, Tensor]:
        images, masks = self._read(keys)
        if self.augment is not None:
            images = images if self.is_rgb else self.bands.scale(images)
            if self.bands.clip:
                np.clip(images, 0, 1, out=images)
            for (epoch, index), image, mask in zip(keys, images, masks, strict=True):
                # Without a seed, albumentations draws the same numbers in every worker and epoch.
                self.augment.set_random_seed(derive_seed(self.seed, "augmentation", epoch, index))
                if mask.ndim == 2:
                    changed = self.augment(image=image, mask=mask)
                    np.copyto(mask, changed["mask"])
                else:  # of overlapping classes, each on its own: OpenCV moves no more than four planes at once
                    changed = self.augment(image=image, masks=[np.array(plane) for plane in np.moveaxis(mask, -1, 0)])
                    np.copyto(mask, np.stack(changed["masks"], axis=-1))
                np.copyto(image, changed["image"])
            images = images if self.is_rgb else self.bands.restore(images)
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
    """Load shuffled training batches, `[N, H, W, B]` and `[N, H, W]`; all processes share `batch_size` samples."""
    dataset = TrainingDataset(prepared, augmentation, seed, crops)
    return build_batch_loader(dataset, EpochBatchSampler(len(dataset), batch_size, seed, rank, world), workers)
