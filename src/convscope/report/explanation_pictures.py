"""A value taken apart, as a picture: its window on the photograph, then term by term and level by level."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from convscope.inspection import Explanation, min_max_image
from convscope.report.colours import GREYS, SIGNED
from convscope.report.figures import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PAGE_WIDTH,
    TEAL,
    new_figure,
    picture_axes,
    plain,
)
from convscope.trace import Trace

__all__ = ["draw_explanation"]

_STEPS = 6  # levels drawn in detail
_BARS = 9
_COLORS = (ORANGE, BLUE, TEAL, "#8e5bb5", "#b5892f", GREY)


def draw_explanation(value: Explanation, trace: Trace) -> Figure:
    """Draw what a value sees of the picture, and of it and its largest terms, level by level, what they add up from.

    Of a chain longer than six levels the first five and the last one that adds anything are drawn.
    """
    steps = value.path_down
    drawn = [step for step in steps if step.terms]
    if len(drawn) > _STEPS:
        drawn = [*drawn[: _STEPS - 1], drawn[-1]]
    picture = _picture(trace, value)
    heights = ([3.4] if picture is not None else []) + [_height(step) for step in drawn]
    figure = new_figure(PAGE_WIDTH, sum(heights) + 0.3)
    blocks = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if picture is not None:
        _draw_picture(blocks[0], picture, drawn, steps)
        blocks = blocks[1:]
    for block, step, color in zip(blocks, drawn, _COLORS, strict=False):
        left_out = (
            steps.index(step) - steps.index(drawn[drawn.index(step) - 1]) - 1 if step is not drawn[0] else 0
        )
        _draw_step(block, step, color, left_out)
    return figure


def _picture(trace: Trace, value: Explanation) -> np.ndarray | None:
    """Return the first image of the input that the value sees, as (H, W, 1 or 3) bytes."""
    numbers = sorted({number for number, _ in value.support}) or [0]
    tensor = trace.given[numbers[0]]
    if tensor.dim() == 4:
        tensor = tensor[value.at[0] if value.at and value.at[0] < tensor.shape[0] else 0]
    if tensor.dim() != 3 or min(tensor.shape[1:]) < 2:
        return None
    maps = tensor if tensor.shape[0] in (1, 3) else tensor[:1]
    return min_max_image(maps.float())


def _rectangle(step: Explanation) -> tuple[int, int, int, int] | None:
    """Return top, bottom, left and right of what a step sees, where it sees an area of an image."""
    spans = [span for (_, axis), span in sorted(step.support.items()) if axis in (2, 3)]
    if len(spans) == 2 and spans[0] is not None and spans[1] is not None:
        return (*spans[0], *spans[1])
    if step.operator == "input" and len(step.at) >= 2:
        return (step.at[-2], step.at[-2], step.at[-1], step.at[-1])
    return None


def _draw_picture(
    block: SubFigure, picture: np.ndarray, drawn: list[Explanation], steps: list[Explanation]
) -> None:
    axes = block.subplots(1, 2)
    height, width = picture.shape[:2]
    colors = GREYS if picture.shape[2] == 1 else None
    found = [(step, _rectangle(step), color) for step, color in zip(drawn, _COLORS, strict=False)]
    if steps[-1].operator == "input":
        found.append((steps[-1], _rectangle(steps[-1]), INK))
    shown = [(step, rectangle, color) for step, rectangle, color in found if rectangle is not None]
    for place, axis in enumerate(axes):
        title = "the input, and what each value sees of it" if place == 0 else "the same, closer"
        picture_axes(axis, title).imshow(picture, cmap=colors, interpolation="nearest")
        for step, (top, bottom, left, right), color in shown:
            label = f"{step.layer}: {bottom - top + 1} x {right - left + 1}"
            axis.add_patch(
                Rectangle(
                    (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1,
                    fill=False, ec=color, lw=2.0, label=plain(label) if place == 0 else None,
                )
            )  # fmt: skip
    if shown:
        top, bottom, left, right = min(
            (rectangle for _, rectangle, _ in shown if rectangle[1] - rectangle[0] < 0.6 * height),
            key=lambda r: -(r[1] - r[0]),
            default=shown[0][1],
        )
        margin = max(bottom - top, right - left, 6) * 0.35
        axes[1].set_xlim(max(left - margin, -0.5), min(right + margin, width - 0.5))
        axes[1].set_ylim(min(bottom + margin, height - 0.5), max(top - margin, -0.5))
        block.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)


def _height(step: Explanation) -> float:
    return 0.8 + 0.23 * min(len(step.terms), _BARS + 1) + (0.6 if _grids(step) else 0)


def _grids(step: Explanation) -> tuple[str, np.ndarray, np.ndarray, np.ndarray] | None:
    """Return window, weights and products of a 2-D convolution's largest channel."""
    if len(step.window) != 2 or "convolution" not in step.operator or not step.groups:
        return None
    groups = {name: total for name, total in step.groups.items() if name.startswith("channel")}
    if not groups:
        return None
    name = max(groups, key=lambda key: abs(groups[key]))
    terms = [term for term in step.terms if term.group == name]
    shape = tuple(map(len, step.window))
    if len(terms) != shape[0] * shape[1] or not 1 < max(shape) <= 7:
        return None
    columns = [[term.factors[0].value, term.factors[1].value, term.value] for term in terms]
    window, weights, products = np.array(columns).T.reshape(3, *shape)
    return name, window, weights, products


