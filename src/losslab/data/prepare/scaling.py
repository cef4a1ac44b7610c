"""The range of each band and its normalisation, measured in the training images, and what the range leaves of an image."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from losslab.bands import RGB, Bands, MeanScaling, PercentileScaling, RangeScaling
from losslab.cards import Card
from losslab.data.findings import Finding
from losslab.data.prepare.statistics import count_labels
from losslab.io.windows import Values

MIN_STD = 0.255
"""Smallest standard deviation that whole numbers are divided by; that of floats is this share of their range / 255."""
MAX_SAMPLED = 1 << 22
"""Values of a band of floats among which percentiles are looked for."""
MIN_LEVELS, LEVELS = 16, 256
"""Different values of an image's 256 that its scaling must leave, if the image has so many."""
MAX_CLIPPED = 0.5
"""Share of an image's pixels that may lie beyond a band's range, in the band that has fewest of them."""
MAX_INSPECTED = 1 << 18
"""Pixels of an image that are looked at, at even distance."""
Numbers = npt.NDArray[np.float64]
Blocks = Callable[[], Iterable[Values]]
"""Gives the pixels of the training images in parts: `[n, B]`."""


@dataclass(frozen=True)
class Normalisation:
    bands: Bands
    mean: list[float]
    """Mean of each band, in units in which its range is 0 to 1; `std` is its standard deviation."""
    std: list[float]


def measure_normalisation(card: Card, blocks: Blocks) -> Normalisation:
    """Measure ranges as the card's scaling says, and mean and standard deviation of what they leave."""
    measured = _measure_floats(card, blocks) if card.format.dtype == "float32" else _measure_whole_numbers(card, blocks)
    bands, mean, std = measured
    if card.bands is not None and isinstance(card.bands.scaling, MeanScaling):
        mean, std = np.array(card.bands.scaling.mean), np.array(card.bands.scaling.std)
    low, span = np.array(bands.low), np.array(bands.high) - bands.low
    floor = MIN_STD if bands.dtype != "float32" else span * MIN_STD / 255
    digits = 6 if bands == RGB else 9
    scaled = (mean - low) / span, np.maximum(std, floor) / span
    return Normalisation(bands, *([round(value, digits) for value in values.tolist()] for values in scaled))


def is_scaled_by_ends(card: Card) -> bool:
    """Return whether the ends of ranges say what counts in an image, so that they may leave too little of it."""
    return card.bands is not None and not (
        card.bands.scaling == "mean std" or isinstance(card.bands.scaling, MeanScaling)
    )


def audit_scaling(name: str, pixels: Values, bands: Bands) -> Finding | None:
    """Return a finding if too little of an image is left, by some of its pixels `[n, B]`, between the ends of its bands' ranges."""
    scaled = bands.scale(pixels)
    clipped = ((scaled < 0) | (scaled > 1)).mean(axis=0).min()
    held, left = (
        max(len(np.unique(values[:, band])) for band in range(values.shape[1]))
        for values in (pixels, (np.clip(scaled, 0, 1) * (LEVELS - 1) + 0.5).astype(np.uint8))
    )
    if left == 1 < held:
        detail = f"of its {held} values, to {pixels.max():g}, 1 is left"
    elif clipped > MAX_CLIPPED:
        detail = f"{100 * clipped:.0f} % of its pixels lie beyond the range"
    elif left < min(held, MIN_LEVELS):
        detail = f"{left} levels of {LEVELS} are left"
    else:
        return None
    return Finding("lost in its scaling", name, detail)


def _measure_whole_numbers(card: Card, blocks: Blocks) -> tuple[Bands, Numbers, Numbers]:
    """Measure from the number of pixels that have each value, which is exact."""
    values = np.arange(256 if card.format.dtype == "uint8" else 65536)
    counts = np.zeros((len(card.format.names), len(values)), np.int64)
    for pixels in blocks():
        counts += np.stack([_count_values(pixels[:, band], len(values)) for band in range(pixels.shape[1])])
    shares = np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True)
    bands = _choose_ranges(card, lambda percent: np.argmax(shares >= percent / 100 if percent else shares > 0, axis=1))
    low, high = (np.array(ends)[:, None] for ends in (bands.low, bands.high))
    kept = np.clip(values, low, high) if bands.clip else np.broadcast_to(values, (len(low), len(values)))
    total = counts.sum(axis=1)
    mean = (counts * kept).sum(axis=1) / total
    return bands, mean, np.sqrt(np.maximum((counts * (kept * kept)).sum(axis=1) / total - mean * mean, 0))


def _measure_floats(card: Card, blocks: Blocks) -> tuple[Bands, Numbers, Numbers]:
    """Measure mean and deviation of all pixels, and percentiles of pixels at even distance."""
    count = sum(len(pixels) for pixels in blocks())
    step, sampled, ends = -(-count // MAX_SAMPLED), list[Values](), list[Values]()
    for pixels in blocks():
        sampled.append(pixels[::step].copy())
        ends += [pixels.min(axis=0), pixels.max(axis=0)]
    extremes = {0: np.min(ends, axis=0), 100: np.max(ends, axis=0)}
    sample = np.concatenate(sampled)
    bands = _choose_ranges(
        card,
        lambda percent: (
            extremes[percent]  # type: ignore[index]
            if percent in extremes
            else np.percentile(sample, percent, axis=0, method="inverted_cdf")
        ),
    )
    low, high = (np.array(values) for values in (bands.low, bands.high))
    sums = np.zeros((2, len(low)))
    for pixels in blocks():
        # Distances from the lower end, so that a small spread far from 0 is not lost in rounding.
        kept = (np.clip(pixels, low, high) if bands.clip else pixels) - low
        sums += kept.sum(axis=0), (kept * kept).sum(axis=0)
    mean, mean_of_squares = sums / count
    return bands, low + mean, np.sqrt(np.maximum(mean_of_squares - mean * mean, 0))


def _choose_ranges(card: Card, find_percentile: Callable[[float], Values]) -> Bands:
    """Choose the ends of each band's range; `find_percentile` gives the bands' values at a percentage of all pixels."""
    if card.bands is None:
        return RGB
    form, scaling, count = card.bands.format, card.bands.scaling, len(card.bands.names)
    clip, ends = True, (np.zeros(count), np.full(count, {"uint8": 255, "uint16": 65535, "float32": 1}[form.dtype]))
    if scaling == "dtype range":
        clip = form.dtype == "float32"
    elif scaling == "mean std":
        clip, ends = False, (find_percentile(0), find_percentile(100))
    elif isinstance(scaling, PercentileScaling):
        ends = find_percentile(scaling.percentiles[0]), find_percentile(scaling.percentiles[1])
    elif isinstance(scaling, RangeScaling):
        ranges = np.array(scaling.range * (1 if len(scaling.range) == count else count))
        ends = ranges[:, 0], ranges[:, 1]
    elif isinstance(scaling, MeanScaling):
        mean, std = np.array(scaling.mean), np.array(scaling.std)
        clip, ends = False, (mean - 3 * std, mean + 3 * std)
    low, high = (np.asarray(values, np.float64) for values in ends)
    # A band of one value, or of ends that float32 does not tell apart.
    high = np.where(np.float32(high) > np.float32(low), high, low + np.maximum(1, np.abs(low) * 2.0**-20))
    return Bands(**form.model_dump(), low=low.tolist(), high=high.tolist(), clip=clip)


def _count_values(band: Values, values: int) -> npt.NDArray[np.int64]:
    if values == LEVELS:
        return count_labels(np.ascontiguousarray(band)[:, None])
    return np.bincount(band, minlength=values).astype(np.int64)
