"""The down-samplings of a network: spectra before and after each, and the limit that one in so many places leaves."""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle

from convscope.inspection import DownSampling, ShiftConsistency, Spectra, Spectrum
from convscope.report.colours import AMOUNTS, BLUE, GREY, INK, ORANGE, TEAL
from convscope.report.columns import table
from convscope.report.figures import PAGE_WIDTH, new_figure, picture_axes, plain

__all__ = ["draw_spectra", "spectra_text"]

_ROW = 2.35  # inches
_COLOURS = {"before": BLUE, "after, at every place": TEAL, "after": ORANGE}


def spectra_text(found: Spectra, shifts: ShiftConsistency | None = None) -> str:
    """Return a row for each down-sampling, then how much the outputs change with a shift."""
    rows = [
        (
            step.layer,
            step.operator,
            "x".join(f"{stride:g}" for stride in step.stride),
            " x ".join(map(str, step.before.power.shape)),
            " x ".join(map(str, step.after.power.shape)),
            f"{step.share_before:.1%}",
            "" if step.share_folded is None else f"{step.share_folded:.1%}",
        )
        for step in found.steps
    ]
    head = ("layer", "operator", "stride", "before", "after", "above the limit", "folds")
    text = table(head, rows)
    return text if shifts is None else f"{text}\n\n{_shifts_text(shifts)}"


def _shifts_text(shifts: ShiftConsistency) -> str:
    words = (
        f"Shifted by one pixel to {len(shifts.shifts)} sides: the first class stays in {shifts.agreement:.1%}, outputs "
        f"change by {shifts.mean_change:.2%} on average, at most {max(shifts.changes):.2%}"
    )
    if shifts.probability is not None:
        words += (
            f"; probability of the first class {shifts.probability:.2%}, shifted {min(shifts.probabilities):.2%} to "
            f"{max(shifts.probabilities):.2%}"
        )
    return words + "."


def draw_spectra(found: Spectra, shifts: ShiftConsistency | None = None) -> Figure:
    """Draw each down-sampling as a row: spectra of its input and output, and both as curves with the limit."""
    figure = new_figure(PAGE_WIDTH, _ROW * len(found.steps) + 0.9)
    figure.suptitle(
        "Spectra before and after each down-sampling, without means. Squares: limit, 1/2 cycle a place that is kept."
        + ("\n" + plain(textwrap.fill(_shifts_text(shifts), 150)) if shifts is not None else ""),
        fontsize=9,
        color=INK,
        x=0.01,
        ha="left",
    )
    blocks = figure.subfigures(len(found.steps), 1, squeeze=False)[:, 0]
    for block, step in zip(blocks, found.steps, strict=True):
        _draw_step(block, step)
    return figure


def _draw_step(block: SubFigure, step: DownSampling) -> None:
    block.suptitle(
        f"{plain(step.layer)} ({step.operator}), stride {step.stride[0]:g} x {step.stride[1]:g}: "
        f"{step.share_before:.1%} of the input's energy lies above the limit"
        + (
            f"; at every place {step.share_folded:.1%} of the output's, which folds"
            if step.share_folded is not None
            else ""
        ),
        fontsize=9.5,
        color=INK,
        x=0.01,
        ha="left",
    )
    row = block.subplots(1, 4, width_ratios=[1, 1, 1, 1.7])
    shown: tuple[tuple[str, Spectrum | None], ...] = (
        ("before", step.before),
        ("at every place", step.whole),
        ("after", step.after),
    )
    image = None
    for axes, (title, part) in zip(row, shown, strict=False):
        if part is None:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "the operator has\nno form of stride 1", ha="center", va="center", color=GREY)
            continue
        height, width = part.power.shape
        picture_axes(axes, f"{title}, {height} x {width}", size=8)
        image = axes.imshow(
            part.decibels.numpy(),
            cmap=AMOUNTS,
            vmin=-60,
            vmax=0,
            extent=part.edges,
            interpolation="nearest",
            aspect=height / width,
        )
        if title != "after":
            down, across = step.stride
            axes.add_patch(
                Rectangle((-0.5 / across, -0.5 / down), 1 / across, 1 / down, fill=False, ec="white", lw=1.2)
            )
    if image is not None:
        bar = block.colorbar(image, ax=list(row[:3]), shrink=0.8, pad=0.01)
        bar.set_label("dB below the largest", fontsize=7, color=INK)
        bar.ax.tick_params(labelsize=7)
    _draw_curves(row[3], step)


def _draw_curves(axes: Axes, step: DownSampling) -> None:
    for name, points in step.curves().items():
        if points:
            frequencies, powers = zip(*points, strict=True)
            axes.plot(frequencies, powers, color=_COLOURS[name], label=name, lw=1.6)
    limit = 0.5 / max(step.stride)
    axes.axvline(limit, color=GREY, lw=1, ls="--")
    axes.annotate("limit", (limit, 1), (3, -9), xycoords=("data", "axes fraction"), textcoords="offset points",
                  fontsize=7, color=GREY)  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0, 0.5)
    axes.set_xlabel("cycles a place before", fontsize=7.5, color=INK)
    axes.set_title("power", fontsize=8, color=INK)
    axes.tick_params(which="both", labelsize=7)
    axes.legend(fontsize=7, frameon=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
