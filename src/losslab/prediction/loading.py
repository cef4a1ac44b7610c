"""Images from disk, decoded in threads while the net is busy with those before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tifffile import TiffFile

from losslab.bands import Bands
from losslab.data.images.decode import UnusableFileError, read_image
from losslab.data.images.georeference import TIFF_SUFFIXES
from losslab.data.images.windows import open_image
from losslab.io.windows import ArrayWindows, PixelWindows, Values
from losslab.prediction.inputs import PredictionJob
from losslab.runtime.parallel import map_ahead

MAX_BYTES_AHEAD = 192 << 20
"""Bytes of the pixels of all images that wait for the net, and of one image that is not read by windows, where it can be."""
WINDOWED_SUFFIXES = {*TIFF_SUFFIXES, ".npy"}
"""Files of which parts can be read without the rest."""


@dataclass(frozen=True)
class LoadedImage:
    job: PredictionJob
    image: PixelWindows | None
    """The image at its own size, rotated as its orientation tag says; None where it is no longer needed."""
    fitted: Values | None
    """The image as the net takes it; None if it takes it in windows."""
    height: int
    width: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of what the net takes at once; empty if it takes the image in windows."""
        return () if self.fitted is None else self.fitted.shape


@dataclass(frozen=True)
class LoadFailure:
    job: PredictionJob
    reason: str


def load_ahead(
    jobs: Sequence[PredictionJob], bands: Bands, fit: Callable[[Values], Values], side: int | None, keep: bool
) -> AbstractContextManager[Iterator[LoadedImage | LoadFailure]]:
    """Load the images of `jobs` in order, each with what `fit` makes of it.

    Args:
        side: longest side of an image that the net takes at once; larger ones are left to be shown in windows, and the
            largest are not decoded. None if it takes all at once, shrunk: OpenCV averages whole images only.
        keep: whether the pixels of all images are needed.
    """

    def measure(job: PredictionJob) -> int:
        return _count_pixels(job.image, bands) * len(bands.names) * np.dtype(bands.dtype).itemsize

    def load(job: PredictionJob) -> LoadedImage | LoadFailure:
        try:
            has_windows = side is not None and job.image.suffix.lower() in WINDOWED_SUFFIXES
            if has_windows and measure(job) > MAX_BYTES_AHEAD:
                windows = open_image(job.image, bands)
                if windows.orientation == 1:
                    return LoadedImage(job, windows, None, windows.height, windows.width)
            image = read_image(job.image, bands).turn().pixels
        except UnusableFileError as error:
            return LoadFailure(job, str(error))
        height, width = image.shape[:2]
        fitted = fit(image) if side is None or max(height, width) <= side else None
        return LoadedImage(job, ArrayWindows(image) if keep or fitted is None else None, fitted, height, width)

    return map_ahead(load, jobs, measure=measure, max_size=MAX_BYTES_AHEAD)


def _count_pixels(path: Path, bands: Bands) -> int:
    """Return what the file's header says; 0 where it cannot be read, which is reported when the image is loaded."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return int(np.load(path, mmap_mode="r").size) // len(bands.names)
        if suffix in TIFF_SUFFIXES:  # Pillow refuses those of many bands
            with TiffFile(path) as tiff:
                return tiff.pages.first.imagelength * tiff.pages.first.imagewidth
        with Image.open(path) as opened:
            return opened.width * opened.height
    except Exception:  # a decoder may raise anything at all on damaged bytes
        return 0
