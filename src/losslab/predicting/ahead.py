"""Images from disk, decoded in threads while the net is busy with those before."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from losslab.cores import cores
from losslab.data.preparing.decode import Pixels, UnusableError, read_image
from losslab.predicting.inputs import Job

PIXELS_AHEAD = 64 << 20
"""Of images that wait for the net; but at least one image."""


@dataclass(frozen=True)
class Loaded:
    job: Job
    image: Pixels | None
    """RGB `[H, W, 3]`, turned as its orientation tag says; None where it is no longer needed."""
    fitted: Pixels
    """What the net is to see."""
    height: int
    width: int


@dataclass(frozen=True)
class Failure:
    job: Job
    reason: str


@contextmanager
def loaded_ahead(
    jobs: Sequence[Job], fitted: Callable[[Pixels], Pixels], keep: bool
) -> Iterator[Iterator[Loaded | Failure]]:
    """The images of `jobs` in order, each with what `fitted` makes of it; where `keep`, with their own pixels."""
    pool = ThreadPoolExecutor(cores())

    def load(job: Job) -> Loaded | Failure:
        try:
            image = read_image(job.image).turned().pixels
        except UnusableError as error:
            return Failure(job, str(error))
        return Loaded(job, image if keep else None, fitted(image), *image.shape[:2])

    def results() -> Iterator[Loaded | Failure]:
        waiting: deque[tuple[int, Future[Loaded | Failure]]] = deque()
        ahead = 0
        for job in jobs:
            pixels = _pixels(job)
            while waiting and (ahead + pixels > PIXELS_AHEAD or len(waiting) > 2 * cores()):
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


def _pixels(job: Job) -> int:
    """As the file's header says; 0 where it cannot be read, which is told when the image is."""
    try:
        with Image.open(job.image) as opened:
            return opened.width * opened.height
    except Exception:  # what a decoder raises on damaged bytes is anything at all
        return 0
