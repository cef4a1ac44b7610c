"""What predictions are held against: the masks and images as prepared, or as their files have them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from torch import Tensor

from losslab.cards import Card, SplitName
from losslab.data.images.decode import UnusableFileError, read_image, read_mask
from losslab.data.images.fit import Fit
from losslab.data.images.labels import LabelMapping
from losslab.data.loading.arrays import Pixels, PreparedData
from losslab.data.readers import DatasetSample, find_dataset_folder, read_layout
from losslab.errors import InputError
from losslab.inference.predictor import restore_size
from losslab.io.files import read_csv
from losslab.runtime.parallel import parallel_map


class Targets(Protocol):
    """Masks and images of one split, by their place in index.csv, at the size that is scored."""

    def masks(self, indices: Sequence[int]) -> Sequence[Pixels]:
        """Labels `[H, W]` of each."""
        ...

    def image(self, index: int) -> Pixels:
        """RGB `[H, W, 3]`."""
        ...

    def fitted(self, logits: Tensor, masks: Sequence[Pixels]) -> Iterable[Tensor]:
        """Logits `[N, C, size, size]`, as the net gives them, at the masks' sizes: `[C, H, W]` of each."""
        ...


@dataclass(frozen=True)
class PreparedTargets:
    prepared: PreparedData
    split: SplitName

    def masks(self, indices: Sequence[int]) -> Sequence[Pixels]:
        return list(self.prepared.rows(self.split, "masks").read(indices))

    def image(self, index: int) -> Pixels:
        image: Pixels = self.prepared.rows(self.split, "images").read([index])[0]
        return image

    def fitted(self, logits: Tensor, masks: Sequence[Pixels]) -> Iterable[Tensor]:
        return logits


@dataclass(frozen=True)
class OriginalTargets:
    card: Card
    folder: Path
    samples: Sequence[DatasetSample]
    sizes: Sequence[tuple[int, int]]
    """Height and width of each when it was prepared."""
    fit: Fit

    def masks(self, indices: Sequence[int]) -> Sequence[Pixels]:
        """Raises InputError for a file that has changed since prepare."""
        return parallel_map(self._mask, indices)

    def image(self, index: int) -> Pixels:
        """Turned as its mask is. Raises InputError for a file that has changed since prepare."""
        path = self.samples[index].image
        try:
            return read_image(path).match_shape(self.sizes[index]).pixels
        except UnusableFileError as error:
            raise _changed(path, str(error)) from None

    def fitted(self, logits: Tensor, masks: Sequence[Pixels]) -> Iterable[Tensor]:
        for image, mask in zip(logits, masks, strict=True):
            yield restore_size(image[None], mask.shape[0], mask.shape[1], self.fit)[0]

    def _mask(self, index: int) -> Pixels:
        path, size = self.samples[index].mask, self.sizes[index]
        try:
            mask = self._labels.map_values(read_mask(path, self.card.in_colours))
        except UnusableFileError as error:
            raise _changed(path, str(error)) from None
        if mask.shape != size:
            raise _changed(path, f"{mask.shape[1]} x {mask.shape[0]}, not {size[1]} x {size[0]} (width x height)")
        return mask

    @cached_property
    def _labels(self) -> LabelMapping:
        return LabelMapping(self.card)


def build_prepared_targets(prepared: PreparedData, split: SplitName) -> Targets:
    """Masks and images as the prepare stage wrote them."""
    return PreparedTargets(prepared, split)


def build_original_targets(prepared: PreparedData, split: SplitName, card: Card, raw: Path) -> Targets:
    """Masks and images of the prepared samples as their files have them, found by name in `raw`, data/raw/<dataset>.

    Raises:
        InputError: a sample that is no longer there.
    """
    folder = find_dataset_folder(card, raw)
    by_name = {sample.name: sample for sample in read_layout(card, folder).samples}
    rows = [row for row in read_csv(prepared.folder / "index.csv") if row["split"] == split]
    if gone := [row["image"] for row in rows if row["image"] not in by_name]:
        raise _changed(folder, f"no longer holds {', '.join(gone[:3])}{' …' if len(gone) > 3 else ''}")
    return OriginalTargets(
        card,
        folder,
        [by_name[row["image"]] for row in rows],
        [(int(row["height"]), int(row["width"])) for row in rows],
        prepared.describe()["fit"],
    )


def _changed(path: Path, how: str) -> InputError:
    return InputError(f"{path}: {how}: changed since it was prepared; run dvc repro")
