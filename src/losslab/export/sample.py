"""Images to try an exported net on: given ones, the run's test images, or drawn noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from losslab.data.images.decode import Pixels, UnusableFileError, read_image
from losslab.data.images.fit import Fit, fit_image
from losslab.data.loading.arrays import PreparedData
from losslab.errors import InputError
from losslab.export.formats import Varies

COUNT = 4
"""As many as are compared at the size of the run."""


@dataclass(frozen=True)
class ExportSample:
    images: Pixels
    """uint8 `[N, size, size, 3]`, N up to COUNT."""
    origin: str
    """For the reader: what they are."""

    def batches(self, varies: Varies, stride: int) -> list[Pixels]:
        """All of them, one by one where the batch is fixed; where it varies, also one alone; and where the size does, some at
        sizes that fit the stride and some at sizes that do not, square and oblong.
        """
        if varies == "nothing":
            return [image[None] for image in self.images]
        batches = [self.images, self.images[:1]]
        if varies == "batch and size":
            steps = max(-(-self.images.shape[1] // stride), 2)
            sides = [
                (steps + 1, 0, steps, 0),
                (steps, 1, steps + 1, 5),
                (steps, -3, steps, -3),
                (steps + 1, 0, steps + 1, 0),
            ]
            batches += [
                _resized(self.images[: index + 1], rows * stride + more, columns * stride + wider)
                for index, (rows, more, columns, wider) in enumerate(sides)
            ]
        return batches


def load_sample(paths: Sequence[Path], prepared: Path, size: int, fit: Fit, count: int = COUNT) -> ExportSample:
    """The images at `paths`; else test images at `prepared`, if they lie there; else noise.

    Raises:
        InputError: a path that is no image.
    """
    if paths:
        given = [_read(path, size, fit) for path in paths[:count]]
        return ExportSample(np.stack(given), f"{len(given)} given image{'' if len(given) == 1 else 's'}")
    if (prepared / "test/images.npy").is_file():
        rows = PreparedData(prepared).images("test")
        chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
        found = np.stack([fit_image(np.asarray(rows[index]), size, "stretch") for index in chosen])
        return ExportSample(found, f"{len(found)} test images of {prepared.name}")
    drawn = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return ExportSample(drawn, f"drawn noise, for want of {prepared}")


def _read(path: Path, size: int, fit: Fit) -> Pixels:
    try:
        return fit_image(read_image(path).turn().pixels, size, fit)
    except UnusableFileError as error:
        raise InputError(f"--images: {path}: {error}") from None


def _resized(images: Pixels, height: int, width: int) -> Pixels:
    return np.stack([cv2.resize(image, (width, height)) for image in images]).astype(np.uint8)
