"""Prediction of many images: batches through the net, and their outputs to disk."""

import errno
import math
import tempfile
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

from losslab.bands import read_bands
from losslab.data.images.decode import UnusableFileError
from losslab.data.images.fit import fit_image
from losslab.errors import InputError, find_exhausted_memory
from losslab.inference.predictor import Predictor
from losslab.inference.tensors import to_probabilities
from losslab.inference.tiling import OVERLAP, Rows, Tiling, choose_tiling, predict_tiled, split_rows
from losslab.io.files import make_folder, name_errors
from losslab.io.windows import Values
from losslab.label_sets import combine_labels, list_picture_labels
from losslab.models.probe import find_fault, shorten_error
from losslab.prediction.inputs import PredictionJob
from losslab.prediction.label_map import Labels, compute_row_labels, restore_in_rows
from losslab.prediction.loading import LoadedImage, LoadFailure, load_ahead
from losslab.prediction.outputs import (
    choose_tinted_classes,
    draw_picture,
    open_probability_file,
    save_class_bands,
    save_geotiff_mask,
    save_mask,
    save_overlay,
)

MAX_BATCH_PIXELS = 64 << 20
"""Pixels of all images in a batch at their own size; a single image may have more."""
LARGE_IMAGE_PIXELS = 64 << 20
"""Pixels beyond which the labels of an image are kept in a file, and its overlay is shrunk."""
MAX_SHRUNK_SIDE_PX = 4096
"""Longest side of an overlay that is shrunk."""
MAX_WRITES_WAITING = 8
"""Images whose outputs may wait to be written."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What the net is shown, and which files are written."""

    scale: Literal["trained", "original"] = "trained"
    tile: int = 1024
    overlap: float = OVERLAP
    batch_size: int = 16
    """Images that go through the net together at its trained size; of larger ones as many as have no more pixels."""
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
    predictor: Predictor, jobs: Sequence[PredictionJob], out: Path, options: PredictOptions
) -> PredictionSummary:
    """Write the mask of each image, and the other outputs of the options, into `out`.

    Images are grouped into batches by their sizes alone, so that the same command gives the same masks.
    Raises InputError if the net cannot take the images at this scale, OSError if outputs cannot be written.
    """
    check_scale(predictor, options)
    began, summary = time.monotonic(), PredictionSummary()
    size, fit, bands = predictor.description["size"], predictor.description["fit"], read_bands(predictor.description)
    net = _RowPredictor(predictor, options)

    def fit_to_net(image: Values) -> Values:
        return image if net.keeps_size else fit_image(image, size, fit)

    side = net.tiling.side if net.keeps_size else None
    with (
        tqdm(total=len(jobs), desc="predict", unit=" images", disable=None) as bar,
        load_ahead(jobs, bands, fit_to_net, side, keep=options.overlays) as loaded,
        _OutputWriter(predictor, options, out, summary, bar) as outputs,
    ):
        for batch in _group_batches(loaded, net, outputs):
            try:
                for image, rows in net.predict_batch(batch):
                    outputs.write(image, rows)
            except SizeRefusedError as refused:
                if not net.keeps_size:
                    raise InputError(str(refused)) from refused
                for image in batch:
                    outputs.fail(image.job, str(refused))
    summary.seconds = time.monotonic() - began
    order = {job.image: number for number, job in enumerate(jobs)}
    summary.failures.sort(key=lambda failure: order[failure[0]])
    return summary


