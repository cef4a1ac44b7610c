"""Images that show the same: perceptual hashes find the candidates, correlation of grey thumbnails decides."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from losslab.data.images.decode import Pixels

THUMBNAIL_SIDE_PX, HASH_SIDE = 32, 8
THUMBNAIL_PIXELS = THUMBNAIL_SIDE_PX * THUMBNAIL_SIDE_PX
MAX_DIFFERING_BITS = 8
"""Bits of 64 in which the hashes of two candidates may differ."""
MIN_CORRELATION = 0.95
"""Correlation from which two images are reported: on Oxford-IIIT Pet (600 images), all six pairs above it are the same
photograph, and the next pair has 0.89; no pair of the drawn lesions comes near; neighbouring CamVid frames do."""
MAX_PAIRS_LISTED = 100
"""Pairs that are listed one by one; all are counted."""
BLOCK_IMAGES = 512
MAX_GATHERED_PAIRS = 1 << 14
"""Candidates of a block that are correlated one by one; more are quicker all at once."""
Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fingerprint:
    """A kilobyte by which an image is recognised."""

    bits: int
    thumbnail: bytes
    """Grey values, 32 x 32."""


@dataclass(frozen=True)
class SimilarPair:
    first: int
    second: int
    correlation: float


@dataclass(frozen=True)
class NearDuplicates:
    count: int
    pairs: list[SimilarPair]
    """Pairs, the most similar first, at most `MAX_PAIRS_LISTED`."""


def compute_fingerprint(image: Pixels) -> Fingerprint:
    """Return the fingerprint of an RGB image, which scaling, compressing or brightening changes little.

    Its bits are low frequencies of its cosine transform above their median (Zauner. Implementation and benchmarking of
    perceptual image hash functions. 2010).
    """
    grey, size = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    thumbnail = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    low = np.asarray(cv2.dct(thumbnail.astype(np.float32)))[:HASH_SIDE, :HASH_SIDE].ravel()
    return Fingerprint(int(np.packbits(low > np.median(low[1:])).view(np.uint64)[0]), thumbnail.tobytes())


def find_near_duplicates(
    bits: npt.NDArray[np.uint64],
    read_thumbnails: Callable[[slice], Pixels],
    parts: Sequence[int],
    digests: npt.NDArray[Any],
) -> NearDuplicates:
    """Find pairs from different parts (splits) that show nearly the same; those of one digest are left out.

    They are compared block by block: neither all pairs nor all thumbnails `[n, THUMBNAIL_PIXELS]` are ever held at once.
    """
    parts_array, same = np.array(parts), np.unique(digests, return_inverse=True)[1]
    count, best = 0, list[tuple[float, int, int]]()
    for start in range(0, len(bits), BLOCK_IMAGES):
        for other in range(start, len(bits), BLOCK_IMAGES):
            rows, columns = slice(start, start + BLOCK_IMAGES), slice(other, other + BLOCK_IMAGES)
            near = np.bitwise_count(bits[rows, None] ^ bits[None, columns]) <= MAX_DIFFERING_BITS
            near &= parts_array[rows, None] != parts_array[None, columns]
            near &= same[rows, None] != same[None, columns]
            firsts, seconds = np.nonzero(np.triu(near, 1) if start == other else near)
            if len(firsts):
                values = _correlate(read_thumbnails(rows), read_thumbnails(columns), firsts, seconds)
                kept = np.flatnonzero(values >= MIN_CORRELATION)
                count += len(kept)
                # Negative numbers, so that of equal correlations the first pairs are the largest.
                numbers = (-start - firsts[kept]).tolist(), (-other - seconds[kept]).tolist()
                best = heapq.nlargest(MAX_PAIRS_LISTED, [*best, *zip(values[kept].tolist(), *numbers, strict=True)])
    return NearDuplicates(count, [SimilarPair(-first, -second, round(value, 3)) for value, first, second in best])


def _correlate(rows: Pixels, columns: Pixels, firsts: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> Sums:
    """Compute Pearson's correlation of thumbnails; sums of integers in float64 are exact in whatever order."""
    one, other = rows.astype(np.float64), columns.astype(np.float64)
    at_once = len(firsts) > MAX_GATHERED_PAIRS
    products = (one @ other.T)[firsts, seconds] if at_once else np.einsum("ij,ij->i", one[firsts], other[seconds])
    count, sums, other_sums = one.shape[1], one.sum(axis=1), other.sum(axis=1)
    spread, other_spread = ((a * a).sum(axis=1) * count - a.sum(axis=1) ** 2 for a in (one, other))
    scale = np.sqrt(np.maximum(spread[firsts] * other_spread[seconds], 1))
    return np.asarray((count * products - sums[firsts] * other_sums[seconds]) / scale)
