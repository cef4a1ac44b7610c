"""Shapes against the libraries whose rules they follow, or against those rules written slowly."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from losslab.data.annotations import shapes
from losslab.data.annotations.shapes import Ellipse, Polygons, RunLengths, decode_counts, paste
from tests.data.annotations.scenes import encode_counts


def fill_slowly(ring: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    """COCO's rule, point by point: what rleFrPoly of maskApi.c does, without its run lengths."""
    corners = [(int(5 * x + 0.5), int(5 * y + 0.5)) for x, y in ring]
    points: list[tuple[int, int]] = []
    for (x, y), (x_end, y_end) in zip(corners, [*corners[1:], corners[0]], strict=True):
        dx, dy = abs(x_end - x), abs(y_end - y)
        if dx == dy == 0:
            continue
        swaps = (dx >= dy and x > x_end) or (dx < dy and y > y_end)
        (xs, ys), (xe, ye) = ((x_end, y_end), (x, y)) if swaps else ((x, y), (x_end, y_end))
        for step in range(max(dx, dy) + 1):
            t = max(dx, dy) - step if swaps else step
            points.append(
                (t + xs, int(ys + (ye - ys) / dx * t + 0.5))
                if dx >= dy
                else (int(xs + (xe - xs) / dy * t + 0.5), t + ys)
            )
    inside = np.zeros((height, width), np.bool_)
    for (x, y), (x_next, y_next) in pairwise(points):
        column = ((x_next if x_next < x else x_next - 1) + 0.5) / 5 - 0.5
        if x_next != x and column == math.floor(column) and 0 <= column <= width - 1:
            row = math.ceil(min(max((min(y, y_next) + 0.5) / 5 - 0.5, 0), height))
            inside[row:, int(column)] ^= True
    return inside


def draw_ring(generator: np.random.Generator, number: int, height: int, width: int) -> npt.NDArray[np.float64]:
    """Corners within the image, beyond it, on whole and half pixels, and twice each, in turn."""
    ring = generator.uniform(0, 1, (generator.integers(3, 10), 2))
    if number % 4 == 1:
        ring = 2 * ring - 0.5
    ring = ring * (width, height)
    return [ring, np.round(ring, 1), np.round(ring), np.repeat(np.round(2 * ring) / 2, 2, axis=0)][number % 4]


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_polygon_covers_what_the_rule_of_coco_says(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(shapes, "BLOCK_PIXELS", block)
    generator = np.random.default_rng(0)
    for number in range(20):
        height, width = generator.integers(1, 30, 2).tolist()
        ring = draw_ring(generator, number, height, width)
        np.testing.assert_array_equal(
            Polygons([ring]).cover(height, width), fill_slowly(ring.tolist(), height, width), f"{ring.tolist()}"
        )


def test_polygons_and_run_lengths_are_those_of_pycocotools() -> None:
    mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    generator = np.random.default_rng(1)
    for number in range(400):
        height, width = generator.integers(1, 50, 2).tolist()
        rings = [draw_ring(generator, number + place, height, width) for place in range(1 + number % 2)]
        encoded = mask.merge(mask.frPyObjects([ring.ravel().tolist() for ring in rings], height, width))
        expected = mask.decode(encoded).astype(np.bool_)
        np.testing.assert_array_equal(Polygons(rings).cover(height, width), expected)
        lengths = RunLengths(encoded["counts"].decode(), height, width)
        lengths.check()
        np.testing.assert_array_equal(lengths.cover(height, width), expected)


def test_centre_of_a_pixel_decides() -> None:
    square = np.array([[1, 1], [4, 1], [4, 3], [1, 3]], np.float64)
    covered = np.zeros((5, 6), np.bool_)
    covered[1:3, 1:4] = True
    np.testing.assert_array_equal(Polygons([square]).cover(5, 6), covered)
    np.testing.assert_array_equal(Polygons([square + 0.4]).cover(5, 6), covered)


@pytest.mark.parametrize(
    "ring", [[], [[1, 1]], [[1, 1], [4, 4]], [[2, 2], [2, 2], [2, 2]], [[90, 90], [99, 90], [95, 99]]]
)
def test_what_has_no_area_in_the_image_covers_nothing(ring: Any) -> None:
    assert not Polygons([np.array(ring, np.float64).reshape(-1, 2)]).cover(5, 6).any()


def test_run_lengths_go_down_the_columns_or_along_rows_of_a_part() -> None:
    by_columns = RunLengths([1, 2, 3], 2, 3).cover(2, 3)
    assert by_columns.astype(int).tolist() == [[0, 1, 0], [1, 0, 0]]
    part = RunLengths([1, 2, 3], 2, 3, top=1, left=-1, by_rows=True).cover(3, 3)
    assert part.astype(int).tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert paste(by_columns, 9, 9, 2, 2).sum() == 0


@pytest.mark.parametrize(
    ("counts", "wrong"),
    [([1, 2], "run lengths of 3 pixels for 3 x 2"), ([7, -1], "no whole numbers"), ("5220n", "end within a number")],
)
def test_run_lengths_that_do_not_fit_are_an_error(counts: Any, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        RunLengths(counts, 2, 3).check()


def test_text_of_run_lengths_holds_large_numbers_and_differences_below_0() -> None:
    counts = [0, 15, 16, 5_000_000, 1, 31, 32, 1023, 0]
    assert decode_counts(encode_counts(counts)).tolist() == counts


def test_turned_ellipse_covers_what_an_upright_one_does() -> None:
    upright = Ellipse(10, 8, 6, 3).cover(16, 20)
    assert upright[8, 4] and not upright[8, 3] and abs(upright.sum() - math.pi * 18) < 4
    np.testing.assert_array_equal(Ellipse(10, 8, 3, 6, 90).cover(16, 20), upright)
    np.testing.assert_array_equal(Ellipse(10, 8, 6, 3, 180).cover(16, 20), upright)
