"""Images to try an exported net on: the user's, the run's test images, or noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from losslab.data.images.decode import Pixels, UnusableFileError, read_image
from losslab.data.images.fit import Fit, fit_image
from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.export.formats import VaryingAxes
from losslab.formats import format_plural

MAX_IMAGES = 4
"""Images on which an exported net is compared."""


@dataclass(frozen=True)
class ExportSample:
    images: Pixels
    """uint8 `[N, size, size, 3]`, N up to MAX_IMAGES."""
    origin: str
    """Description of the images, for messages."""

    def build_batches(self, varies: VaryingAxes, stride: int) -> list[Pixels]:
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
                np.stack([cv2.resize(image, (width, height)) for image in self.images[:count]]).astype(np.uint8)
                for count, (height, width) in enumerate(sides, start=1)
            ]
        return batches


def load_sample(paths: Sequence[Path], prepared: Path, size: int, fit: Fit, count: int = MAX_IMAGES) -> ExportSample:
    """Load the images at `paths`, or raise InputError; without paths, the test images at `prepared`; without those, noise."""
    if paths:
        images = [_read_image(path, size, fit) for path in paths[:count]]
        return ExportSample(np.stack(images), format_plural(len(images), "given image"))
    if (prepared / "test/images.npy").is_file():
        rows = PreparedData(prepared).images("test")
        chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
        tests = np.stack([fit_image(np.asarray(rows[index]), size, "stretch") for index in chosen])
        return ExportSample(tests, f"{format_plural(len(tests), 'test image')} of {prepared.name}")
    noise = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ExportSample(noise, f"noise, because {prepared} is missing")


def _read_image(path: Path, size: int, fit: Fit) -> Pixels:
    try:
        return fit_image(read_image(path).turn().pixels, size, fit)
    except UnusableFileError as error:
        raise InputError(f"--images: {path}: {error}") from None
