"""The arrays that the prepare stage wrote, mapped into memory, and batches of them in order."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from losslab.cards import SplitName
from losslab.errors import InputError
from losslab.io.files import read_csv, read_json
from losslab.io.hashing import compute_folder_md5

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PreparedData:
    """The folder that the prepare stage wrote."""

    folder: Path

    def describe(self) -> dict[str, Any]:
        """Return dataset.json: classes, palette, ignore_index, size, mean and std (0..1 units), and counts by split.

        `pixels_where_present` counts the pixels of all classes in the images that have a class.
        """
        try:
            return read_json(self.folder / "dataset.json")
        except FileNotFoundError:
            raise InputError(f"{self.folder}: no prepared data; run dvc repro prepare") from None

    def images(self, split: SplitName) -> Pixels:
        """Map the images into memory: RGB `[N, H, W, 3]`."""
        return cast(Pixels, np.load(self.folder / split / "images.npy", mmap_mode="r"))

    def masks(self, split: SplitName) -> Pixels:
        """Map the labels into memory: `[N, H, W]`."""
        return cast(Pixels, np.load(self.folder / split / "masks.npy", mmap_mode="r"))

    def rows(self, split: SplitName, what: Literal["images", "masks"]) -> "ArrayRows":
        """Open an array to be read in batches."""
        return ArrayRows(self.folder / split / f"{what}.npy")

    def md5(self) -> str:
        """Compute the checksum by which dvc.lock knows these data."""
        return compute_folder_md5(self.folder)

    def names(self, split: SplitName) -> list[str]:
        return [row["image"] for row in self._read_index(split)]

    def groups(self, split: SplitName) -> list[str] | None:
        """Return the group of each image, in the order of names; None where the card names no groups."""
        groups = [row["group"] for row in self._read_index(split) if "group" in row]
        return groups or None

    def _read_index(self, split: SplitName) -> list[dict[str, str]]:
        return [row for row in read_csv(self.folder / "index.csv") if row["split"] == split]


class ArrayRows:
    """Rows of a prepared array, read from its file: a mapped file would stay in the memory of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            self.shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
            self.start = file.tell()
        if in_columns or dtype != np.uint8:
            raise InputError(f"{path}: not a uint8 array in row order; run dvc repro prepare")

    def __len__(self) -> int:
        return int(self.shape[0])

    def read(self, indices: Sequence[int]) -> Pixels:
        """Read the rows at these indices, `[len(indices), …]`, into an array that the caller may change."""
        rows: Pixels = np.empty((len(indices), *self.shape[1:]), dtype=np.uint8)
        with self.path.open("rb", buffering=0) as file:
            for row, index in zip(rows, indices, strict=True):
                file.seek(self.start + index * row.nbytes)
                if file.readinto(row.data) != row.nbytes:
                    raise InputError(f"{self.path}: shorter than its header says; run dvc repro prepare")
        return rows

    def read_crop(self, index: int, top: int, left: int, side: int) -> Pixels:
        """Read a square of the row at an index, `[side, side, …]`, and no more of the file than the lines it is in."""
        lines: Pixels = np.empty((side, *self.shape[2:]), dtype=np.uint8)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.start + (index * self.shape[1] + top) * lines[0].nbytes)
            if file.readinto(lines.data) != lines.nbytes:
                raise InputError(f"{self.path}: shorter than its header says; run dvc repro prepare")
        return lines[:, left : left + side]


class EvaluationDataset(Dataset[tuple[Tensor, Tensor]]):
    """Batches by the indices of their samples, as prepared: images uint8 `[N, H, W, 3]`, targets uint8 `[N, H, W]`."""

    def __init__(self, prepared: PreparedData, split: SplitName) -> None:
        self.images, self.masks = prepared.rows(split, "images"), prepared.rows(split, "masks")

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.images.read(indices)), torch.from_numpy(self.masks.read(indices))


class OrderedBatchSampler(Sampler[list[int]]):
    """Every `world`-th batch of all samples in order, from batch `rank` on.

    All processes get equally many, or they would wait for each other: who lacks a last one gets the first again, whose
    number (`rank` + position · `world`) shows that it must not be counted.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.batches = [list(range(start, min(start + batch_size, count))) for start in range(0, count, batch_size)]
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return math.ceil(len(self.batches) / self.world)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(self.rank, len(self) * self.world, self.world):
            yield self.batches[number if number < len(self.batches) else 0]


def build_evaluation_loader(
    prepared: PreparedData, split: SplitName, batch_size: int, rank: int = 0, world: int = 1
) -> DataLoader[Any]:
    """Load batches of a split in the order of index.csv: uint8 `[N, H, W, 3]` and uint8 `[N, H, W]`."""
    dataset = EvaluationDataset(prepared, split)
    return build_batch_loader(dataset, OrderedBatchSampler(len(dataset), batch_size, rank, world), workers=0)


def build_batch_loader(dataset: Dataset[Any], batches: Sampler[list[Any]], workers: int) -> DataLoader[Any]:
    """Build a loader for a dataset that reads a batch at once (`__getitems__`)."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=_pass_on,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_prepare_worker,
        generator=torch.Generator(),  # a loader without one draws from the stream that dropout draws from
    )


def _pass_on(batch: Any) -> Any:
    return batch


def _prepare_worker(worker: int) -> None:
    import cv2

    cv2.setNumThreads(0)
    ForkingPickler.register(Tensor, _send_tensor)


def _send_tensor(tensor: Tensor) -> Any:
    """Send a tensor through shared memory; through a pipe from the first on for which there is none, as in many containers.

    The error would come up in a thread of the worker alone, and training would wait for this batch for ever.
    """
    try:
        return reduce_tensor(tensor.share_memory_())  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError):
        ForkingPickler.register(Tensor, _copy_tensor)
        return _copy_tensor(tensor)


def _copy_tensor(tensor: Tensor) -> Any:
    return torch.from_numpy, (tensor.numpy(),)
