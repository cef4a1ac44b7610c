"""Prepared arrays: what the prepare stage wrote, mapped into memory, and batches of it in order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from losslab.data.cards import SplitName
from losslab.errors import InputError
from losslab.files import folder_md5, read_csv, read_json

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """The folder that the prepare stage wrote."""

    folder: Path

    def describe(self) -> dict[str, Any]:
        """dataset.json: classes, palette, ignore_index, size, mean and std (0..1 units), and for each split its pixels per
        class, and the pixels of all classes in the images that have a class (`pixels_where_present`)."""
        try:
            return read_json(self.folder / "dataset.json")
        except FileNotFoundError:
            raise InputError(f"{self.folder}: no prepared data; the prepare stage writes it") from None

    def images(self, split: SplitName) -> Pixels:
        """RGB `[N, H, W, 3]`, mapped, not read."""
        return cast(Pixels, np.load(self.folder / split / "images.npy", mmap_mode="r"))

    def masks(self, split: SplitName) -> Pixels:
        """Labels `[N, H, W]`, mapped, not read."""
        return cast(Pixels, np.load(self.folder / split / "masks.npy", mmap_mode="r"))

    def md5(self) -> str:
        """What dvc.lock calls this data."""
        return folder_md5(self.folder)

    def names(self, split: SplitName) -> list[str]:
        return [row["image"] for row in read_csv(self.folder / "index.csv") if row["split"] == split]


class EvaluationSet(Dataset[tuple[Tensor, Tensor]]):
    """Image uint8 `[H, W, 3]` and target int64 `[H, W]` by index, as prepared."""

    def __init__(self, images: Pixels, masks: Pixels) -> None:
        self.images, self.masks = images, masks

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(np.array(self.images[index])), torch.from_numpy(np.array(self.masks[index])).long()


def evaluation_loader(prepared: Prepared, split: SplitName, batch_size: int) -> DataLoader[Any]:
    """Batches of a split in the order of index.csv: uint8 `[N, H, W, 3]` and int64 `[N, H, W]`."""
    return DataLoader(EvaluationSet(prepared.images(split), prepared.masks(split)), batch_size)
