"""The arrays that the prepare stage wrote, and batches of them in order."""

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

from losslab.cards import IGNORE_INDEX, SplitName
from losslab.data.loading.tiles import TileGrid
from losslab.errors import InputError
from losslab.io.files import iterate_csv, read_json
from losslab.io.hashing import compute_folder_md5

Pixels = npt.NDArray[Any]
DTYPES = ("uint8", "uint16", "float32")
MAX_SKIPPED_SHARE = 4
"""Whole lines are read where a window has at least one pixel of so many."""


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
        """Map the images into memory: `[N, H, W, B]`, or `[pixels, B]` where they keep their own sizes (fit tile)."""
        return cast(Pixels, np.load(self.folder / split / "images.npy", mmap_mode="r"))

    def masks(self, split: SplitName) -> Pixels:
        """Map the labels into memory: `[N, H, W]`, or `[pixels]` where images keep their own sizes (fit tile).

        Of overlapping classes, each pixel has a number for each class: `[…, C]`, 1 where it is, 0 where not, 255 void.
        """
        return cast(Pixels, np.load(self.folder / split / "masks.npy", mmap_mode="r"))

    def rows(self, split: SplitName, what: Literal["images", "masks"]) -> "ArrayRows":
        """Open an array to be read image by image."""
        sizes = None
        if self.describe()["fit"] == "tile":
            sizes = [(int(row["height"]), int(row["width"])) for row in self.read_index(split)]
        return ArrayRows(self.folder / split / f"{what}.npy", sizes)

    def md5(self) -> str:
        """Compute the checksum by which dvc.lock knows these data."""
        return compute_folder_md5(self.folder)

    def names(self, split: SplitName) -> list[str]:
        return [row["image"] for row in self.read_index(split)]

    def groups(self, split: SplitName) -> list[str] | None:
        """Return the group of each image, in the order of names; None where the card names no groups."""
        groups = [row["group"] for row in self.read_index(split) if "group" in row]
        return groups or None

    def read_index(self, split: SplitName) -> Iterator[dict[str, str]]:
        """Read the rows of index.csv of a split, in the order of its arrays."""
        return (row for row in iterate_csv(self.folder / "index.csv") if row["split"] == split)


class ArrayRows:
    """The images or masks of a prepared array, read from its file: a mapped file would stay in the memory of the process.

    Args:
        sizes: height and width of each image, one behind the other in an array `[pixels, …]`; None for `[N, H, W, …]`.
    """

    def __init__(self, path: Path, sizes: Sequence[tuple[int, int]] | None = None) -> None:
        self.path = path
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, in_columns, self.dtype = np.lib.format.read_array_header_1_0(file)
            self.start = file.tell()
        if in_columns or self.dtype.name not in DTYPES:
            raise InputError(f"{path}: not an array of {', '.join(DTYPES)} in row order; run dvc repro prepare")
        self.sizes: list[tuple[int, int]] = [(shape[1], shape[2])] * shape[0] if sizes is None else list(sizes)
        self.bands = tuple(shape[3:] if sizes is None else shape[1:])
        """Shape of a pixel: `(bands,)`, or `()` for a label."""
        self.pixel_bytes = self.dtype.itemsize * math.prod(self.bands)
        areas = [height * width for height, width in self.sizes]
        self.starts = [self.start + self.pixel_bytes * end for end in np.cumsum([0, *areas]).tolist()]

    def __len__(self) -> int:
        return len(self.sizes)

    def read(self, indices: Sequence[int]) -> Pixels:
        """Read whole images of one size, `[len(indices), H, W, …]`, into an array that the caller may change."""
        size = self.sizes[indices[0]] if len(indices) else (0, 0)
        images: Pixels = np.empty((len(indices), *size, *self.bands), self.dtype)
        with self.path.open("rb", buffering=0) as file:
            for image, index in zip(images, indices, strict=True):
                self._fill(image, file, self.starts[index])
        return images

    def read_window(self, index: int, top: int, left: int, height: int, width: int) -> Pixels:
        """Read a window of one image, `[height, width, …]`, and little more of the file than the lines it is in."""
        whole = self.sizes[index][1]
        start = self.starts[index] + top * whole * self.pixel_bytes
        with self.path.open("rb", buffering=0) as file:
            if width * MAX_SKIPPED_SHARE >= whole:
                lines: Pixels = np.empty((height, whole, *self.bands), self.dtype)
                self._fill(lines, file, start)
                return lines[:, left : left + width]
            window: Pixels = np.empty((height, width, *self.bands), self.dtype)
            for row, line in enumerate(window):
                self._fill(line, file, start + (row * whole + left) * self.pixel_bytes)
        return window

    def read_square(self, index: int, top: int, left: int, side: int, fill: int) -> Pixels:
        """Read a square, `[side, side, …]`, with `fill` where it stands out over the image's right or bottom edge."""
        height, width = (
            min(side, length - start) for length, start in zip(self.sizes[index], (top, left), strict=True)
        )
        window = self.read_window(index, top, left, height, width)
        if (height, width) == (side, side):
            return window
        square: Pixels = np.full((side, side, *self.bands), fill, self.dtype)
        square[:height, :width] = window
        return square

    def _fill(self, array: Pixels, file: Any, start: int) -> None:
        file.seek(start)
        content = array.data.cast("B")
        while content:
            got = file.readinto(content)
            if not got:
                raise InputError(f"{self.path}: shorter than its header says; run dvc repro prepare")
            content = content[got:]


@dataclass(frozen=True)
class ImageRow:
    """One image, or mask, of a prepared array: `losslab.io.windows.PixelWindows`."""

    rows: ArrayRows
    index: int

    @property
    def height(self) -> int:
        return self.rows.sizes[self.index][0]

    @property
    def width(self) -> int:
        return self.rows.sizes[self.index][1]

    def read(self, top: int, left: int, height: int, width: int) -> Pixels:
        return self.rows.read_window(self.index, top, left, height, width)


class EvaluationDataset(Dataset[tuple[Tensor, Tensor]]):
    """Batches by their numbers: images as prepared, `[N, H, W, B]`, and targets uint8 `[N, H, W]`, or `[N, H, W, C]`.

    Of images that keep their own sizes (fit tile), a number is that of a tile, and each pixel counts in one tile alone: in
    the others that hold it, it is void.
    """

    def __init__(self, prepared: PreparedData, split: SplitName) -> None:
        self.images, self.masks, data = (
            prepared.rows(split, "images"),
            prepared.rows(split, "masks"),
            prepared.describe(),
        )
        self.tiles = TileGrid(self.masks.sizes, data["size"]) if data["fit"] == "tile" else None

    def __len__(self) -> int:
        return len(self.images if self.tiles is None else self.tiles)

    def __getitems__(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        if self.tiles is None:
            return torch.from_numpy(self.images.read(numbers)), torch.from_numpy(self.masks.read(numbers))
        images, masks = list[Pixels](), list[Pixels]()
        for tile in (self.tiles[number] for number in numbers):
            place = tile.image, tile.top, tile.left, self.tiles.side
            images.append(self.images.read_square(*place, 0))
            masks.append(self.masks.read_square(*place, IGNORE_INDEX))
            masks[-1][: tile.seen_rows] = masks[-1][:, : tile.seen_columns] = IGNORE_INDEX
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks))


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
    """Load batches of a split in the order of index.csv: images `[N, H, W, B]` and targets uint8 `[N, H, W]`."""
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
