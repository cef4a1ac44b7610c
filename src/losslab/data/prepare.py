"""Raw files into arrays that training can map into memory: decode, check, resize, and write down what was found."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from losslab.data.audit import Totals, write_up
from losslab.data.cards import IGNORE_INDEX, SPLITS, Card, SplitName
from losslab.data.readers import Listing, Sample, read_layout
from losslab.data.splits import split_samples
from losslab.errors import InputError
from losslab.files import Row, whole, write_csv, write_json
from losslab.params import Split

Pixels = npt.NDArray[np.uint8]
AHEAD = 32


@dataclass(frozen=True)
class Decoded:
    image: Pixels
    """RGB `[size, size, 3]`."""
    mask: Pixels
    """Labels `[size, size]`."""
    width: int
    height: int


def prepare(card: Card, raw: Path, size: int, split: Split, out: Path) -> dict[str, Any]:
    """Write `{train,val,test}/{images,masks}.npy`, `index.csv`, `dataset.json` and `audit.json` into `out`.

    Images are resized to size x size by area where they shrink, linearly where they grow; masks by nearest neighbour.
    A file that is no image, or whose mask is missing, unreadable or of another size, is left out and counted.

    Returns:
        the audit.

    Raises:
        InputError: a mask value that the card does not explain, or a split without images.
    """
    listing = read_layout(card.layout, raw)
    dealt = split_samples(listing.samples, split)
    used = {sample.name for samples in dealt.values() for sample in samples}
    listing.skip("in no official list", (sample.name for sample in listing.samples if sample.name not in used))
    rows: list[Row] = []
    totals: dict[SplitName, Totals] = {}
    with whole(out) as folder, tqdm(total=len(used), desc="prepare", unit=" images", disable=None) as bar:
        for name in SPLITS:
            (folder / name).mkdir(parents=True)
            totals[name] = Totals(len(card.classes))
            rows += _write_split(card, dealt[name], size, folder / name, listing, totals[name], bar)
        write_csv(folder / "index.csv", rows)
        write_json(folder / "dataset.json", _describe(card, size, totals))
        audit = write_up(card, listing, totals, rows)
        write_json(folder / "audit.json", audit)
    return audit


def _write_split(
    card: Card, samples: Sequence[Sample], size: int, folder: Path, listing: Listing, totals: Totals, bar: Any
) -> list[Row]:
    """Decode on all cores, write in the order of `samples`; returns a row of index.csv for each image kept."""
    shapes = {"images": (len(samples), size, size, 3), "masks": (len(samples), size, size)}
    arrays = {
        kind: np.lib.format.open_memmap(folder / f"{kind}.npy", "w+", np.uint8, shape) for kind, shape in shapes.items()
    }
    rows: list[Row] = []
    lookup = _lookup(card)
    with _decoded_ahead(samples, lookup, size) as decoded:
        for sample, result in zip(samples, decoded, strict=True):
            bar.update()
            if isinstance(result, str):
                listing.skip(result, [sample.name])
                continue
            arrays["images"][len(rows)], arrays["masks"][len(rows)] = result.image, result.mask
            totals.add(sample.name, result.image, result.mask)
            size_on_disk = {"width": result.width, "height": result.height}
            rows.append({"split": folder.name, "index": len(rows), "image": sample.name, **size_on_disk})
    if not rows:
        reasons = "; ".join(f"{reason}: {len(names)}" for reason, names in listing.skipped.items())
        raise InputError(f"none of the {len(samples)} images for {folder.name} can be used ({reasons})")
    if not totals.pixels.any():
        raise InputError(f"all {len(rows)} images for {folder.name} are void; the card's void values are {card.void}")
    for kind, array in arrays.items():
        array.flush()
        if len(rows) < len(samples):
            np.save(folder / f"kept-{kind}.npy", array[: len(rows)])
            (folder / f"kept-{kind}.npy").replace(folder / f"{kind}.npy")
    return rows


@contextmanager
def _decoded_ahead(
    samples: Sequence[Sample], lookup: npt.NDArray[np.int16], size: int
) -> Iterator[Iterator[Decoded | str]]:
    """What `_decode` gives for each sample, in order; a few are decoded ahead on all cores, no more are held."""
    pool = ThreadPoolExecutor()

    def results() -> Iterator[Decoded | str]:
        waiting: deque[Future[Decoded | str]] = deque()
        for sample in samples:
            waiting.append(pool.submit(_decode, sample, lookup, size))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(sample: Sample, lookup: npt.NDArray[np.int16], size: int) -> Decoded | str:
    """Image and mask at their new size, or why they cannot be used, as the audit counts it."""
    # Orientation tags are ignored: annotators drew on the pixels as stored.
    image = cv2.imread(str(sample.image), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        return "image that cannot be decoded"
    try:
        with Image.open(sample.mask) as opened:
            values = np.asarray(opened)  # palette and 1-bit masks stay numbers
    except (UnidentifiedImageError, OSError, SyntaxError):
        return "mask that cannot be decoded"
    if values.ndim != 2 or (values.dtype != np.uint8 and values.dtype != np.bool_):
        return "mask that is not one 8-bit channel"
    if values.shape != image.shape[:2]:
        return "mask and image of different size"
    labels = lookup[values.astype(np.uint8)]
    if labels.min() < 0:
        unknown = sorted(int(value) for value in np.unique(values[labels < 0]))
        raise InputError(
            f"{sample.mask}: holds the values {unknown}; the dataset's card explains {np.flatnonzero(lookup >= 0).tolist()}"
        )
    height, width = values.shape
    shrinks = size <= height and size <= width
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    mask = cv2.resize(labels.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    return Decoded(np.asarray(resized, np.uint8), np.asarray(mask, np.uint8), width, height)


def _lookup(card: Card) -> npt.NDArray[np.int16]:
    """Raw mask value → label; -1 where the card says nothing."""
    lookup = np.full(256, -1, np.int16)
    lookup[card.void] = IGNORE_INDEX
    for label, label_class in enumerate(card.classes):
        lookup[label_class.values] = label
    return lookup


def _describe(card: Card, size: int, totals: dict[SplitName, Totals]) -> dict[str, Any]:
    mean, std = totals["train"].normalisation()
    return {
        "title": card.title,
        "classes": [label_class.name for label_class in card.classes],
        "palette": [list(label_class.color) for label_class in card.classes],
        "ignore_index": IGNORE_INDEX if card.void else None,
        "size": size,
        "images": {name: total.images for name, total in totals.items()},
        "pixels": {name: total.pixels.tolist() for name, total in totals.items()},
        "pixels_where_present": {name: total.pixels_where_present.tolist() for name, total in totals.items()},
        "mean": mean,
        "std": std,
    }
