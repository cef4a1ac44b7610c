"""All images through the net, and what is predicted of them to disk."""

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from losslab.data.images.decode import Pixels
from losslab.data.images.fit import fit_image
from losslab.errors import InputError, find_exhausted_memory
from losslab.inference.predictor import Predictor
from losslab.inference.tensors import to_probabilities
from losslab.models.probe import find_fault, shorten_error
from losslab.prediction.inputs import PredictionJob
from losslab.prediction.label_map import Labels, Rows, compute_row_labels, restore_in_rows, split_rows
from losslab.prediction.loading import LoadedImage, LoadFailure, load_ahead
from losslab.prediction.outputs import choose_tinted_classes, open_probability_file, save_mask, save_overlay
from losslab.prediction.tiling import Tiling, make_tiling, predict_tiled

BATCH_PIXELS = 64 << 20
"""Of the images in a batch at their own size, all told; more only where one image has more."""
WRITES = 8
"""That may wait to be done."""


@dataclass(frozen=True)
class PredictOptions:
    """How to predict, and what to write."""

    scale: Literal["trained", "original"] = "trained"
    tile: int = 1024
    overlap: float = 0.25
    batch_size: int = 16
    """Images that go through the net together at the size that it was trained on; larger ones as many as have no more
    pixels than these, but one at least."""
    threshold: float = 0.5
    overlays: bool = False
    probabilities: bool = False


@dataclass
class PredictionSummary:
    images: int = 0
    pixels: int = 0
    seconds: float = 0.0
    failures: list[tuple[Path, str]] = field(default_factory=list)


class SizeRefusedError(Exception):
    """The net cannot take images of some size."""


def predict_images(
    predictor: Predictor, jobs: Sequence[PredictionJob], out: Path, wanted: PredictOptions
) -> PredictionSummary:
    """Write the mask of each image, and what else is wanted, into `out`.

    Which images share a batch depends on the images alone, so that the same command gives the same masks.

    Raises:
        InputError: a net that cannot do what is wanted, or files that cannot be written.
    """
    check_scale(predictor, wanted)
    began, outcome = time.monotonic(), PredictionSummary()
    size, fit = predictor.description["size"], predictor.description["fit"]

    def fitted(image: Pixels) -> Pixels:
        return fit_image(image, size, fit) if wanted.scale == "trained" else image

    net = _Net(predictor, wanted)
    with (
        tqdm(total=len(jobs), desc="predict", unit=" images", disable=None) as bar,
        load_ahead(jobs, fitted, keep=wanted.overlays) as loaded,
        _Outputs(predictor, wanted, out, outcome, bar) as outputs,
    ):
        for batch in _batches(loaded, net, outputs):
            try:
                for image, rows in net.logits_of(batch):
                    outputs.write(image, rows)
            except SizeRefusedError as refused:
                if wanted.scale == "trained":
                    raise InputError(str(refused)) from refused
                for image in batch:
                    outputs.fail(image.job, str(refused))
    outcome.seconds = time.monotonic() - began
    order = {job.image: number for number, job in enumerate(jobs)}
    outcome.failures.sort(key=lambda failure: order[failure[0]])
    return outcome


