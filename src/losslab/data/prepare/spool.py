"""Prepared images on disk until the splits are known: they may not fit into memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from losslab.bands import BandFormat
from losslab.data.images.decode import Pixels
from losslab.data.images.fit import Placement
from losslab.data.prepare.near_duplicates import THUMBNAIL_PIXELS
from losslab.data.prepare.statistics import ImageMeasure, ImageStatistics, check_labels
from losslab.io.windows import PixelWindows, Values, iterate_strips

KINDS = ("images", "masks", "thumbnails")
BLOCK_PIXELS = 1 << 20


class Spool:
    """Images, masks and thumbnails in files, in the order in which they come; none is mapped into memory.

    Args:
        folder: where the files are kept, until this context ends.
        form: bands and type of the images.
        side: pixels a side of all images; None where each has a size of its own.
        planes: number of classes where they overlap, and each has labels of its own.
    """

    def __init__(self, folder: Path, form: BandFormat, side: int | None, planes: int | None = None) -> None:
        self.paths = {kind: folder / f"{kind}.spool" for kind in KINDS}
        self.planes = () if planes is None else (planes,)
        """The shape of a pixel of a mask."""
        self.dtype, self.bands, self.side = np.dtype(form.dtype), len(form.names), side
        self.starts, self.shapes = [0], list[tuple[int, int]]()
        """Pixels before each image, and its height and width."""

    def __enter__(self) -> "Spool":
        self.files: dict[str, IO[bytes]] = {kind: path.open("w+b") for kind, path in self.paths.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for kind, path in self.paths.items():
            self.files[kind].close()
            path.unlink()

    def append(
        self,
        image: PixelWindows,
        mask: PixelWindows,
        statistics: ImageStatistics | None,
        classes: int,
        check: Callable[[], None],
    ) -> ImageStatistics:
        """Add an image and its labels; without statistics they are measured strip by strip.

        Raises UnusableFileError if a file cannot be read, or if `check`, called once all is read, does; then nothing is added.
        """
        size = image.height, image.width
        ends = {kind: self.files[kind].seek(0, 2) for kind in KINDS}
        measure = ImageMeasure((*size, self.bands), classes) if statistics is None else None
        try:
            for strip in iterate_strips(*size, rows=None if measure else image.height):
                pixels, labels = strip.read(image), strip.read(mask)
                if measure is not None:
                    measure.add(pixels, labels)
                self.files["images"].write(np.ascontiguousarray(pixels).data)
                self.files["masks"].write(np.ascontiguousarray(labels).data)
            done = measure.finish(size) if measure is not None else statistics
            assert done is not None
            check_labels(done)
            check()
        except BaseException:
            for kind, end in ends.items():
                self.files[kind].truncate(end)
            raise
        self.files["thumbnails"].write(done.thumbnail)
        self.shapes.append(size)
        self.starts.append(self.starts[-1] + image.height * image.width)
        return done

    def read_thumbnails(self, numbers: Sequence[int]) -> Pixels:
        content = b"".join(self._read("thumbnails", number * THUMBNAIL_PIXELS, THUMBNAIL_PIXELS) for number in numbers)
        return np.frombuffer(content, np.uint8).reshape(len(numbers), THUMBNAIL_PIXELS)

    def read_pixels(self, number: int, place: Placement | None = None) -> Iterator[Values]:
        """Yield the pixels of an image in parts, `[n, bands]`: all of them, or those at a place of it."""
        start, stop = self.starts[number : number + 2]
        if place is not None:
            whole = self._read_image(start, stop).reshape(*self.shapes[number], self.bands)
            part = whole[place.top : place.top + place.height, place.left : place.left + place.width]
            yield part.reshape(-1, self.bands)
            return
        for first in range(start, stop, BLOCK_PIXELS):
            yield self._read_image(first, min(first + BLOCK_PIXELS, stop))

    def sample_pixels(self, number: int, place: Placement | None, at_most: int) -> Values:
        """Read at most about so many pixels of an image, at even distance, `[n, bands]`."""
        height, width = (place.height, place.width) if place else self.shapes[number]
        step = -(-height * width // at_most)
        return np.concatenate([pixels[::step] for pixels in self.read_pixels(number, place)])

    def write(self, numbers: Sequence[int], folder: Path) -> None:
        """Write `images.npy` and `masks.npy` with these images, in this order."""
        pixels = sum(self.starts[number + 1] - self.starts[number] for number in numbers)
        images = (pixels,) if self.side is None else (len(numbers), self.side, self.side)
        for kind, pixel, dtype in (
            ("images", (self.bands,), self.dtype),
            ("masks", self.planes, np.dtype(np.uint8)),
        ):
            length = dtype.itemsize * math.prod(pixel)
            with (folder / f"{kind}.npy").open("wb") as file:
                header = {"descr": dtype.str, "fortran_order": False, "shape": (*images, *pixel)}
                np.lib.format.write_array_header_1_0(file, header)
                for number in numbers:
                    start, stop = self.starts[number : number + 2]
                    for first in range(start, stop, BLOCK_PIXELS):
                        file.write(self._read(kind, first * length, (min(first + BLOCK_PIXELS, stop) - first) * length))

    def _read_image(self, start: int, stop: int) -> Values:
        length = self.bands * self.dtype.itemsize
        content = self._read("images", start * length, (stop - start) * length)
        return np.frombuffer(content, self.dtype).reshape(-1, self.bands)

    def _read(self, kind: str, start: int, length: int) -> bytes:
        self.files[kind].seek(start)
        return self.files[kind].read(length)
