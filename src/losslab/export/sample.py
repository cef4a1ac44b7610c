"""Images to try an exported net on: the user's, the run's test images, or noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from losslab.bands import RGB, Bands, read_bands
from losslab.data.images.decode import UnusableFileError, read_image
from losslab.data.images.fit import Fit, fit_image
from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.export.formats import VaryingAxes
from losslab.formats import format_plural
from losslab.io.windows import Values

MAX_IMAGES = 4
"""Images on which an exported net is compared."""


@dataclass(frozen=True)
class ExportSample:
    images: Values
    """`[N, size, size, B]`, as the files have them, N up to MAX_IMAGES."""
    origin: str
    """Description of the images, for messages."""

    def build_batches(self, varies: VaryingAxes, stride: int) -> list[Values]:
        """Build the batches to compare: single images if the batch is fixed, else all together and one alone.

        If the size varies, there are also square and oblong sizes, some of which are multiples of the stride.
        """
        if varies == "nothing":
            return [image[None] for image in self.images]
        batches = [self.images, self.images[:1]]
        if varies == "batch and size":
            steps = max(-(-self.images.shape[1] // stride), 2)
            longer = (steps + 1) * stride
            shorter = steps * stride
            sides = [(longer, shorter), (shorter + 1, longer + 5), (shorter - 3, shorter - 3), (longer, longer)]
            batches += [
                np.stack(
                    [cv2.resize(image, (width, height)).reshape(height, width, -1) for image in self.images[:count]]
                )
                for count, (height, width) in enumerate(sides, start=1)
            ]
        return batches


def load_sample(
    paths: Sequence[Path], prepared: Path, size: int, description: Mapping[str, Any], count: int = MAX_IMAGES
) -> ExportSample:
    """Load the images at `paths`, or raise InputError; without paths, the test images at `prepared`; without those, noise.

    Args:
        description: content of model.json.
    """
    bands, fit = read_bands(description), description["fit"]
    if paths:
        images = [_read_image(path, bands, size, fit) for path in paths[:count]]
        return ExportSample(np.stack(images), format_plural(len(images), "given image"))
    reason = f"{prepared} is missing"
    if (prepared / "test/images.npy").is_file():
        rows, reason = PreparedData(prepared).rows("test", "images"), f"{prepared} has images of other bands"
        if (rows.bands, rows.dtype.name) == ((len(bands.names),), bands.dtype):
            chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int).tolist()
            if fit == "tile":
                tests = np.stack([rows.read_square(index, 0, 0, size, 0) for index in chosen])
            else:
                tests = np.stack([fit_image(rows.read([index])[0], size, "stretch") for index in chosen])
            return ExportSample(tests, f"{format_plural(len(tests), 'test image')} of {prepared.name}")
    return ExportSample(_draw_noise(bands, (count, size, size)), f"noise, because {reason}")


def _read_image(path: Path, bands: Bands, size: int, fit: Fit) -> Values:
    try:
        pixels = read_image(path, bands).turn().pixels
    except UnusableFileError as error:
        raise InputError(f"--images: {path}: {error}") from None
    return fit_image(pixels[:size, :size] if fit == "tile" else pixels, size, fit)


def _draw_noise(bands: Bands, shape: tuple[int, ...]) -> Values:
    rng = np.random.default_rng(0)
    if bands == RGB:
        return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return bands.restore(rng.random((*shape, len(bands.names)), np.float32)).astype(bands.dtype)
