"""Prepared data whose images are in other splits than the prepare stage put them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from losslab.cards import SPLITS, SplitName
from losslab.data.loading.arrays import ArrayRows, Pixels, PreparedData
from losslab.io.files import iterate_csv


@dataclass(frozen=True)
class RegroupedData(PreparedData):
    """The folder that the prepare stage wrote, with some splits made of other images."""

    splits: Mapping[SplitName, Sequence[str]]
    """Split → names of its images, in their order; each lies in one of the splits of the folder."""

    def rows(self, split: SplitName, what: Literal["images", "masks"]) -> ArrayRows:
        if split not in self.splits:
            return super().rows(split, what)
        stored = PreparedData(self.folder)
        arrays = {name: stored.rows(name, what) for name in SPLITS}
        return JoinedRows([(arrays[row["split"]], int(row["index"])) for row in self.read_index(split)])  # type: ignore[index]

    def read_index(self, split: SplitName) -> Iterator[dict[str, str]]:
        if split not in self.splits:
            yield from super().read_index(split)
            return
        order = {name: place for place, name in enumerate(self.splits[split])}
        rows = [row for row in iterate_csv(self.folder / "index.csv") if row["image"] in order]
        yield from sorted(rows, key=lambda row: order[row["image"]])


class JoinedRows(ArrayRows):
    """Images or masks from several prepared arrays, as if they were one.

    Args:
        places: for each image its array and its row there.
    """

    def __init__(self, places: Sequence[tuple[ArrayRows, int]]) -> None:
        self.places = places
        if places:
            first = places[0][0]
            self.dtype, self.bands, self.pixel_bytes = first.dtype, first.bands, first.pixel_bytes
        self.sizes = [array.sizes[index] for array, index in places]

    def read(self, indices: Sequence[int]) -> Pixels:
        return np.concatenate([self.places[index][0].read([self.places[index][1]]) for index in indices])

    def read_window(self, index: int, top: int, left: int, height: int, width: int) -> Pixels:
        array, row = self.places[index]
        return array.read_window(row, top, left, height, width)

    def read_square(self, index: int, top: int, left: int, side: int, fill: int) -> Pixels:
        array, row = self.places[index]
        return array.read_square(row, top, left, side, fill)
