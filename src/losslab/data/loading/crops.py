"""Random crops of training images: where they lie depends on (seed, epoch, crop) alone, and on what the mask holds."""

import functools
from bisect import bisect_right
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from losslab.cards import IGNORE_INDEX
from losslab.data.loading.arrays import ArrayRows
from losslab.params import Sampling
from losslab.runtime.randomness import derive_seed

MAX_REDRAWS = 10
"""Times that another place is drawn for a crop that would hold nothing but void."""
STRIP_PIXELS = 1 << 20
"""Pixels of a mask that are looked at together."""
MAX_IMAGES_COUNTED = 4096
"""Images whose counts are kept in memory."""

Counts = npt.NDArray[np.int32]


class CropSampler:
    """Chooses the crops of an epoch: as many of each image as cover its area.

    Args:
        masks: the labels of the training images.
        side: pixels a side of a crop.
        sampling: `uniform` takes any place; `foreground` places every other crop, on average, around a pixel of any class
            but the first; `balanced` places each around a pixel of one of the image's classes, whichever is drawn, so that
            a rare one is as often the centre of attention as the others.
        void: the label whose pixels count nowhere.
    """

    def __init__(self, masks: ArrayRows, side: int, sampling: Sampling, void: int | None, seed: int) -> None:
        self.masks, self.side, self.sampling, self.void, self.seed = masks, side, sampling, void, seed
        self.overlapping = bool(masks.bands)
        """Whether the labels are those of overlapping classes, which have no background among them."""
        counts = [max(1, round(height * width / side**2)) for height, width in masks.sizes]
        self.ends = list(accumulate(counts))
        self._counted = functools.lru_cache(MAX_IMAGES_COUNTED)(self._count)

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_counted"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._counted = functools.lru_cache(MAX_IMAGES_COUNTED)(self._count)

    def place(self, epoch: int, number: int) -> tuple[int, int, int]:
        """Return the image of a crop, and its top and left there, in pixels."""
        image = bisect_right(self.ends, number)
        rng = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "crop", epoch, number)))
        lasts = [max(length - self.side, 0) for length in self.masks.sizes[image]]
        wanted = self._choose_pixel(image, rng)
        if wanted is not None:
            top, left = (
                int(rng.integers(max(0, at - self.side + 1), min(at, last) + 1))
                for at, last in zip(wanted, lasts, strict=True)
            )
            return image, top, left
        for _ in range(MAX_REDRAWS):
            top, left = (int(rng.integers(last + 1)) for last in lasts)
            if self.void is None or (self.masks.read_square(image, top, left, self.side, self.void) != self.void).any():
                break
        return image, top, left

    def _choose_pixel(self, image: int, rng: np.random.Generator) -> tuple[int, int] | None:
        """Choose a pixel that a crop is to hold, by row and column; None: any place will do."""
        if self.sampling == "uniform" or (self.sampling == "foreground" and rng.random() < 0.5):
            return None
        present, counts = self._counted(image)
        first = 1 if self.sampling == "foreground" and not self.overlapping else 0
        nowhere = IGNORE_INDEX if self.overlapping else -1 if self.void is None else self.void
        wanted = np.flatnonzero((present >= first) & (present != nowhere))
        if not len(wanted):
            return None
        chosen_classes = wanted if self.sampling == "foreground" else wanted[rng.integers(len(wanted))][None]
        labels = present[chosen_classes]
        # Each of their pixels is as likely as the others, yet only the strip that holds it is read.
        ends = counts[:, chosen_classes].sum(axis=1, dtype=np.int64).cumsum()
        chosen = int(rng.integers(ends[-1]))
        strip = int(np.searchsorted(ends, chosen, side="right"))
        first, pixels = self._read_strip(image, strip)
        places = np.flatnonzero(np.isin(pixels, labels))
        row, place = divmod(int(places[chosen - (ends[strip - 1] if strip else 0)]), pixels.shape[1])
        return first + row, place * self.masks.sizes[image][1] // pixels.shape[1]

    def _count(self, image: int) -> tuple[Counts, Counts]:
        """Return the labels of an image, and the pixels that each strip has of them, `[strips, labels]`."""
        strips = range(-(-self.masks.sizes[image][0] // self._count_rows(image)))
        counts = np.stack([np.bincount(self._read_strip(image, at)[1].ravel(), minlength=256) for at in strips])
        present = np.flatnonzero(counts.any(axis=0))
        return present.astype(np.int32), counts[:, present].astype(np.int32)

    def _read_strip(self, image: int, strip: int) -> tuple[int, npt.NDArray[np.uint8]]:
        """Return the first row of a strip of a mask, and its labels; of overlapping classes each pixel has one for each."""
        (height, width), rows = self.masks.sizes[image], self._count_rows(image)
        top = strip * rows
        labels = self.masks.read_window(image, top, 0, min(rows, height - top), width)
        if self.overlapping:
            numbers = np.arange(labels.shape[2], dtype=np.uint8)
            labels = np.where(labels == 1, numbers, np.uint8(IGNORE_INDEX)).reshape(len(labels), -1)
        return top, labels

    def _count_rows(self, image: int) -> int:
        return max(1, STRIP_PIXELS // (self.masks.sizes[image][1] * max(self.masks.pixel_bytes, 1)))