def check_scale(predictor: Predictor, options: PredictOptions) -> None:
    """Raise InputError for images at their original size if the net takes one size only."""
    if options.scale == "trained":
        return
    size, stride = predictor.description["size"], getattr(predictor.net, "stride", 1)
    reason = find_fault(predictor.net, (size // stride + 1) * stride)
    if reason is not None and find_fault(predictor.net, size) is None:
        only = f"this net takes only images of {size} x {size}: {reason}"
        raise InputError(f"--scale original: {only}; use --scale trained")


class _RowPredictor:
    """Predicts batches of images, and hands on the logits of their rows."""

    def __init__(self, predictor: Predictor, options: PredictOptions) -> None:
        self.predictor, self.options = predictor, options
        self.fit = predictor.description["fit"]
        self.keeps_size = options.scale == "original" or self.fit == "tile"
        """Whether the net sees images at their own size, larger ones in windows."""
        tile = options.tile if options.scale == "original" else None
        self.tiling: Tiling = choose_tiling(predictor, tile, options.overlap)

    def count_at_once(self, height: int, width: int) -> int:
        """Return how many images of this size go through the net together."""
        size: int = self.predictor.description["size"]
        return max(self.options.batch_size * size * size // (height * width), 1)

    def predict_batch(self, batch: Sequence[LoadedImage]) -> Iterator[tuple[LoadedImage, Iterator[Rows]]]:
        """Yield each image with its rows, which must be taken before the next image."""
        if batch[0].fitted is None:
            for image in batch:
                yield image, split_rows(self._predict_in_tiles(image))
            return
        fitted = [image.fitted for image in batch if image.fitted is not None]
        logits = self._predict(torch.from_numpy(np.stack(fitted)))
        for number, image in enumerate(batch):
            own = logits[number : number + 1]
            if self.keeps_size:
                yield image, split_rows([(0, own)])
            else:
                yield image, restore_in_rows(own, image.height, image.width, self.fit)

    def _predict_in_tiles(self, image: LoadedImage) -> Iterator[Rows]:
        assert image.image is not None
        tiling, rows = self.tiling, len(self.tiling.compute_starts(image.height))
        name, at_once = image.job.image.name, self.count_at_once(tiling.side, tiling.side)
        with tqdm(total=rows, desc=name, unit=" rows of tiles", disable=None, delay=2, leave=False) as bar:
            yield from predict_tiled(self._predict, image.image, tiling, at_once, bar.update)

    def _predict(self, images: Tensor) -> Tensor:
        try:
            return self.predictor.compute_logits(images)
        except InputError:
            raise
        except (RuntimeError, AssertionError, ValueError) as error:
            if find_exhausted_memory(error):
                raise
            size = " x ".join(map(str, images.shape[1:3]))
            raise SizeRefusedError(f"this net cannot take images of {size}: {shorten_error(error)}") from error


class _OutputWriter:
    """Writes outputs in threads, and counts the images that are done or failed."""

    def __init__(
        self, predictor: Predictor, options: PredictOptions, out: Path, summary: PredictionSummary, bar: "tqdm[Any]"
    ) -> None:
        description = predictor.description
        self.overlapping, self.classes, self.num_classes = (
            predictor.overlapping,
            description["classes"],
            description["num_classes"],
        )
        names, self.palette = list_picture_labels(description)
        self.bands = read_bands(description)
        self.tinted = choose_tinted_classes(names, self.num_classes)
        self.options, self.out, self.summary, self.bar = options, out, summary, bar
        self.pool = ThreadPoolExecutor(2)
        self.waiting: deque[tuple[LoadedImage, Future[None]]] = deque()

    def __enter__(self) -> "_OutputWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while self.waiting and kind is None:
                self._await_oldest()
        finally:
            self.pool.shutdown(cancel_futures=True)

    def write(self, image: LoadedImage, rows: Iterable[Rows]) -> None:
        """Take the predicted rows of an image; its mask may be written later."""
        if self.options.probabilities:
            self._finish(image, lambda: self._save_with_probabilities(image, rows))
            return
        try:
            labels = self._collect_labels(image, rows)
        except UnusableFileError as error:
            self.fail(image.job, str(error))
            return
        self.waiting.append((image, self.pool.submit(self._save, image, labels)))
        while self._is_backlogged():
            self._await_oldest()

    def _collect_labels(self, image: LoadedImage, rows: Iterable[Rows]) -> Labels:
        """Return the labels `[H, W, …]` of rows from top to bottom; those of a large image are mapped from a file."""
        parts = (compute_row_labels(logits, self.options.threshold, self.overlapping) for _, logits in rows)
        if image.height * image.width <= LARGE_IMAGE_PIXELS:
            return np.concatenate(list(parts))
        make_folder(self.out)
        with name_errors(self.out), tempfile.TemporaryFile(dir=self.out) as file:
            file.writelines(part.data for part in parts)
            file.flush()
            pixel = (self.num_classes,) if self.overlapping else ()
            return np.memmap(file, np.uint8, "r", shape=(image.height, image.width, *pixel))

    def _save_with_probabilities(self, image: LoadedImage, rows: Iterable[Rows]) -> None:
        shape = (len(self.classes), image.height, image.width)
        with open_probability_file(image.job.locate_probabilities(self.out), shape) as write:

            def write_rows() -> Iterator[Rows]:
                for top, logits in rows:
                    write(top, to_probabilities(logits, self.overlapping)[0].cpu().numpy())
                    yield top, logits

            labels = self._collect_labels(image, write_rows())
            self._save(image, labels)  # the mask is there first: it says who wrote the files beside it

    def fail(self, job: PredictionJob, reason: str) -> None:
        self.summary.failures.append((job.image, reason))
        self.bar.update()

    def _save(self, image: LoadedImage, labels: Labels) -> None:
        mask, overlay = image.job.locate_mask(self.out), image.job.locate_overlay(self.out)
        if image.job.has_geotiff_mask:
            save_geotiff_mask(labels, self.palette, image.job.image, mask, self.classes)
        elif self.overlapping:
            save_class_bands(labels, self.classes, mask)
        else:
            save_mask(labels, self.palette, mask)
        if self.options.overlays and image.image is not None:
            is_large = labels.shape[0] * labels.shape[1] > LARGE_IMAGE_PIXELS
            step = math.ceil(max(labels.shape) / MAX_SHRUNK_SIDE_PX) if is_large else 1
            picture, shown = draw_picture(image.image, self.bands, step), np.ascontiguousarray(labels[::step, ::step])
            shown = combine_labels(shown) if self.overlapping else shown
            save_overlay(picture, shown, self.palette, self.tinted, overlay)

    def _await_oldest(self) -> None:
        image, future = self.waiting.popleft()
        self._finish(image, future.result)

    def _finish(self, image: LoadedImage, saved: Callable[[], None]) -> None:
        """Count an image as done when `saved` returns, or as failed if its files cannot be read or written."""
        try:
            saved()
        except UnusableFileError as error:
            self.fail(image.job, str(error))
        except OSError as error:
            if error.errno not in (None, errno.ENAMETOOLONG):  # these concern this file alone
                raise
            self.fail(image.job, f"cannot write its outputs: {error.strerror or error}")
        else:
            self.summary.images += 1
            self.summary.pixels += image.height * image.width
            self.bar.update()

    def _is_backlogged(self) -> bool:
        pixels = sum(image.height * image.width for image, _ in self.waiting)
        return len(self.waiting) > 1 and (len(self.waiting) > MAX_WRITES_WAITING or pixels > MAX_BATCH_PIXELS)


def _group_batches(
    loaded: Iterable[LoadedImage | LoadFailure], net: _RowPredictor, outputs: _OutputWriter
) -> Iterator[list[LoadedImage]]:
    """Group neighbours that the net sees at the same shape, and leave those that it sees in windows alone.

    Images that cannot be read are noted as failed.
    """
    batch: list[LoadedImage] = []
    for image in loaded:
        if isinstance(image, LoadFailure):
            outputs.fail(image.job, image.reason)
            continue
        if batch and image.input_shape != batch[0].input_shape:
            yield batch
            batch = []
        batch.append(image)
        pixels = sum(each.height * each.width for each in batch)
        at_once = 1 if image.fitted is None else net.count_at_once(*image.input_shape[:2])
        if len(batch) >= at_once or pixels >= MAX_BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch
