"""Images that show the same, by what is left of small grey versions without what all images of the set have in common."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from losslab.data.images.decode import Pixels
from losslab.io.windows import Values

THUMBNAIL_SIDE_PX, FREQUENCIES, HASH_SIDE = 32, 16, 8
"""Side of a thumbnail; the low frequencies of its cosine transform, each way, that are compared, and that make a hash."""
THUMBNAIL_PIXELS = THUMBNAIL_SIDE_PX * THUMBNAIL_SIDE_PX
MAX_DIFFERING_BITS = 12
"""Bits of 64 in which the hashes of two candidates may differ."""
MIN_CORRELATION = 0.9
"""Correlation from which two images are reported. On Oxford-IIIT Pet (600 images), all six pairs above it are the same
photograph, and the next pair has 0.70; in drawn sets of 300 views taken alike, unrelated ones reach 0.88,
and images of which each frequency is another image's 0.37."""
MIN_SPREAD = 0.5
"""What is added to a frequency's spread in the set, as a part of their mean, so that rounding is not taken for content."""
MAX_PAIRS_LISTED = 100
"""Pairs that are listed one by one; all are counted."""
READ_IMAGES, BLOCK_IMAGES, HASHES_AT_ONCE = 512, 4096, 64
"""Images that are read at a time, among which pairs are looked for at a time, and that are compared with these at a time."""
Numbers = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Hashes = npt.NDArray[np.uint64]


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


def shrink_image(image: Values) -> bytes:
    """Return the grey thumbnail of an image `[H, W, B]`, a kilobyte: of all bands, if they are not RGB of 8 bits."""
    return shrink_grey([make_grey(image)])


def make_grey(image: Values) -> Values:
    """Return a grey version of an image or a part of one: uint8 of RGB of 8 bits, else float32, the mean of all bands."""
    if image.dtype == np.uint8 and image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return np.asarray(image.mean(axis=2, dtype=np.float32))


def shrink_grey(strips: Sequence[Values]) -> bytes:
    """Return the thumbnail of a grey image whose strips follow each other from top to bottom."""
    grey, size = np.concatenate(strips) if len(strips) > 1 else strips[0], (THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    if grey.dtype != np.uint8:  # contrast is made equal before thumbnails are compared
        low, high = grey.min(), grey.max()
        grey = ((grey - low) * (255 / (high - low if high > low else 1))).astype(np.uint8)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8).tobytes()


def find_near_duplicates(
    read_thumbnails: Callable[[Indices], Pixels], parts: Sequence[int], digests: npt.NDArray[Any]
) -> NearDuplicates:
    """Find pairs from different parts (splits) that show nearly the same; those of one digest are left out.

    Images taken alike, such as photographs of retinas, correlate by 0.99 whatever they show. So each frequency of a
    thumbnail is measured from the set's mean, in units of its spread in the set, before images are correlated; signs of
    the lowest are a hash that finds the candidates.

    Hashes of all pairs are compared, a nanosecond each, and the candidates alone are correlated, block by block: neither all
    pairs nor all thumbnails `[n, THUMBNAIL_PIXELS]` are ever held at once.
    """
    common = _CommonImage(read_thumbnails, len(parts))
    parts_array, same = np.array(parts), np.unique(digests, return_inverse=True)[1]
    bits = np.concatenate([_hash_signs(rest) for rest in map(common.compute_rest, _cut(len(parts), READ_IMAGES))])
    count, best = 0, list[tuple[float, int, int]]()
    blocks = _cut(len(parts), BLOCK_IMAGES)
    for number, rows in enumerate(blocks):
        for columns in blocks[number:]:
            if (parts_array[[*rows, *columns]] == parts[rows[0]]).all():
                continue
            firsts, seconds = _find_candidates(bits[rows], bits[columns])
            firsts, seconds = firsts + rows[0], seconds + columns[0]
            apart = (firsts < seconds) & (parts_array[firsts] != parts_array[seconds]) & (same[firsts] != same[seconds])
            firsts, seconds = firsts[apart], seconds[apart]
            values = common.correlate(firsts, seconds).round(9)  # what is equal but for rounding is equal
            kept = np.flatnonzero(values >= MIN_CORRELATION)
            count += len(kept)
            # Negative numbers, so that of equal correlations the first pairs are the largest.
            numbers = (-firsts[kept]).tolist(), (-seconds[kept]).tolist()
            best = heapq.nlargest(MAX_PAIRS_LISTED, [*best, *zip(values[kept].tolist(), *numbers, strict=True)])
    return NearDuplicates(count, [SimilarPair(-first, -second, round(value, 3)) for value, first, second in best])


