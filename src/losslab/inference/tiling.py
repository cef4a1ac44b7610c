"""Overlapping tiles for images too large for one pass; their logits are blended with smooth weights."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from losslab.inference.predictor import Predictor
from losslab.io.windows import PixelWindows

OVERLAP = 0.25
"""Share of a window that it has in common with the next, where nothing else is said."""
Rows = tuple[int, Tensor]
"""Index of the first row, and the logits float32 `[1, K, rows, W]` of some rows of an image at its own size."""
Logits = Callable[[Tensor], Tensor]
"""Images `[N, H, W, B]` → logits float32 `[N, K, H, W]`."""
MAX_LOGITS_AT_ONCE = 1 << 23
"""Logits held at once: 32 MB, and labels of 8 bytes each beside them."""


@dataclass(frozen=True)
class Tiling:
    """Squares of `side` pixels on a grid of `stride` pixels, so that the net's features lie as they do in one pass.

    Neighbours share at least `shared` pixels. Of these, the outer quarter of a tile has weight 0, since its border matters
    most there, and the weight rises as a raised cosine over the middle half. So a net that sees no further than `shared / 4`
    pixels predicts exactly what it does in one pass.
    """

    side: int
    shared: int
    stride: int

    def compute_starts(self, length: int) -> list[int]:
        """Compute where tiles start along `length` pixels, evenly; the last may stand out by part of a stride."""
        rest = _round_up(length, self.stride) - self.side
        if rest <= 0:
            return [0]
        steps = math.ceil(rest / (self.side - self.shared))
        return [round(step * rest / steps / self.stride) * self.stride for step in range(steps + 1)]

    def compute_weights(self, length: int) -> list[Tensor]:
        """Compute the weights of each tile along an axis, float32 `[tile pixels]`; at each pixel they sum to 1."""
        starts = self.compute_starts(length)
        ends = [min(start + self.side, length) for start in starts]
        weights = [torch.ones(end - start, dtype=torch.float64) for start, end in zip(starts, ends, strict=True)]
        total = torch.zeros(length, dtype=torch.float64)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
            if number > 0:
                rise = _compute_rise(ends[number - 1] - start)
                weights[number][: len(rise)] *= rise
            if number + 1 < len(starts):
                fall = _compute_rise(end - starts[number + 1]).flip(0)
                weights[number][len(weights[number]) - len(fall) :] *= fall
            total[start:end] += weights[number]
        return [(weight / total[start:end]).float() for weight, start, end in zip(weights, starts, ends, strict=True)]


def build_tiling(tile: int, overlap: float, stride: int, smallest: int = 1) -> Tiling:
    """Build tiles of `tile` pixels, rounded up to a size that the net takes; neighbours share the fraction `overlap`."""
    side = _round_up(max(tile, smallest), stride)
    return Tiling(side, min(_round_up(math.ceil(side * overlap), stride), side - stride), stride)


def choose_tiling(predictor: Predictor, side: int | None = None, overlap: float = OVERLAP) -> Tiling:
    """Choose windows that suit a net, of `side` pixels, or of the size that it was trained on."""
    stride, smallest = getattr(predictor.net, "stride", 1), getattr(predictor.net, "smallest", 1)
    return build_tiling(side or predictor.description["size"], overlap, stride, smallest)


def predict_whole(
    predictor: Predictor, image: PixelWindows, at_once: int = 1, step: Callable[[], object] = int
) -> Iterator[Rows]:
    """Yield the logits of an image of any size from windows of the net's size: what a net with `fit: tile` says of it.

    An image that fits into one window is predicted in one pass. See `predict_tiled` for the rest.
    """
    return predict_tiled(predictor.compute_logits, image, choose_tiling(predictor), at_once, step)


def predict_tiled(
    logits: Logits, image: PixelWindows, tiling: Tiling, at_once: int, step: Callable[[], object]
) -> Iterator[Rows]:
    """Yield the logits of an image from top to bottom; each part is valid until the next is taken.

    Memory holds one row of tiles. At most `at_once` tiles go through the net together; `step` is called after each row.
    """
    height, width = image.height, image.width
    tops, lefts = tiling.compute_starts(height), tiling.compute_starts(width)
    down, across = tiling.compute_weights(height), tiling.compute_weights(width)
    blend: Tensor | None = None
    for row, top in enumerate(tops):
        high = len(down[row])
        for columns in _group_neighbours([len(weight) for weight in across], at_once):
            crops = [image.read(top, lefts[c], high, len(across[c])) for c in columns]
            predicted = logits(torch.from_numpy(np.stack(crops)))
            if blend is None:
                blend = predicted.new_zeros(1, predicted.shape[1], len(down[0]), width)
            weighted = predicted * down[row].to(predicted)[:, None]
            for column, part in zip(columns, weighted, strict=True):
                place = slice(lefts[column], lefts[column] + len(across[column]))
                blend[0, :, :high, place] += part * across[column].to(predicted)
        assert blend is not None
        done = (tops[row + 1] if row + 1 < len(tops) else height) - top
        yield top, blend[:, :, :done]
        kept = blend[:, :, done:].clone()
        blend.zero_()
        blend[:, :, : kept.shape[2]] = kept
        step()


def split_rows(parts: Iterable[Rows]) -> Iterator[Rows]:
    """Split parts of an image into as few rows as may be held at once."""
    for top, logits in parts:
        at_once = count_rows_at_once(logits.shape[1], logits.shape[-1])
        for start in range(0, logits.shape[-2], at_once):
            yield top + start, logits[..., start : start + at_once, :]


def count_rows_at_once(outputs: int, width: int) -> int:
    return max(MAX_LOGITS_AT_ONCE // (outputs * width), 1)


def _group_neighbours(widths: Sequence[int], at_once: int) -> Iterator[list[int]]:
    """Group the numbers of neighbours that have the same width, at most `at_once` in a group."""
    group: list[int] = []
    for number, width in enumerate(widths):
        if group and (len(group) == at_once or widths[group[0]] != width):
            yield group
            group = []
        group.append(number)
    yield group


def _compute_rise(shared: int) -> Tensor:
    """Compute weights that rise from 0 to 1 over the pixels that two tiles share, float64 `[shared]`."""
    phase = ((torch.arange(shared, dtype=torch.float64) + 0.5) / shared * 2 - 0.5).clamp(0, 1)
    return torch.sin(math.pi / 2 * phase) ** 2


def _round_up(length: int, stride: int) -> int:
    return -(-length // stride) * stride
