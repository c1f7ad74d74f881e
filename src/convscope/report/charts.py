"""Charts as SVG that stands in a page and takes its colours: lines with axes, and bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.ticker import LogLocator, MaxNLocator

from convscope.report.drawing import text_width

__all__ = ["STYLE", "Axis", "Line", "bar_chart", "line_chart"]

_WIDTH, _HEIGHT = 500, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 22, 48, 46  # margins of the plot
_SIZE = 12  # of the letters

STYLE = """
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 18px; }
.chart { width: 100%; max-width: 640px; height: auto; font: 12px system-ui, sans-serif; }
.chart text { fill: var(--ink); }
.chart .title { font-size: 14px; font-weight: 600; }
.chart .grid { stroke: var(--rule); stroke-width: 1; }
.chart .axis { stroke: var(--faint); stroke-width: 1; }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.chart .dashed { stroke-dasharray: 5 4; }
.chart .band { stroke: none; fill-opacity: .22; }
.chart .s0 { stroke: var(--orange); fill: var(--orange); }
.chart .s1 { stroke: var(--blue); fill: var(--blue); }
.chart .s2 { stroke: var(--teal); fill: var(--teal); }
.chart .s3 { stroke: var(--faint); fill: var(--faint); }
.chart .s4 { stroke: var(--violet); fill: var(--violet); }
.chart .s5 { stroke: var(--gold); fill: var(--gold); }
.chart .line { fill: none; }
.chart .band { stroke: none; }
.chart .bar { stroke: none; }
"""


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis says: its label, and the range that it must hold; numbers as they are or as per cent.

    A logarithmic axis takes numbers above 0.
    """

    label: str
    low: float | None = None
    high: float | None = None
    percent: bool = False
    whole: bool = False
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands along the axis, on its own scale."""
        return math.log10(value) if self.log else value


@dataclass(frozen=True, slots=True)
class Line:
    """A named line of points (x, y); `band` holds (x, low, high) drawn behind it, `colour` is 0 to 5."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    band: Sequence[tuple[float, float, float]] = ()
    marked: bool = False
    dashed: bool = False


class _Plot:
    """The axes of a chart, and from numbers to places in it."""

    def __init__(self, x_axis: Axis, y_axis: Axis, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.x_axis, self.y_axis = x_axis, y_axis
        self.x_ticks, self.x_low, self.x_high = _ticks(x_axis, xs, 6)
        self.y_ticks, self.y_low, self.y_high = _ticks(y_axis, ys, 5)

    def x(self, value: float) -> str:
        place = self.x_axis.place
        share = (place(value) - place(self.x_low)) / (place(self.x_high) - place(self.x_low))
        return f"{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def y(self, value: float) -> str:
        place = self.y_axis.place
        share = (place(value) - place(self.y_low)) / (place(self.y_high) - place(self.y_low))
        return f"{_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    def frame(self) -> str:
        """Return grid, ticks and labels."""
        parts = []
        for tick in self.y_ticks:
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
            text = _tick_text(tick, self.y_ticks, self.y_axis)
            parts.append(f'<text x="{_LEFT - 7}" y="{float(y) + 4:.1f}" text-anchor="end">{text}</text>')
        bottom = _HEIGHT - _BOTTOM
        for tick in self.x_ticks:
            x = self.x(tick)
            parts.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>')
            text = _tick_text(tick, self.x_ticks, self.x_axis)
            parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
        middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + bottom) / 2
        parts.append(
            f'<text x="{middle_x}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(self.x_axis.label)}</text>'
            f'<text transform="translate(14 {middle_y}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_axis.label)}</text>"
        )
        return "".join(parts)