def _cut(images: int, block: int) -> list[Indices]:
    return [np.arange(start, min(start + block, images)) for start in range(0, images, block)]


def _find_candidates(bits: Hashes, others: Hashes) -> tuple[Indices, Indices]:
    """Find the pairs whose hashes differ in few bits; a few rows at a time, in the same memory, as new pages take longest."""
    shape = HASHES_AT_ONCE, len(others)
    differing, counts, found = np.empty(shape, np.uint64), np.empty(shape, np.uint8), [np.zeros(0, np.intp)]
    for start in range(0, len(bits), HASHES_AT_ONCE):
        rows = bits[start : start + HASHES_AT_ONCE, None]
        np.bitwise_count(np.bitwise_xor(rows, others, out=differing[: len(rows)]), out=counts[: len(rows)])
        found.append(np.flatnonzero(counts[: len(rows)] <= MAX_DIFFERING_BITS) + start * len(others))
    firsts, seconds = np.divmod(np.concatenate(found), len(others))
    return firsts, seconds


class _CommonImage:
    """Mean and spread of each frequency in the set, and what images are apart from them."""

    def __init__(self, read_thumbnails: Callable[[Indices], Pixels], images: int) -> None:
        self.read = read_thumbnails
        sums = np.zeros((2, FREQUENCIES * FREQUENCIES))
        for numbers in _cut(images, READ_IMAGES):
            values = _transform(read_thumbnails(numbers))
            sums += values.sum(axis=0), (values * values).sum(axis=0)
        self.mean = sums[0] / images
        spread = np.sqrt(np.maximum(sums[1] / images - self.mean * self.mean, 0))
        self.spread = np.maximum(spread + MIN_SPREAD * spread.mean(), np.finfo(float).tiny)

    def compute_rest(self, images: Indices) -> Numbers:
        """Return vectors of length 1 whose products are correlations; zeros for an image of one grey value."""
        values = _transform(self.read(images))
        return _normalise(np.where(values.any(axis=1, keepdims=True), (values - self.mean) / self.spread, 0))

    def correlate(self, firsts: Indices, seconds: Indices) -> Numbers:
        """Return the correlations of pairs; each image is read once."""
        images, places = np.unique([firsts, seconds], return_inverse=True)
        if not len(images):
            return np.zeros(0)
        rest = np.concatenate([self.compute_rest(images[part]) for part in _cut(len(images), READ_IMAGES)])
        left, right = places.reshape(2, -1)
        products = [np.einsum("ij,ij->i", rest[left[part]], rest[right[part]]) for part in _cut(len(left), READ_IMAGES)]
        return np.concatenate(products)


def _transform(thumbnails: Pixels) -> Numbers:
    """Compute low frequencies `[n, FREQUENCIES²]` of thumbnails `[n, THUMBNAIL_PIXELS]` of equal mean and contrast."""
    values = thumbnails.astype(np.float64)
    values = _normalise(values - values.mean(axis=1, keepdims=True)).reshape(-1, THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX)
    return (_COSINES @ values @ _COSINES.T).reshape(len(values), -1)


_COSINES = np.cos(np.pi / THUMBNAIL_SIDE_PX * np.outer(np.arange(FREQUENCIES), np.arange(THUMBNAIL_SIDE_PX) + 0.5))


def _normalise(vectors: Numbers) -> Numbers:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def _hash_signs(rest: Numbers) -> npt.NDArray[np.uint64]:
    """Pack the signs of the lowest frequencies into 64 bits."""
    low = rest.reshape(-1, FREQUENCIES, FREQUENCIES)[:, :HASH_SIDE, :HASH_SIDE] > 0
    return np.packbits(low.reshape(len(rest), -1), axis=1).view(np.uint64).ravel()