def _draw_step(block: SubFigure, step: Explanation, color: str, left_out: int) -> None:
    place = ", ".join(map(str, step.at))
    skipped = f"({left_out} levels further down)  " if left_out > 0 else ""
    block.suptitle(
        f"{skipped}{plain(step.layer)}[{place}] = {step.engine_value:.6g}   "
        f"{step.operator.split('.', 1)[-1]}: {plain(_shortened(step.formula))}",
        fontsize=9.5, color=color, x=0.01, ha="left",
    )  # fmt: skip
    grids = _grids(step)
    if grids is None:
        _draw_bars(block.subplots(), step, color)
        return
    row = block.subplots(1, 4, width_ratios=[1.15, 1.15, 1.15, 2.4])
    name, window, weights, products = grids
    for axes, title, numbers, colors in (
        (row[0], f"{name}: input", window, GREYS),
        (row[1], "* weights", weights, SIGNED),
        (row[2], f"= products, sum {products.sum():+.4g}", products, SIGNED),
    ):
        _number_grid(axes, numbers, title, colors)
    _draw_bars(row[3], step, color)


def _shortened(text: str) -> str:
    return text if len(text) <= 88 else text[:87] + "…"


def _number_grid(axes: Axes, numbers: np.ndarray, title: str, colors: str) -> None:
    picture_axes(axes, title, size=8)
    limit = float(np.abs(numbers).max()) or 1.0
    low = -limit if colors != GREYS else float(numbers.min())
    high = limit if colors != GREYS else max(float(numbers.max()), low + 1e-12)
    axes.imshow(numbers, cmap=colors, vmin=low, vmax=high, interpolation="nearest")
    if max(numbers.shape) > 5:
        return
    for (row, column), number in np.ndenumerate(numbers):
        share = (number - low) / (high - low)
        dark = share < 0.5 if colors == GREYS else abs(share - 0.5) > 0.35
        size = 7 if max(numbers.shape) < 5 else 5.5
        axes.text(column, row, f"{number:.2g}", ha="center", va="center", fontsize=size,
                  color="white" if dark else INK)  # fmt: skip


def _draw_bars(axes: Axes, step: Explanation, color: str) -> None:
    """Draw the largest terms, and the rest as one bar where terms add up."""
    largest = step.largest(_BARS)
    labels = [plain(term.name) for term in largest]
    numbers = [term.value for term in largest]
    rest = len(step.terms) - len(largest)
    if rest and step.taken is None:
        labels.append(f"the other {rest}")
        numbers.append(step.total - sum(numbers))
    places = np.arange(len(numbers))[::-1]
    axes.barh(places, numbers, color=[color if number >= 0 else GREY for number in numbers], height=0.62)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_yticks(places, labels, fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.margins(x=0.3)
    if not any(numbers):
        axes.set_xlim(-1, 1)  # all zero
    for at, number in zip(places, numbers, strict=True):
        side, gap = ("left", 3) if number >= 0 else ("right", -3)
        axes.annotate(f"{number:+.4g}", (number, at), xytext=(gap, 0), textcoords="offset points",
                      fontsize=7.5, va="center", ha=side, color=INK)  # fmt: skip
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(
        f"total in float64 {step.total:.8g}; torch {step.engine_value:.8g}",
        fontsize=8,
        color=INK,
        loc="right",
    )
