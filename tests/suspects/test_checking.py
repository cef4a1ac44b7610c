"""Images of any size are checked whole, by the windows that the net sees of them."""

import shutil
from pathlib import Path

import numpy as np
import torch

from losslab.data.loading.arrays import ImageRow, PreparedData
from losslab.inference.predictor import Predictor
from losslab.io.windows import read_whole
from losslab.suspects.checking import Fold
from tests.evaluation.test_whole_images import Threshold, describe_model, prepared

__all__ = ["prepared"]


def test_whole_images_are_checked_as_in_one_pass(prepared: PreparedData) -> None:
    predictor = Predictor(Threshold(), describe_model(prepared))
    fold = Fold(number=0, run="r", predictor=predictor, prepared=prepared, miou=0.5)
    for index, row in enumerate(fold.rows):
        image, given = (read_whole(ImageRow(prepared.rows("test", what), index)) for what in ("images", "masks"))
        expected = predictor.compute_logits(torch.from_numpy(image)[None])[0].softmax(dim=0).numpy()
        checked = fold.check(index)
        assert checked.given.shape == (int(row["height"]), int(row["width"])) == fold.draw(index).shape[:2]
        np.testing.assert_array_equal(checked.predicted, expected.argmax(axis=0))
        reached = expected >= fold.thresholds[:, None, None]
        np.testing.assert_array_equal(checked.claimed == 255, ~reached.any(axis=0))
        np.testing.assert_allclose(checked.trust[given == 1], expected[1][given == 1], rtol=1e-5)
        assert (checked.trust[given == 255] == 1).all()


def test_one_logit_is_that_of_the_second_class(tiny_data: PreparedData, tmp_path: Path) -> None:
    shutil.copytree(tiny_data.folder, tmp_path / "two")
    masks = tmp_path / "two/test/masks.npy"
    np.save(masks, np.minimum(np.load(masks), 1))
    data = tiny_data.describe() | {"classes": ["skin", "lesion"], "num_classes": 1}
    net = torch.nn.Conv2d(3, 1, 1)
    predictor = Predictor(net, data | {"precision": "32-true", "run": {"train": {"device": "cpu"}}})
    checked = Fold(number=0, run="r", predictor=predictor, prepared=PreparedData(tmp_path / "two"), miou=0.5).check(0)
    logit = predictor.compute_logits(torch.from_numpy(tiny_data.rows("test", "images").read([0])))[0, 0].numpy()
    np.testing.assert_array_equal(checked.predicted, logit > 0)
    lesion = checked.given == 1
    np.testing.assert_allclose(checked.trust[lesion], 1 / (1 + np.exp(-logit[lesion])), rtol=1e-5)
