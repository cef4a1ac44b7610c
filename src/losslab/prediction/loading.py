"""Images from disk, decoded in threads while the net is busy with those before."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from losslab.data.images.decode import Pixels, UnusableFileError, read_image
from losslab.prediction.inputs import PredictionJob
from losslab.runtime.parallel import count_cores

PIXELS_AHEAD = 64 << 20
"""Of images that wait for the net; but at least one image."""


@dataclass(frozen=True)
class LoadedImage:
    job: PredictionJob
    image: Pixels | None
    """RGB `[H, W, 3]`, turned as its orientation tag says; None where it is no longer needed."""
    fitted: Pixels
    """What the net is to see."""
    height: int
    width: int


@dataclass(frozen=True)
class LoadFailure:
    job: PredictionJob
    reason: str


@contextmanager
def load_ahead(
    jobs: Sequence[PredictionJob], fitted: Callable[[Pixels], Pixels], keep: bool
) -> Iterator[Iterator[LoadedImage | LoadFailure]]:
    """The images of `jobs` in order, each with what `fitted` makes of it; where `keep`, with their own pixels."""
    pool = ThreadPoolExecutor(count_cores())

    def load(job: PredictionJob) -> LoadedImage | LoadFailure:
        try:
            image = read_image(job.image).turned().pixels
        except UnusableFileError as error:
            return LoadFailure(job, str(error))
        return LoadedImage(job, image if keep else None, fitted(image), *image.shape[:2])

    def results() -> Iterator[LoadedImage | LoadFailure]:
        waiting: deque[tuple[int, Future[LoadedImage | LoadFailure]]] = deque()
        ahead = 0
        for job in jobs:
            pixels = _pixels(job)
            while waiting and (ahead + pixels > PIXELS_AHEAD or len(waiting) > 2 * count_cores()):
                done, future = waiting.popleft()
                ahead -= done
                yield future.result()
            waiting.append((pixels, pool.submit(load, job)))
            ahead += pixels
        while waiting:
            yield waiting.popleft()[1].result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)


def _pixels(job: PredictionJob) -> int:
    """As the file's header says; 0 where it cannot be read, which is told when the image is."""
    try:
        with Image.open(job.image) as opened:
            return opened.width * opened.height
    except Exception:  # what a decoder raises on damaged bytes is anything at all
        return 0
