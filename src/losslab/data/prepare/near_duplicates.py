"""Images that show the same: perceptual hashes find the candidates, correlation of small grey pictures decides."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from losslab.data.images.decode import Pixels

SIDE, KEPT = 32, 8
SMALL = SIDE * SIDE
"""Pixels of the small grey picture."""
MOST_BITS = 8
"""Of 64 in which the hashes of two candidates may differ."""
LEAST_CORRELATION = 0.95
"""On Oxford-IIIT Pet (600 images), all six pairs above it are the same photograph, and the next pair has 0.89; of the drawn
lesions none comes near; neighbouring CamVid frames do."""
LISTED = 100
"""Pairs that are told one by one; all are counted."""
BLOCK = 512
GATHERED = 1 << 14
"""Candidates of a block that are correlated one by one; more are quicker all at once."""
Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fingerprint:
    """What an image is recognised by, in a kilobyte."""

    bits: int
    small: bytes
    """Grey, 32 x 32."""


@dataclass(frozen=True)
class SimilarPair:
    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class NearDuplicates:
    count: int
    pairs: list[SimilarPair]
    """The most alike first, at most `LISTED`."""


def compute_fingerprint(image: Pixels) -> Fingerprint:
    """Of an RGB image. The bits change little when it is scaled, compressed or brightened: they tell which low frequencies
    of its cosine transform are above their median (Zauner. Implementation and benchmarking of perceptual image hash
    functions. 2010).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = np.asarray(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    low = np.asarray(cv2.dct(small.astype(np.float32)))[:KEPT, :KEPT].ravel()
    return Fingerprint(int(np.packbits(low > np.median(low[1:])).view(np.uint64)[0]), small.tobytes())


def find_near_duplicates(
    bits: npt.NDArray[np.uint64],
    small: Callable[[slice], Pixels],
    parts: Sequence[int],
    digests: npt.NDArray[Any],
) -> NearDuplicates:
    """Pairs of different parts that show nearly the same.

    Compared block by block: neither all pairs nor all pictures are ever held at once.

    Args:
        bits: of each image.
        small: the small pictures of some, `[n, SMALL]`.
        parts: the split of each image.
        digests: images of one digest are the same to the last bit, and left out here.
    """
    part_of = np.array(parts)
    same = np.unique(digests, return_inverse=True)[1]
    count, best = 0, _Best()
    for start in range(0, len(bits), BLOCK):
        for other in range(start, len(bits), BLOCK):
            rows, columns = slice(start, start + BLOCK), slice(other, other + BLOCK)
            near = np.bitwise_count(bits[rows, None] ^ bits[None, columns]) <= MOST_BITS
            near &= part_of[rows, None] != part_of[None, columns]
            near &= same[rows, None] != same[None, columns]
            firsts, seconds = np.nonzero(np.triu(near, 1) if start == other else near)
            if len(firsts):
                values = _correlations(small(rows), small(columns), firsts, seconds)
                kept = np.flatnonzero(values >= LEAST_CORRELATION)
                count += len(kept)
                best.add(start + firsts[kept], other + seconds[kept], values[kept])
    return NearDuplicates(count, best.pairs())


class _Best:
    """The most alike of all pairs, the first of them where they are equally alike."""

    def __init__(self) -> None:
        self.kept: list[tuple[float, int, int]] = []

    def add(self, firsts: npt.NDArray[Any], seconds: npt.NDArray[Any], values: Sums) -> None:
        found = zip(values.tolist(), (-firsts).tolist(), (-seconds).tolist(), strict=True)
        self.kept = heapq.nlargest(LISTED, [*self.kept, *found])

    def pairs(self) -> list[SimilarPair]:
        return [SimilarPair(-first, -second, round(value, 3)) for value, first, second in self.kept]


def _correlations(rows: Pixels, columns: Pixels, firsts: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> Sums:
    """Pearson's, of the small pictures. Sums of integers in float64 are exact, in whatever order they are added."""
    one, other = rows.astype(np.float64), columns.astype(np.float64)
    at_once = len(firsts) > GATHERED
    products = (one @ other.T)[firsts, seconds] if at_once else np.einsum("ij,ij->i", one[firsts], other[seconds])
    count = one.shape[1]
    sums, other_sums = one.sum(axis=1), other.sum(axis=1)
    spread, other_spread = ((a * a).sum(axis=1) * count - a.sum(axis=1) ** 2 for a in (one, other))
    scale = np.sqrt(np.maximum(spread[firsts] * other_spread[seconds], 1))
    correlations: Sums = (count * products - sums[firsts] * other_sums[seconds]) / scale
    return correlations
