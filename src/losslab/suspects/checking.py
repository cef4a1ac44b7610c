"""Masks beside what nets say that never saw them: each image is predicted by the net of the fold that it was tested in."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
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
from losslab.study.plan import StudyRun
from losslab.study.results import read_scores
from losslab.suspects.scores import CheckedMask, Labels, compare_probabilities


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

    @property
    def rows(self) -> list[dict[str, str]]:
        """Return the lines of index.csv of its test images."""
        return [row for row in read_csv(self.prepared.folder / "index.csv") if row["split"] == "test"]

    def list_unseen_classes(self) -> list[str]:
        """List the classes of which its training images have no pixel, so that it cannot predict them."""
        data = self.prepared.describe()
        return [name for name, pixels in zip(data["classes"], data["pixels"]["train"], strict=True) if not pixels]

    def check(self, index: int) -> CheckedMask:
        """Predict a test image, and compare that with its mask."""
        image, mask = (ImageRow(self.prepared.rows("test", what), index) for what in ("images", "masks"))
        given = np.asarray(mask.read(0, 0, mask.height, mask.width), np.uint8)
        if self.description["fit"] == "tile":
            return compare_mask(given, split_rows(predict_whole(self.predictor, image)))
        pixels = torch.from_numpy(image.read(0, 0, image.height, image.width))
        return compare_mask(given, [(0, self.predictor.compute_logits(pixels[None]))])

    def draw(self, index: int) -> Labels:
        """Draw a test image as RGB `[H, W, 3]`."""
        image = ImageRow(self.prepared.rows("test", "images"), index)
        return read_bands(self.description).draw(image.read(0, 0, image.height, image.width))


def compare_mask(given: Labels, parts: Iterable[Rows]) -> CheckedMask:
    """Compare a mask `[H, W]` with a net's logits `[1, K, rows, W]`, some rows at a time, each part with its first row.

    >>> compare_mask(np.array([[0, 1, 255]], np.uint8), [(0, torch.tensor([[[[-2.0, -2.0, 2.0]]]]))]).predicted.tolist()
    [[0, 0, 1]]
    """
    checked = []
    for top, logits in parts:
        probabilities = to_probabilities(logits)[0].float().cpu().numpy()
        checked.append(compare_probabilities(given[top : top + probabilities.shape[1]], probabilities))
    planes = (np.concatenate([getattr(part, plane.name) for part in checked]) for plane in fields(CheckedMask))
    return CheckedMask(**dict(zip((plane.name for plane in fields(CheckedMask)), planes, strict=True)))


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
