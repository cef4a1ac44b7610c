"""Images that are too large for one pass: in overlapping tiles, whose logits are blended with smooth weights."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from losslab.data.images.decode import Pixels
from losslab.prediction.label_map import Rows

Logits = Callable[[Tensor], Tensor]
"""Images uint8 `[N, H, W, 3]` → logits float32 `[N, K, H, W]`."""


@dataclass(frozen=True)
class Tiling:
    """Squares of `side` pixels on a grid of `stride` pixels, so that the net's features lie as they do in one pass.

    Neighbours share at least `shared` pixels. Within them, the outer quarter of a tile counts for nothing, for there its
    border is felt most, and its weight rises as a raised cosine over the half in between. So a net that sees no further
    than `shared / 4` pixels answers exactly as in one pass.
    """

    side: int
    shared: int
    stride: int

    def starts(self, length: int) -> list[int]:
        """Where tiles begin along an axis of `length` pixels, at even distance; the last one may stand out by less than a
        stride, which the net pads, as it does in one pass."""
        rest = _up(length, self.stride) - self.side
        if rest <= 0:
            return [0]
        steps = math.ceil(rest / (self.side - self.shared))
        return [round(step * rest / steps / self.stride) * self.stride for step in range(steps + 1)]

    def weights(self, length: int) -> list[Tensor]:
        """Of each tile along an axis, float32 `[pixels of the tile]`; those of all tiles at a pixel sum up to 1."""
        starts = self.starts(length)
        ends = [min(start + self.side, length) for start in starts]
        weights = [torch.ones(end - start, dtype=torch.float64) for start, end in zip(starts, ends, strict=True)]
        total = torch.zeros(length, dtype=torch.float64)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            if number > 0:
                rise = _rise(ends[number - 1] - start)
                weights[number][: len(rise)] *= rise
            if number + 1 < len(starts):
                fall = _rise(end - starts[number + 1]).flip(0)
                weights[number][len(weights[number]) - len(fall) :] *= fall
            total[start:end] += weights[number]
        return [(weight / total[start:end]).float() for weight, start, end in zip(weights, starts, ends, strict=True)]


def make_tiling(tile: int, overlap: float, stride: int, smallest: int = 1) -> Tiling:
    """Tiles of `tile` pixels, rounded up to what the net takes, of which neighbours share the part `overlap`."""
    side = _up(max(tile, smallest), stride)
    return Tiling(side, min(_up(math.ceil(side * overlap), stride), side - stride), stride)


def predict_tiled(
    logits: Logits, image: Pixels, tiling: Tiling, at_once: int, step: Callable[[], object]
) -> Iterator[Rows]:
    """Logits of an RGB image `[H, W, 3]`, from top to bottom, each part good until the next is asked for.

    Memory is for one row of tiles. At most `at_once` tiles go through the net together; `step` is called for each row.
    """
    height, width = image.shape[:2]
    tops, lefts = tiling.starts(height), tiling.starts(width)
    down, across = tiling.weights(height), tiling.weights(width)
    blend: Tensor | None = None
    for row, top in enumerate(tops):
        high = len(down[row])
        for columns in _groups([len(weight) for weight in across], at_once):
            crops = [image[top : top + high, lefts[c] : lefts[c] + len(across[c])] for c in columns]
            found = logits(torch.from_numpy(np.stack(crops)))
            if blend is None:
                blend = found.new_zeros(1, found.shape[1], len(down[0]), width)
            weighted = found * down[row].to(found)[:, None]
            for column, part in zip(columns, weighted, strict=True):
                place = slice(lefts[column], lefts[column] + len(across[column]))
                blend[0, :, :high, place] += part * across[column].to(found)
        assert blend is not None
        done = (tops[row + 1] if row + 1 < len(tops) else height) - top
        yield top, blend[:, :, :done]
        kept = blend[:, :, done:].clone()
        blend.zero_()
        blend[:, :, : kept.shape[2]] = kept
        step()


def _groups(widths: Sequence[int], at_once: int) -> Iterator[list[int]]:
    """Numbers of neighbours of one width, no more than `at_once`."""
    group: list[int] = []
    for number, width in enumerate(widths):
        if group and (len(group) == at_once or widths[group[0]] != width):
            yield group
            group = []
        group.append(number)
    yield group


def _rise(shared: int) -> Tensor:
    """From 0 to 1 over the pixels that two tiles share, float64 `[shared]`."""
    places = ((torch.arange(shared, dtype=torch.float64) + 0.5) / shared * 2 - 0.5).clamp(0, 1)
    return torch.sin(math.pi / 2 * places) ** 2


def _up(length: int, stride: int) -> int:
    return -(-length // stride) * stride