def line_chart(title: str, lines: Sequence[Line], x_axis: Axis, y_axis: Axis) -> str:
    """Return some lines over one pair of axes as an SVG element.

    Example:
        >>> svg = line_chart("a <b>", [Line("loss", [(0, 2.0), (1, 1.0)])], Axis("epoch"), Axis("loss"))
        >>> "a &lt;b&gt;" in svg, svg.count("<polyline"), "<b>" in svg
        (True, 1, False)
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    ys += [y for line in lines for _, low, high in line.band for y in (low, high)]
    plot = _Plot(x_axis, y_axis, xs, ys)
    parts = [plot.frame()]
    for line in lines:
        if line.band:
            there = [f"{plot.x(x)},{plot.y(high)}" for x, _, high in line.band]
            back = [f"{plot.x(x)},{plot.y(low)}" for x, low, _ in reversed(line.band)]
            parts.append(f'<polygon class="band s{line.colour}" points="{" ".join(there + back)}"/>')
    for line in lines:
        points = " ".join(f"{plot.x(x)},{plot.y(y)}" for x, y in line.points)
        dashed = " dashed" if line.dashed else ""
        parts.append(f'<polyline class="s{line.colour} line{dashed}" points="{points}"/>')
        if line.marked:
            parts += [
                f'<circle class="s{line.colour}" r="3" cx="{plot.x(x)}" cy="{plot.y(y)}"/>'
                for x, y in line.points
            ]
    if len(lines) > 1:
        parts.append(_legend(lines))
    return _svg(title, _told(lines, y_axis), "".join(parts))


def bar_chart(
    title: str,
    bars: Sequence[tuple[float, float, float]],
    x_axis: Axis,
    y_axis: Axis,
    lines: Sequence[Line] = (),
    *,
    name: str = "",
    colour: int = 1,
) -> str:
    """Return bars (left, right, height) over one pair of axes as an SVG element, with lines over them.

    Example:
        >>> svg = bar_chart("t", [(0.0, 0.5, 0.2), (0.5, 1.0, 0.8)], Axis("x"), Axis("y", low=0))
        >>> svg.count('<rect class="bar')
        2
    """
    xs = [x for left, right, _ in bars for x in (left, right)]
    plot = _Plot(x_axis, y_axis, xs, [height for _, _, height in bars])
    parts = [plot.frame()]
    bottom = _HEIGHT - _BOTTOM
    for left, right, height in bars:
        x, y = float(plot.x(left)) + 1, float(plot.y(height))
        parts.append(
            f'<rect class="bar s{colour}" x="{x:.1f}" width="{float(plot.x(right)) - x - 1:.1f}" y="{y:.1f}" '
            f'height="{bottom - y:.1f}"/>'
        )
    for line in lines:
        points = " ".join(f"{plot.x(x)},{plot.y(y)}" for x, y in line.points)
        dashed = " dashed" if line.dashed else ""
        parts.append(f'<polyline class="s{line.colour} line{dashed}" points="{points}"/>')
    if lines:
        parts.append(_legend([Line(name, (), colour), *lines]))
    told = ", ".join(f"{height:.3g}" for _, _, height in bars)
    return _svg(title, f"{y_axis.label} by {x_axis.label}: {told}", "".join(parts))


def _svg(title: str, description: str, inside: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title>'
        f'<desc>{escape(description)}</desc><text class="title" x="{_LEFT}" y="16">{escape(title)}</text>{inside}</svg>'
    )


def _legend(lines: Sequence[Line]) -> str:
    parts, x = [], float(_LEFT)
    for line in lines:
        dashed = " dashed" if line.dashed else ""
        parts.append(
            f'<polyline class="s{line.colour} line{dashed}" points="{x:.1f},32 {x + 20:.1f},32"/>'
            f'<text x="{x + 25:.1f}" y="36">{escape(line.name)}</text>'
        )
        x += 41 + text_width(line.name, _SIZE)
    return "".join(parts)


def _told(lines: Sequence[Line], y_axis: Axis) -> str:
    """Return what the lines begin and end with, for those who cannot see them."""
    return f"{y_axis.label}: " + "; ".join(
        f"{line.name} from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}"
        for line in lines
        if line.points
    )


def _ticks(axis: Axis, values: Sequence[float], count: int) -> tuple[list[float], float, float]:
    """Return the ticks of an axis and its range, which holds the values and ends at ticks where it is not given."""
    low = min(values, default=0.0) if axis.low is None else axis.low
    high = max(values, default=1.0) if axis.high is None else axis.high
    if axis.log:
        return _log_ticks(low, high, count)
    if high <= low and axis.whole:
        low, high = low - 1, high + 1
    if high <= low:
        low, high = low - (abs(low) or 1.0) / 10, high + (abs(high) or 1.0) / 10
    locator = MaxNLocator(count, integer=axis.whole, steps=[1, 2, 2.5, 5, 10])
    ticks = [float(tick) for tick in locator.tick_values(low, high)]
    low = ticks[0] if axis.low is None and not axis.whole else low
    high = ticks[-1] if axis.high is None and not axis.whole else high
    slack = 1e-9 * (high - low)
    return [tick for tick in ticks if low - slack <= tick <= high + slack], low, high


def _log_ticks(low: float, high: float, count: int) -> tuple[list[float], float, float]:
    """Return 1, 2 and 5 times powers of ten where these are not too many, or the powers alone."""
    if high <= low:
        low, high = low / 2, high * 2
    found: list[float] = []
    for parts in ((1.0, 2.0, 5.0), (1.0,)):
        locator = LogLocator(10, subs=parts, numticks=12)
        found = [float(tick) for tick in locator.tick_values(low, high) if low <= tick <= high]
        if len(found) <= count + 1:
            break
    return found, low, high


def _tick_text(tick: float, ticks: Sequence[float], axis: Axis) -> str:
    if axis.log and not axis.percent:
        return f"{tick / 1e6:,.4g} M" if tick >= 1e6 else f"{tick:,.4g}"
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    if axis.percent:
        places = 0 if step >= 0.0099 else 1 if step >= 0.00099 else 2
        return f"{tick:.{places}%}".replace("%", " %")
    largest = max(map(abs, ticks))
    text = f"{tick:.1e}" if 0 < largest < 0.001 else f"{tick + 0.0:.4g}"
    return "0" if abs(tick) < 1e-9 * max(abs(step), 1e-30) else text
