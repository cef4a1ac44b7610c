"""One image in memory: rows at a time must give what all at once give."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from losslab.bands import RGB, Bands, read_bands
from losslab.data.images.fit import Fit, fit_image
from losslab.inference.predictor import Predictor, restore_rows, restore_size
from losslab.inference.tensors import to_labels
from losslab.inference.tiling import predict_whole
from losslab.io.windows import ArrayWindows
from losslab.prediction.label_map import predict_image, to_pixels
from tests.prediction.nets import CPU, TWO_BANDS, build_description, build_small_net

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
    monkeypatch.setattr("losslab.inference.tiling.MAX_LOGITS_AT_ONCE", 500)
    image = np.random.default_rng(0).integers(0, 256, (45, 61, 3), dtype=np.uint8)
    predictor = Predictor(build_small_net(outputs), build_description(outputs, fit=fit), device=CPU)
    logits = predictor.compute_logits(torch.from_numpy(fit_image(image, 16, fit))[None])
    labels = predict_image(predictor, image)
    assert labels.dtype == np.uint8 and len(np.unique(labels)) > 1
    assert np.array_equal(labels, to_labels(restore_size(logits, 45, 61, fit))[0].numpy())


def test_tile_net_shows_labels_of_windows_blended() -> None:
    image = np.random.default_rng(0).integers(0, 400, (45, 61, 2), dtype=np.uint16)
    predictor = Predictor(build_small_net(3, bands=2), build_description(3, fit="tile", **TWO_BANDS), device=CPU)
    rows = [part.clone() for _, part in predict_whole(predictor, ArrayWindows(image))]
    labels = predict_image(predictor, image)
    assert labels.shape == (45, 61) and len(np.unique(labels)) > 1
    assert np.array_equal(labels, to_labels(torch.cat(rows, dim=2))[0].numpy())


@pytest.mark.parametrize(
    ("array", "bands", "expected"),
    [
        ([[[0, 255, 7]]], RGB, np.uint8),
        ([[[0, 65535]]], read_bands(TWO_BANDS), np.uint16),
        ([[[0, 0.5]]], read_bands(TWO_BANDS).model_copy(update={"dtype": "float32"}), np.float32),
    ],
)
def test_nested_lists_are_images_of_the_bands_type(array: Any, bands: Bands, expected: type) -> None:
    pixels = to_pixels(np.array(array), bands)
    assert pixels.dtype == expected and pixels.tolist() == array


@pytest.mark.parametrize(
    ("array", "bands", "message"),
    [
        (np.zeros((4, 5)), RGB, r"must be uint8 \[H, W, 3\], RGB, not float64 \[4, 5\]"),
        ([[[0, 256, 0]]], RGB, r"must be uint8 \[H, W, 3\], RGB, not int64 \[1, 1, 3\]"),
        ([[[0, -1]]], read_bands(TWO_BANDS), r"must be uint16 \[H, W, 2\], bands nir, red, not int64 \[1, 1, 2\]"),
        (np.zeros((4, 5, 3), np.uint16), read_bands(TWO_BANDS), r"nir, red, not uint16 \[4, 5, 3\]"),
    ],
)
def test_array_that_is_no_image_of_the_bands_is_refused(array: Any, bands: Bands, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_pixels(np.array(array), bands)