def check_scale(predictor: Predictor, wanted: PredictOptions) -> None:
    """Raise InputError where images at their own size are wanted of a net that takes one size only."""
    if wanted.scale == "trained":
        return
    size, stride = predictor.description["size"], _stride(predictor)
    reason = find_fault(predictor.net, (size // stride + 1) * stride)
    if reason is not None and find_fault(predictor.net, size) is None:
        raise InputError(
            f"--scale original: this net takes images of {size} x {size} only: {reason}; use --scale trained"
        )


class _Net:
    """From images to the logits of their rows."""

    def __init__(self, predictor: Predictor, wanted: PredictOptions) -> None:
        self.predictor, self.wanted = predictor, wanted
        self.fit = predictor.description["fit"]
        self.tiling: Tiling = make_tiling(
            wanted.tile, wanted.overlap, _stride(predictor), getattr(predictor.net, "smallest", 1)
        )

    def at_once(self, height: int, width: int) -> int:
        """How many images of this size go through the net together."""
        size: int = self.predictor.description["size"]
        return max(self.wanted.batch_size * size * size // (height * width), 1)

    def is_tiled(self, image: LoadedImage) -> bool:
        return self.wanted.scale == "original" and max(image.height, image.width) > self.tiling.side

    def logits_of(self, batch: Sequence[LoadedImage]) -> Iterator[tuple[LoadedImage, Iterator[Rows]]]:
        """The rows of each image have to be taken before the next image."""
        if self.is_tiled(batch[0]):
            for image in batch:
                yield image, split_rows(self._tiled(image))
            return
        logits = self._logits(torch.from_numpy(np.stack([image.fitted for image in batch])))
        for number, image in enumerate(batch):
            own = logits[number : number + 1]
            if self.wanted.scale == "trained":
                yield image, restore_in_rows(own, image.height, image.width, self.fit)
            else:
                yield image, split_rows([(0, own)])

    def _tiled(self, image: LoadedImage) -> Iterator[Rows]:
        side = self.tiling.side
        with tqdm(
            total=len(self.tiling.starts(image.height)),
            desc=image.job.image.name,
            unit=" rows of tiles",
            disable=None,
            delay=2,
            leave=False,
        ) as bar:
            yield from predict_tiled(self._logits, image.fitted, self.tiling, self.at_once(side, side), bar.update)

    def _logits(self, images: Tensor) -> Tensor:
        try:
            return self.predictor.compute_logits(images)
        except InputError:
            raise
        except (RuntimeError, AssertionError, ValueError) as error:
            if find_exhausted_memory(error):
                raise
            size = " x ".join(map(str, images.shape[1:3]))
            raise SizeRefusedError(f"this net cannot take images of {size}: {shorten_error(error)}") from error


class _Outputs:
    """Writes in threads, and counts what is done."""

    def __init__(
        self, predictor: Predictor, wanted: PredictOptions, out: Path, outcome: PredictionSummary, bar: "tqdm[Any]"
    ) -> None:
        description = predictor.description
        self.palette, self.num_classes = description["palette"], description["num_classes"]
        self.tinted = choose_tinted_classes(description["classes"], self.num_classes)
        self.wanted, self.out, self.outcome, self.bar = wanted, out, outcome, bar
        self.pool = ThreadPoolExecutor(2)
        self.waiting: deque[tuple[LoadedImage, Future[None]]] = deque()

    def __enter__(self) -> "_Outputs":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while self.waiting and kind is None:
                self._await_oldest()
        finally:
            self.pool.shutdown(cancel_futures=True)

    def write(self, image: LoadedImage, rows: Iterable[Rows]) -> None:
        """Take what is predicted of an image; its mask may be written later."""
        labels = np.empty((image.height, image.width), np.uint8)
        if self.wanted.probabilities:
            self._take(image, lambda: self._save_with_probabilities(image, labels, rows))
            return
        for top, logits in rows:
            self._label(labels, top, logits)
        self.waiting.append((image, self.pool.submit(self._save, image, labels)))
        while len(self.waiting) > 1 and (len(self.waiting) > WRITES or self._waiting_pixels() > BATCH_PIXELS):
            self._await_oldest()

    def _label(self, labels: Labels, top: int, logits: Tensor) -> None:
        labels[top : top + logits.shape[-2]] = compute_row_labels(logits, self.wanted.threshold)

    def _save_with_probabilities(self, image: LoadedImage, labels: Labels, rows: Iterable[Rows]) -> None:
        shape = (max(self.num_classes, 2), image.height, image.width)
        with open_probability_file(image.job.probabilities(self.out), shape) as file:
            for top, logits in rows:
                self._label(labels, top, logits)
                file.write(top, to_probabilities(logits)[0].cpu().numpy())
            self._save(image, labels)  # a mask says whose the files beside it are: it is there first

    def fail(self, job: PredictionJob, reason: str) -> None:
        self.outcome.failures.append((job.image, reason))
        self.bar.update()

    def _save(self, image: LoadedImage, labels: Labels) -> None:
        save_mask(labels, self.palette, image.job.mask(self.out))
        if image.image is not None:
            save_overlay(image.image, labels, self.palette, self.tinted, image.job.overlay(self.out))

    def _await_oldest(self) -> None:
        image, future = self.waiting.popleft()
        self._take(image, future.result)

    def _take(self, image: LoadedImage, saved: Callable[[], None]) -> None:
        """Count an image when its files are there."""
        try:
            saved()
        except OSError as error:
            if error.errno not in (None, errno.ENAMETOOLONG):  # those are of this file only
                raise
            self.fail(image.job, f"what is predicted of it cannot be written: {error.strerror or error}")
        else:
            self._done(image)

    def _done(self, image: LoadedImage) -> None:
        self.outcome.images += 1
        self.outcome.pixels += image.height * image.width
        self.bar.update()

    def _waiting_pixels(self) -> int:
        return sum(image.height * image.width for image, _ in self.waiting)


def _batches(loaded: Iterable[LoadedImage | LoadFailure], net: _Net, outputs: _Outputs) -> Iterator[list[LoadedImage]]:
    """Neighbours whose pixels have one shape for the net; what could not be read is passed on."""
    batch: list[LoadedImage] = []
    for image in loaded:
        if isinstance(image, LoadFailure):
            outputs.fail(image.job, image.reason)
            continue
        if batch and image.fitted.shape != batch[0].fitted.shape:
            yield batch
            batch = []
        batch.append(image)
        pixels = sum(each.height * each.width for each in batch)
        if len(batch) >= net.at_once(*image.fitted.shape[:2]) or pixels >= BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch


def _stride(predictor: Predictor) -> int:
    return int(getattr(predictor.net, "stride", 1))
