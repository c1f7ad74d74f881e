"""Still pictures of what `inspection` and `experiments` found; every number in them comes from there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from convscope.data import ImageSet
from convscope.experiments import LoopComparison, ThreeLayers
from convscope.inspection import (
    ConfusionMatrix,
    ConvolutionValue,
    Mistake,
)
from convscope.report.colours import GREYS, SHARES, SIGNED
from convscope.report.figures import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PAGE_WIDTH,
    TEAL,
    grid_shape,
    new_figure,
    picture_axes,
    plain,
)
from convscope.training import Run

__all__ = [
    "draw_confusion",
    "draw_learning",
    "draw_mistakes",
    "draw_three_layers",
    "draw_value",
]


def draw_three_layers(layers: ThreeLayers, loops: LoopComparison | None = None) -> Figure:
    """Draw the photograph and the three layers' maps side by side, each min-max normalised to 0..255."""
    height, width = layers.photograph.shape[:2]
    figure = new_figure(PAGE_WIDTH, PAGE_WIDTH / 4 * height / width + 1.0)
    axes = figure.subplots(1, 4)
    picture_axes(axes[0], f"the photograph\n{height} x {width} x 3").imshow(layers.photograph)
    for number, (axis, picture, (low, high)) in enumerate(
        zip(axes[1:], layers.pictures, layers.ranges, strict=True), start=1
    ):
        picture_axes(axis, f"hidden{number}: 3 maps as RGB\n{low:.2f} to {high:.2f} as 0 to 255")
        axis.imshow(picture)
    if loops is not None:
        figure.supxlabel(
            f"the same three layers: Python loops {loops.loops_seconds:.2f} s, convscope "
            f"{loops.seconds * 1e3:.2f} ms (median of {loops.repeats}), {loops.ratio:,.0f} times faster, "
            f"outputs {loops.relative_difference:.0e} of the largest value apart",
            fontsize=10,
            color=INK,
        )
    return figure


def draw_value(value: ConvolutionValue, photograph: np.ndarray) -> Figure:
    """Draw where one output value looks, and its products channel by channel as numbers.

    Shapes:
        photograph (H, W, 3) uint8, the picture the value was computed from
    """
    rows = len(value.channels)
    figure = new_figure(PAGE_WIDTH, 1.6 * rows + 0.9)
    grid = figure.add_gridspec(rows, 6, width_ratios=[2.6, 1.3, 1, 1, 1, 1])
    whole = picture_axes(figure.add_subplot(grid[:, 0]), "the window in the photograph")
    whole.imshow(photograph)
    (top, *_, bottom), (left, *_, right) = value.positions
    whole.add_patch(
        Rectangle((left - 6, top - 6), right - left + 12, bottom - top + 12, fill=False, ec=ORANGE, lw=1.8)
    )
    names = (
        ("red", "green", "blue")
        if rows == 3
        else tuple(f"channel {entry.channel}" for entry in value.channels)
    )
    shades = ("Reds_r", "Greens_r", "Blues_r") if rows == 3 else ("Greys_r",) * rows
    for row, (entry, name, shade) in enumerate(zip(value.channels, names, shades, strict=True)):
        close = picture_axes(figure.add_subplot(grid[row, 1]), "its surroundings" if row == 0 else "")
        close.imshow(photograph[..., entry.channel], cmap=shade, vmin=0, vmax=255)
        close.set_xlim(left - 6.5, right + 6.5)
        close.set_ylim(bottom + 6.5, top - 6.5)
        close.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5), right - left + 1, bottom - top + 1, fill=False, ec=ORANGE, lw=1.5
            )
        )
        close.set_ylabel(name, fontsize=10, color=INK)
        for column, (title, numbers, colors) in enumerate(
            (
                ("window", entry.window, GREYS),
                ("x  weights", entry.weights, SIGNED),
                ("=  products", entry.products, SIGNED),
            ),
            start=2,
        ):
            _number_grid(figure.add_subplot(grid[row, column]), numbers, title if row == 0 else "", colors)
        total = picture_axes(figure.add_subplot(grid[row, 5]), "sum" if row == 0 else "")
        total.set_axis_off()
        total.set_box_aspect(1)
        total.set_title("sum" if row == 0 else "", fontsize=10, color=INK)
        total.text(0.5, 0.5, f"{entry.total:+.4f}", ha="center", va="center", fontsize=12, color=INK)
    sums = " ".join(f"{entry.total:+.4f}" for entry in value.channels)
    place = ", ".join(map(str, value.at))
    figure.supxlabel(
        f"output[{place}] = {sums} {value.bias:+.4f} (bias) = {value.total:+.6f};"
        f" torch computed {value.engine_value:+.6f}",
        fontsize=12,
        color=INK,
    )
    return figure


