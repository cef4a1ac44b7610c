"""Simulated scores of studies: what differs from image to image, from run to run, and what both do together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from losslab.comparison.metrics import compute_effective_number, share_mean
from losslab.comparison.statistics import Scores
from losslab.comparison.verdicts import MIN_UNITS

SLOPE = 0.107
"""Slope of the mean score of such images by their logit, which converts points to logits."""
COLLAPSE = 0.3
"""Score that a collapsed run loses."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A way in which scores of 0 to 1 come about; all cells have the same mean, unless a difference is asked for."""

    seed_sds: tuple[float, ...] = (0.5,)
    """Standard deviation of a run's mean over seeds, in points, of each cell; repeated where there are more cells."""
    interaction: float = 2.0
    """Standard deviation, in points, of what image and cell do together."""
    residual: float = 2.0
    """Standard deviation, in points, of what image and run do together."""
    sizes: tuple[int, ...] = (1,) * 60
    """Number of test images of each group; groups of one image are images that are independent."""
    correlation: float = 0.0
    """Correlation of two images of a group, 0 to 1, in all that an image adds to a score."""
    seed_tails: float | None = None
    """Degrees of freedom of the t-distribution that runs follow; None: the normal one."""
    image_tails: float | None = None
    """The same of images."""
    collapses: float = 0.0
    """Probability that a run collapses."""
    is_linear: bool = False
    """Whether effects add up; else they do as logits, so that most scores are high and some very low, as IoUs are."""

    @property
    def groups(self) -> list[str]:
        """Group of each test image."""
        return [f"{number:03}" for number, size in enumerate(self.sizes) for _ in range(size)]

    @property
    def has_groups(self) -> bool:
        return max(self.sizes) > 1

    @property
    def effective(self) -> float | None:
        """Effective number of groups; None where there are none."""
        return compute_effective_number(self.groups) if self.has_groups else None

    @property
    def may_be_claimed(self) -> bool:
        """Whether there are enough independent units to claim anything."""
        return (len(self.sizes) if self.effective is None else round(self.effective)) >= MIN_UNITS

    def draw(
        self, rng: np.random.Generator, studies: int, cells: int, seeds: int, differences: Scores | Sequence[float] = ()
    ) -> Scores:
        """Draw scores `[studies, cells, seeds, images]`; the first cells are better by the differences, in points.

        Differences are one for each cell, or an array `[studies, cells]`.
        """
        scale = 1.0 if self.is_linear else 1 / SLOPE
        sds = np.resize(self.seed_sds, cells)[:, None, None]
        given = np.atleast_2d(np.asarray(differences, dtype=np.float64))
        gains = np.pad(given, ((0, 0), (0, cells - given.shape[1])))[:, :, None, None]
        image = self._draw_images(rng, studies, 1, 1)
        interaction = self.interaction * self._draw_images(rng, studies, cells, 1)
        residual = self.residual * self._draw_images(rng, studies, cells, seeds)
        runs = sds * _draw(rng, self.seed_tails, studies, cells, seeds, 1)
        effects = (gains + interaction + runs + residual) / 100 * scale
        scores = 0.8 + 0.1 * image + effects if self.is_linear else 1 / (1 + np.exp(-(1.9 + image + effects)))
        if self.collapses:
            scores = scores - COLLAPSE * (rng.random((studies, cells, seeds, 1)) < self.collapses)
        return scores

    def share_by_group(self, scores: Scores) -> Scores:
        """Turn scores of images `[…, images]` into those of independent units `[…, units]`, as losslab does."""
        return np.moveaxis(share_mean(np.moveaxis(scores, -1, 0), self.groups), 0, -1) if self.has_groups else scores

    def _draw_images(self, rng: np.random.Generator, *shape: int) -> Scores:
        single = _draw(rng, self.image_tails, *shape, sum(self.sizes))
        if not self.correlation:
            return single
        shared = np.repeat(_draw(rng, self.image_tails, *shape, len(self.sizes)), self.sizes, axis=-1)
        return np.asarray(np.sqrt(self.correlation) * shared + np.sqrt(1 - self.correlation) * single)


def _draw(rng: np.random.Generator, tails: float | None, *shape: int) -> Scores:
    """Draw numbers whose standard deviation is 1."""
    if tails is None:
        return rng.normal(size=shape)
    return np.asarray(rng.standard_t(tails, shape) / np.sqrt(tails / (tails - 2)))
