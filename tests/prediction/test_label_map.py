"""One image in memory: rows at a time must give what all at once give."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from losslab.data.images.fit import Fit, fit_image
from losslab.inference.predictor import Predictor, restore_rows, restore_size
from losslab.inference.tensors import to_labels
from losslab.prediction import label_map
from losslab.prediction.label_map import predict_image
from tests.prediction.nets import CPU, build_description, build_small_net

SIZES = [(40, 100), (100, 41), (16, 16), (7, 9), (1, 50)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_resizing_by_rows_is_the_bilinear_one_of_torch(height: int, width: int) -> None:
    logits = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
    assert torch.allclose(restore_size(logits, height, width, "stretch"), expected, atol=1e-5)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_some_rows_are_bit_for_bit_those_of_all(fit: Fit, height: int, width: int) -> None:
    logits = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    restored = restore_size(logits, height, width, fit)
    for top in range(0, height, 3):
        assert torch.equal(
            restore_rows(logits, height, width, fit, top, min(top + 3, height)), restored[..., top : top + 3, :]
        )


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_labels_are_those_of_restored_logits_also_a_few_rows_at_a_time(
    fit: Fit, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_map, "MAX_LOGITS_AT_ONCE", 500)
    image = np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    predictor = Predictor(build_small_net(outputs), build_description(outputs, fit=fit), device=CPU)
    logits = predictor.compute_logits(torch.from_numpy(fit_image(image, 16, fit))[None])
    labels = predict_image(predictor, image)
    assert labels.dtype == np.uint8 and len(np.unique(labels)) > 1
    assert np.array_equal(labels, to_labels(restore_size(logits, 45, 61, fit))[0].numpy())