def _number_grid(axes, numbers: Tensor, title: str, colors: str) -> None:
    picture_axes(axes, title)
    table = numbers.numpy()
    limit = float(np.abs(table).max()) or 1.0
    # Never the dark end of the colours, so that the ink stays readable on every cell.
    axes.imshow(table, cmap=colors, vmin=-2 * limit, vmax=limit if colors == GREYS else 2 * limit)
    for (row, column), number in np.ndenumerate(table):
        axes.text(column, row, f"{number:.2f}", ha="center", va="center", fontsize=9, color=INK)


def _fill(grid, planes, colors: str | None, low: float, high: float, *, size: float = 9) -> None:
    cells = list(grid.flat)
    for axes, (plane, title) in zip(cells, planes, strict=False):
        picture_axes(axes, title, size=size)
        axes.imshow(plane, cmap=colors, vmin=low, vmax=high, interpolation="nearest")
    for axes in cells[len(planes) :]:
        axes.set_axis_off()


def draw_confusion(matrix: ConfusionMatrix) -> Figure:
    """Draw the confusion matrix with its counts; rows are true classes, columns predicted ones."""
    count = len(matrix.classes)
    side = min(max(0.55 * count + 2.0, 4.5), 16)
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    table, shares = matrix.counts.numpy(), matrix.shares.numpy()
    axes.imshow(shares, cmap=SHARES, vmin=0, vmax=1)
    names = [plain(name) for name in matrix.classes]
    axes.set_xticks(range(count), names, rotation=40, ha="right", fontsize=9)
    axes.set_yticks(range(count), names, fontsize=9)
    axes.set_xlabel("predicted", fontsize=10, color=INK)
    axes.set_ylabel("true", fontsize=10, color=INK)
    axes.set_title(f"accuracy {matrix.accuracy:.2%} of {int(table.sum())} images", fontsize=11, color=INK)
    if count <= 30:
        for (row, column), number in np.ndenumerate(table):
            if number:
                color = "white" if shares[row, column] > 0.6 else INK
                axes.text(column, row, str(number), ha="center", va="center", fontsize=8, color=color)
    return figure


def draw_mistakes(images: ImageSet, wrong: Sequence[Mistake], columns: int = 8) -> Figure:
    """Draw the images that were taken for another class, with both classes and the confidence."""
    rows, across = grid_shape(max(len(wrong), 1), columns)
    figure = new_figure(PAGE_WIDTH / columns * across, 1.95 * rows + 0.1)
    grid = figure.subplots(rows, across, squeeze=False)
    planes = [
        (
            images.picture(entry.index),
            f"{plain(entry.true)}\ntaken for\n{plain(entry.predicted)} {entry.confidence:.0%}",
        )
        for entry in wrong
    ]
    _fill(grid, planes, GREYS, 0, 255, size=8)
    return figure


def draw_learning(runs: Sequence[tuple[str, Run]]) -> Figure:
    """Draw test accuracy and training loss of some runs, epoch by epoch; what was not measured has no point."""
    figure = new_figure(PAGE_WIDTH, 3.4)
    accuracy, loss = figure.subplots(1, 2)
    for number, (name, run) in enumerate(runs):
        color = (ORANGE, TEAL, BLUE, GREY)[number % 4]
        style = ("o-", "s--", "^:", "d-.")[number // 4 % 4]
        for axes, key in ((accuracy, "acc@1"), (loss, "train_loss")):
            points = [(row["epoch"], row[key]) for row in run.metrics if key in row]
            epochs, values = zip(*points, strict=True) if points else ((), ())
            axes.plot(epochs, values, style, color=color, label=plain(name), ms=4)
    for axes, title in (
        (accuracy, "accuracy on the test images"),
        (loss, "mean loss on the training images"),
    ):
        axes.set_title(title, fontsize=11, color=INK)
        axes.set_xlabel("epoch", fontsize=10, color=INK)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize=9, frameon=False)
    return figure
