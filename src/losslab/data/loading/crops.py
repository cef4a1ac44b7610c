"""Random crops of training images: where they lie depends on (seed, epoch, crop) alone, and on what the mask holds."""

from dataclasses import dataclass

import numpy as np

from losslab.data.loading.arrays import Pixels
from losslab.params import Sampling
from losslab.runtime.randomness import derive_seed

MAX_REDRAWS = 10
"""Times that another place is drawn for a crop that would hold nothing but void."""


@dataclass(frozen=True)
class CropSampler:
    """Chooses the crops of an epoch: as many of each image as cover its area.

    >>> CropSampler(side=64, image_side=256, sampling="uniform", void=255, seed=0).per_image
    16
    """

    side: int
    image_side: int
    sampling: Sampling
    void: int | None
    seed: int

    @property
    def per_image(self) -> int:
        """Number of crops of an image in an epoch."""
        return max(1, round((self.image_side / self.side) ** 2))

    def place(self, mask: Pixels, epoch: int, number: int) -> tuple[int, int]:
        """Return top and left of a crop of the image whose labels `[image_side, image_side]` are given.

        `uniform` takes any place; `foreground` places every other crop, on average, around a pixel of any class but the
        first; `balanced` places each around a pixel of one of the image's classes, whichever is drawn, so that a rare one
        is as often the centre of attention as the others.
        """
        rng = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "crop", epoch, number)))
        wanted = self._choose_pixels(mask, rng)
        last = self.image_side - self.side
        if wanted is not None:
            y, x = divmod(int(wanted[rng.integers(len(wanted))]), self.image_side)
            top, left = (rng.integers(max(0, at - self.side + 1), min(at, last) + 1) for at in (y, x))
            return int(top), int(left)
        for _ in range(MAX_REDRAWS):
            top, left = rng.integers(last + 1, size=2)
            if self.void is None or (mask[top : top + self.side, left : left + self.side] != self.void).any():
                break
        return int(top), int(left)

    def _choose_pixels(
        self, mask: Pixels, rng: np.random.Generator
    ) -> "np.ndarray[tuple[int], np.dtype[np.intp]] | None":
        """Choose the pixels one of which a crop is to hold, by their place in the flat mask; None: any place will do."""
        if self.sampling == "uniform" or (self.sampling == "foreground" and rng.random() < 0.5):
            return None
        counts = np.bincount(mask.ravel(), minlength=256)
        if self.void is not None:
            counts[self.void] = 0
        if self.sampling == "foreground":
            counts[0] = 0
        present = np.flatnonzero(counts)
        if not len(present):
            return None
        wanted = present if self.sampling == "foreground" else present[rng.integers(len(present))]
        return np.flatnonzero(np.isin(mask, wanted))
