"""Images of any size are checked whole, by the windows that the net sees of them."""

from pathlib import Path

import numpy as np
import torch

from losslab.data.loading.arrays import ImageRow, PreparedData
from losslab.inference.predictor import Predictor
from losslab.io.windows import read_whole
from losslab.suspects.checking import Fold
from tests.evaluation.test_whole_images import Threshold, describe_model, prepared

__all__ = ["prepared"]


def test_whole_images_are_checked_as_in_one_pass(prepared: PreparedData, tmp_path: Path) -> None:
    predictor = Predictor(Threshold(), describe_model(prepared))
    fold = Fold(number=0, run="r", predictor=predictor, prepared=prepared, miou=0.5)
    for index, row in enumerate(fold.rows):
        image, given = (read_whole(ImageRow(prepared.rows("test", what), index)) for what in ("images", "masks"))
        expected = predictor.compute_logits(torch.from_numpy(image)[None])[0].softmax(dim=0).numpy()
        checked = fold.check(index)
        assert checked.given.shape == (int(row["height"]), int(row["width"])) == fold.draw(index).shape[:2]
        np.testing.assert_array_equal(checked.predicted, expected.argmax(axis=0))
        np.testing.assert_allclose(checked.trust[given == 1], expected[1][given == 1], rtol=1e-5)
        assert (checked.trust[given == 255] == 1).all()
