"""Masks beside what nets say that never saw them: each image is predicted by the net of the fold that it was tested in."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from losslab import models
from losslab.bands import read_bands
from losslab.data.loading.arrays import ImageRow, PreparedData
from losslab.experiments.finished_runs import DESCRIPTION, MODEL, RunOutputs
from losslab.inference.predictor import Predictor
from losslab.inference.tensors import to_probabilities
from losslab.inference.tiling import Rows, predict_whole, split_rows
from losslab.io.files import read_csv
from losslab.io.windows import read_whole
from losslab.study.plan import StudyRun
from losslab.study.results import read_scores
from losslab.suspects.scores import CheckedMask, Labels, Shares, compare_probabilities, measure_thresholds


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A net, and the images that it never saw."""

    number: int
    run: str
    predictor: Predictor
    prepared: PreparedData
    miou: float | None
    """Its mean IoU on these images."""

    @property
    def description(self) -> Mapping[str, Any]:
        return self.predictor.description

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """Return the lines of index.csv of its test images."""
        return [row for row in read_csv(self.prepared.folder / "index.csv") if row["split"] == "test"]

    def list_unseen_classes(self) -> list[str]:
        """List the classes of which its training images have no pixel, so that it cannot predict them."""
        data = self.prepared.describe()
        return [name for name, pixels in zip(data["classes"], data["pixels"]["train"], strict=True) if not pixels]

    @cached_property
    def thresholds(self) -> Shares:
        """Return the probability from which on the net claims a class, `[C]`, as all its images suggest."""
        parts = (part for index in range(len(self.rows)) for part in self._predict(index))
        return measure_thresholds(parts, len(self.description["classes"]))

    def check(self, index: int) -> CheckedMask:
        """Predict a test image, and compare that with its mask."""
        parts = [compare_probabilities(*part, self.thresholds) for part in self._predict(index)]
        names = [plane.name for plane in fields(CheckedMask)]
        return CheckedMask(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def _predict(self, index: int) -> Iterator[tuple[Labels, Shares]]:
        """Yield the mask of a test image, and the probabilities of its classes, some rows at a time."""
        image, mask = (ImageRow(self.prepared.rows("test", what), index) for what in ("images", "masks"))
        parts: Iterable[Rows]
        if self.description["fit"] == "tile":
            parts = split_rows(predict_whole(self.predictor, image))
        else:
            parts = [(0, self.predictor.compute_logits(torch.from_numpy(read_whole(image)[None])))]
        for top, logits in parts:
            yield mask.read(top, 0, logits.shape[2], mask.width), to_probabilities(logits)[0].float().cpu().numpy()

    def draw(self, index: int) -> Labels:
        """Draw a test image as RGB `[H, W, 3]`."""
        image = ImageRow(self.prepared.rows("test", "images"), index)
        return read_bands(self.description).draw(read_whole(image))


@contextmanager
def open_folds(done: Mapping[StudyRun, RunOutputs]) -> Iterator[list[Fold]]:
    """Yield the folds of finished runs, with nets and images from DVC's cache. Raises InputError if any are lost."""
    folds = []
    with ExitStack() as stack:
        for run, outs in done.items():
            data = f"data/prepared/{outs.dataset}"
            folder = stack.enter_context(outs.files((MODEL, DESCRIPTION, data)))
            net, description = models.load(folder / Path(MODEL).parent)
            folds.append(
                Fold(
                    number=outs.params["prepare"]["split"]["fold"],
                    run=run.name,
                    predictor=Predictor(net, description),
                    prepared=PreparedData(folder / data),
                    miou=read_scores(outs)["test"]["miou"],
                )
            )
        yield sorted(folds, key=lambda fold: fold.number)
