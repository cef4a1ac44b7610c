import numpy as np
import pytest

from losslab.io.windows import STRIP_PIXELS, ArrayWindows, iterate_strips


@pytest.mark.parametrize("rows", [1, 3, 7, 50])
@pytest.mark.parametrize("margin", [0, 2, 9])
def test_strips_hold_each_row_once_with_its_neighbours(rows: int, margin: int) -> None:
    image = np.arange(7 * 4).reshape(7, 4)
    strips = list(iterate_strips(*image.shape, margin, rows))
    windows = [strip.read(ArrayWindows(image)) for strip in strips]
    assert np.array_equal(np.concatenate([w[s.own] for w, s in zip(windows, strips, strict=True)]), image)
    for strip, window in zip(strips, windows, strict=True):
        assert np.array_equal(window, image[max(0, strip.start - margin) : strip.stop + margin])


def test_a_small_image_is_one_strip_and_a_wide_one_has_strips_of_a_row() -> None:
    assert len(list(iterate_strips(512, 512))) == 1
    assert len(list(iterate_strips(3, STRIP_PIXELS + 1))) == 3
    assert list(iterate_strips(0, 5)) == []
