"""Charts: places of points on straight and logarithmic axes."""

import re

import pytest

from convscope.report.charts import Axis, Line, line_chart


def places(svg):
    points = re.search(r'<polyline class="s0 line" points="([^"]*)"', svg)[1]
    return [tuple(map(float, point.split(","))) for point in points.split()]


def test_a_logarithmic_axis_spaces_ratios_evenly():
    svg = line_chart(
        "t", [Line("a", [(10, 1.0), (100, 10.0), (1000, 100.0)])], Axis("x", log=True), Axis("y", log=True)
    )
    (x0, y0), (x1, y1), (x2, y2) = places(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert x2 > x0
    assert y2 < y0
    ticks = re.findall(r'text-anchor="middle">([\d,. M]+)</text>', svg)
    assert ticks == ["10", "20", "50", "100", "200", "500", "1,000"]


def test_a_straight_axis_spaces_differences_evenly():
    svg = line_chart("t", [Line("a", [(0, 1.0), (1, 2.0), (3, 4.0)])], Axis("x"), Axis("y"))
    (x0, _), (x1, _), (x2, _) = places(svg)
    assert x2 - x1 == pytest.approx(2 * (x1 - x0), abs=0.3)


def test_close_values_on_a_logarithmic_axis_have_ticks_between():
    svg = line_chart("t", [Line("a", [(1e6, 3.0), (9e6, 3.0)])], Axis("x", log=True), Axis("y", log=True))
    assert re.findall(r'text-anchor="middle">([\d,. M]+)</text>', svg) == ["1 M", "2 M", "5 M"]
