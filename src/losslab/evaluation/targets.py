"""Targets of evaluation: the masks and images as prepared, or at the original size of their files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from losslab.cards import Card, SplitName, read_card
from losslab.data.images.class_masks import ClassMasks, build_label_reader
from losslab.data.images.decode import UnusableFileError, read_image
from losslab.data.images.fit import Fit
from losslab.data.images.labels import LabelMapping
from losslab.data.loading.arrays import ArrayRows, ImageRow, Pixels, PreparedData
from losslab.data.readers import find_dataset_folder, read_layout
from losslab.errors import InputError
from losslab.inference.predictor import restore_size
from losslab.io.windows import ArrayWindows, PixelWindows
from losslab.plugins import Sample
from losslab.runtime.parallel import parallel_map


class Targets(Protocol):
    """Masks and images of one split at the size that is scored; an index counts the rows of the split in index.csv."""

    def read_masks(self, indices: Sequence[int]) -> Sequence[Pixels]:
        """Read the labels `[H, W]` of each image, or `[H, W, C]` of overlapping classes."""

    def open_mask(self, index: int) -> PixelWindows:
        """Open the labels of one image."""

    def open_image(self, index: int) -> PixelWindows:
        """Open one image, with the bands of its file."""

    def restore_logits(self, logits: Tensor, masks: Sequence[Pixels]) -> Iterable[Tensor]:
        """Resize the net's logits `[N, C, size, size]` to the masks' sizes: `[C, H, W]` each."""


@dataclass(frozen=True)
class PreparedTargets:
    prepared: PreparedData
    split: SplitName

    @cached_property
    def masks(self) -> ArrayRows:
        return self.prepared.rows(self.split, "masks")

    def read_masks(self, indices: Sequence[int]) -> Sequence[Pixels]:
        return list(self.masks.read(indices))

    def open_mask(self, index: int) -> PixelWindows:
        return ImageRow(self.masks, index)

    def open_image(self, index: int) -> PixelWindows:
        return ImageRow(self.prepared.rows(self.split, "images"), index)

    def restore_logits(self, logits: Tensor, masks: Sequence[Pixels]) -> Iterable[Tensor]:
        return logits


@dataclass(frozen=True)
class OriginalTargets:
    card: Card
    samples: Sequence[Sample]
    sizes: Sequence[tuple[int, int]]
    """Height and width of each sample when it was prepared."""
    fit: Fit

    def read_masks(self, indices: Sequence[int]) -> Sequence[Pixels]:
        """Read the labels of each image. Raises InputError for a file that has changed since prepare."""
        return parallel_map(self._read_mask, indices)

    def open_mask(self, index: int) -> PixelWindows:
        return ArrayWindows(self._read_mask(index))

    def open_image(self, index: int) -> PixelWindows:
        """Read an image, turned as its mask is. Raises InputError for a file that has changed since prepare."""
        path = self.samples[index].image
        try:
            return ArrayWindows(read_image(path, self.card.format).match_shape(self.sizes[index]).pixels)
        except UnusableFileError as error:
            raise _explain_change(path, str(error)) from None

    def restore_logits(self, logits: Tensor, masks: Sequence[Pixels]) -> Iterable[Tensor]:
        for image, mask in zip(logits, masks, strict=True):
            yield restore_size(image[None], mask.shape[0], mask.shape[1], self.fit)[0]

    def _read_mask(self, index: int) -> Pixels:
        path, size = self.samples[index].mask, self.sizes[index]
        try:
            mask = self._reader.read(self.samples[index])
        except UnusableFileError as error:
            raise _explain_change(path, str(error)) from None
        if mask.shape[:2] != size:
            change = f"{mask.shape[1]} x {mask.shape[0]}, not {size[1]} x {size[0]} (width x height)"
            raise _explain_change(path, change)
        return mask

    @cached_property
    def _reader(self) -> LabelMapping | ClassMasks:
        return build_label_reader(self.card)


def build_targets(
    prepared: PreparedData, split: SplitName, dataset: str, resolution: Literal["prepared", "original"]
) -> Targets:
    """Build the targets of a split at a resolution. Raises InputError if a sample is no longer in data/raw."""
    if resolution == "prepared" or prepared.describe()["fit"] == "tile":  # which keeps the size of the files
        return PreparedTargets(prepared, split)
    return build_original_targets(prepared, split, read_card(dataset), Path("data/raw") / dataset)


def build_original_targets(prepared: PreparedData, split: SplitName, card: Card, raw: Path) -> Targets:
    """Find the files of the prepared samples by name in `raw`, data/raw/<dataset>. Raises InputError if one is gone."""
    folder = find_dataset_folder(card, raw)
    by_name = {sample.name: sample for sample in read_layout(card, folder).samples}
    rows = list(prepared.read_index(split))
    if missing := [row["image"] for row in rows if row["image"] not in by_name]:
        raise _explain_change(folder, f"no longer holds {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}")
    sizes = [(int(row["height"]), int(row["width"])) for row in rows]
    return OriginalTargets(card, [by_name[row["image"]] for row in rows], sizes, prepared.describe()["fit"])


def _explain_change(path: Path, change: str) -> InputError:
    return InputError(f"{path}: {change}: changed since it was prepared; run dvc repro")
