"""Images from disk, decoded in threads while the net is busy with those before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from PIL import Image

from losslab.data.images.decode import Pixels, UnusableFileError, read_image
from losslab.prediction.inputs import PredictionJob
from losslab.runtime.parallel import map_ahead

MAX_PIXELS_AHEAD = 64 << 20
"""Pixels of all images that wait for the net; one image may have more."""


@dataclass(frozen=True)
class LoadedImage:
    job: PredictionJob
    image: Pixels | None
    """RGB `[H, W, 3]`, rotated as its orientation tag says; None where it is no longer needed."""
    fitted: Pixels
    """The image as the net takes it."""
    height: int
    width: int


@dataclass(frozen=True)
class LoadFailure:
    job: PredictionJob
    reason: str


def load_ahead(
    jobs: Sequence[PredictionJob], fit: Callable[[Pixels], Pixels], keep: bool
) -> AbstractContextManager[Iterator[LoadedImage | LoadFailure]]:
    """Load the images of `jobs` in order, each with what `fit` makes of it; with `keep` also their own pixels."""

    def load(job: PredictionJob) -> LoadedImage | LoadFailure:
        try:
            image = read_image(job.image).turn().pixels
        except UnusableFileError as error:
            return LoadFailure(job, str(error))
        return LoadedImage(job, image if keep else None, fit(image), *image.shape[:2])

    return map_ahead(load, jobs, measure=_count_pixels, max_size=MAX_PIXELS_AHEAD)


def _count_pixels(job: PredictionJob) -> int:
    """Return what the file's header says; 0 where it cannot be read, which is reported when the image is loaded."""
    try:
        with Image.open(job.image) as opened:
            return opened.width * opened.height
    except Exception:  # a decoder may raise anything at all on damaged bytes
        return 0
