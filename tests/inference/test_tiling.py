"""Tiles must not show in what is predicted."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from losslab.inference.predictor import Predictor, TestTimeAugmentation
from losslab.inference.tiling import Tiling, build_tiling, predict_tiled, predict_whole
from losslab.io.windows import ArrayWindows
from losslab.models.segmentation_net import SegmentationNet
from tests.prediction.nets import CPU, build_description, draw_noise


class Pooling(nn.Module):
    """Sees six pixels to every side, and where a pixel lies among four: tiles off the grid would answer otherwise."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.fine, self.coarse = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-1] % 2 or images.shape[-2] % 2:
            raise RuntimeError("not a multiple of 2")
        pooled = nn.functional.max_pool2d(self.fine(images).relu(), 2)
        logits: Tensor = nn.functional.interpolate(self.coarse(pooled), scale_factor=2.0)
        return logits


@settings(max_examples=60)
@given(
    st.integers(1, 500),
    st.integers(1, 100),
    st.floats(0, 0.75),
    st.sampled_from([1, 2, 8, 32]),
    st.sampled_from([1, 64]),
)
def test_weights_cover_each_pixel_once(length: int, tile: int, overlap: float, stride: int, smallest: int) -> None:
    tiling = build_tiling(tile, overlap, stride, smallest)
    starts, weights = tiling.compute_starts(length), tiling.compute_weights(length)
    assert tiling.side % stride == 0 and tile <= max(tiling.side, smallest) and tiling.side >= smallest
    assert all(start % stride == 0 for start in starts) and starts == sorted(set(starts))
    total = torch.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        assert 0 < len(weight) <= tiling.side and weight.min() >= 0
        total[start : start + len(weight)] += weight
    assert torch.allclose(total, torch.ones(length))
    for one, next_one in pairwise(starts):
        assert one + tiling.side - next_one >= tiling.shared >= overlap * tiling.side - stride


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(100, 131), (33, 90), (90, 20), (31, 32), (1, 70)])
def test_net_that_sees_a_little_way_answers_as_in_one_pass(outputs: int, height: int, width: int) -> None:
    predictor = Predictor(SegmentationNet(Pooling(outputs), 2), build_description(outputs), device=CPU)
    image = draw_noise((height, width, 3))
    one_pass = predictor.compute_logits(torch.from_numpy(image)[None])
    parts = [
        (top, rows.clone())
        for top, rows in predict_tiled(predictor.compute_logits, ArrayWindows(image), build_tiling(48, 0.5, 2), 2, int)
    ]
    blended = torch.cat([rows for _, rows in parts], dim=2)
    assert [top for top, _ in parts] == [0, *torch.tensor([rows.shape[2] for _, rows in parts]).cumsum(0).tolist()[:-1]]
    assert torch.allclose(blended, one_pass, atol=1e-5)
    assert torch.equal(blended > 0, one_pass > 0) and torch.equal(blended.argmax(1), one_pass.argmax(1))


def test_with_little_overlap_it_is_the_same_away_from_borders() -> None:
    predictor = Predictor(SegmentationNet(Pooling(3), 2), build_description(3), device=CPU)
    image = draw_noise((64, 232, 3))
    tiling = Tiling(side=64, shared=8, stride=2)
    one_pass = predictor.compute_logits(torch.from_numpy(image)[None])
    blended = torch.cat(
        [rows.clone() for _, rows in predict_tiled(predictor.compute_logits, ArrayWindows(image), tiling, 4, int)],
        dim=2,
    )
    border = torch.zeros(232, dtype=torch.bool)
    for start in tiling.compute_starts(232):
        for at in (start, start + 64):
            border[max(at - 6, 0) : at + 6] = True
    assert torch.allclose(blended[..., ~border], one_pass[..., ~border], atol=1e-5)
    assert not torch.allclose(blended, one_pass, atol=1e-3)


def test_tiles_that_disagree_fade_into_each_other() -> None:
    """A net that sees a place in its tile only: without blending, its answer would jump by 1 at every border."""

    def ramp(images: Tensor) -> Tensor:
        return torch.linspace(0, 1, images.shape[2]).expand(len(images), 1, images.shape[1], -1)

    image = ArrayWindows(draw_noise((64, 384, 3)))
    rows = torch.cat([part.clone() for _, part in predict_tiled(ramp, image, build_tiling(64, 0.5, 1), 3, int)], dim=2)
    assert rows.diff(dim=3).abs().max() < 0.1
    jumping = torch.cat([part.clone() for _, part in predict_tiled(ramp, image, build_tiling(64, 0, 1), 3, int)], dim=2)
    assert jumping.diff(dim=3).abs().max() > 0.8


def test_memory_is_for_one_row_of_tiles() -> None:
    seen: list[int] = []

    def count(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images[..., 0][:, None].float()

    image = draw_noise((640, 300, 3))
    heights = [
        rows.shape[2] for _, rows in predict_tiled(count, ArrayWindows(image), build_tiling(64, 0.25, 1), 2, int)
    ]
    assert max(heights) <= 64 and max(seen) == 2


@pytest.mark.parametrize("tta", ["none", "flip", "flip_scale"])
@pytest.mark.parametrize(("height", "width"), [(48, 48), (31, 48), (7, 9)])
def test_whole_image_that_fits_into_one_window_is_predicted_in_one_pass(
    height: int, width: int, tta: TestTimeAugmentation
) -> None:
    predictor = Predictor(SegmentationNet(Pooling(3), 2), build_description(3, size=48, fit="tile"), tta, CPU)
    image = draw_noise((height, width, 3))
    (part,) = [(top, rows.clone()) for top, rows in predict_whole(predictor, ArrayWindows(image))]
    assert part[0] == 0 and torch.equal(part[1], predictor.compute_logits(torch.from_numpy(image)[None]))


def test_whole_image_is_shown_in_windows_of_the_trained_size_and_type() -> None:
    seen: list[tuple[int, ...]] = []

    class Recording(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(tuple(images.shape))
            return images[:, :1]

    bands = {
        "names": ["a", "b"],
        "dtype": "uint16",
        "shown": [0, 0, 1],
        "low": [0, 0],
        "high": [4e4, 4e4],
        "clip": True,
    }
    description = build_description(1, size=20, fit="tile", bands=bands, mean=[0.0] * 2, std=[1.0] * 2)
    image = np.random.default_rng(0).integers(0, 1 << 16, (50, 33, 2), np.uint16)
    parts = [
        rows.clone()
        for _, rows in predict_whole(Predictor(Recording(), description, device=CPU), ArrayWindows(image), 2)
    ]
    assert set(seen) == {(2, 2, 20, 20)}
    assert torch.allclose(torch.cat(parts, 2)[0, 0], torch.from_numpy(image[..., 0].clip(max=40000) / 40000).float())
