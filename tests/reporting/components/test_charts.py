import math

import pytest

from losslab.reporting.components.axes import Axis, build_axis
from losslab.reporting.components.charts import BOTTOM, LEFT, RIGHT, TOP, Chart, ChartSeries

NAN = math.nan


def build_chart(ys: list[float]) -> Chart:
    series = ChartSeries(name="one", xs=[float(index) for index in range(len(ys))], ys=ys)
    x, y = Axis("x", 0, max(len(ys) - 1, 1)), Axis("y", 0, 1)
    return Chart(id="id", title="Title", reading="Reading.", x=x, y=y, series=[series])


def test_values_lie_between_the_ends_of_the_axis() -> None:
    assert Axis("y", 2, 4).place(3, 100, 0) == 50
    assert Axis("y", 1, 100, log=True).place(10, 0, 100) == pytest.approx(50)
    assert Axis("y", 0, 1).place(7, 0, 100) == 100


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis("y", 0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (Axis("epoch", 1, 4, integer=True), [1, 2, 3, 4]),
        (Axis("epoch", 0.5, 1.5, integer=True), [1]),
        (Axis("y", 0.9, 110, log=True), [1, 2, 5, 10, 20, 50, 100]),
        (Axis("y", -0.3, 0.1), [-0.3, -0.2, -0.1, 0, 0.1]),
    ],
)
def test_ticks_are_round_numbers(axis: Axis, ticks: list[float]) -> None:
    assert axis.choose_ticks() == pytest.approx(ticks)


def test_axis_is_logarithmic_where_an_outlier_would_flatten_the_rest() -> None:
    assert build_axis("loss", [20.0, 0.5, 0.4, NAN]).log
    assert not build_axis("loss", [2.0, 0.5]).log and not build_axis("loss", [20.0, -0.5]).log


@pytest.mark.parametrize("values", [[0.3, 0.3], [0.0], [NAN], [], [-1.0, -1.0]])
def test_axis_of_equal_or_no_values_has_a_width(values: list[float]) -> None:
    axis = build_axis("loss", values)
    assert axis.low < axis.high and axis.choose_ticks()


def test_line_is_broken_at_a_gap_and_a_lone_point_is_a_dot() -> None:
    assert build_chart([0.0, 1.0, NAN, 1.0, 0.0]).drawn[0].path.count("M") == 2
    drawn = build_chart([0.5, NAN] * 30).drawn[0]
    assert len(drawn.dots) == 30 and drawn.texts.split()[:2] == ["0.5", "-"]


def test_points_stay_within_the_plot() -> None:
    drawn = build_chart([0.0, 1.0]).drawn[0]
    assert drawn.dots == [(LEFT, BOTTOM), (RIGHT, TOP)]


def test_table_of_a_long_run_is_thinned() -> None:
    long = build_chart([0.1] * 1000)
    assert long.every == 5 and len(long.rows) == 200 and long.rows[1] == ("5", ["0.1"])
