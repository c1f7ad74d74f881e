"""Pictures of what was found about a training before or beside it."""

from __future__ import annotations

from matplotlib.figure import Figure

from convscope.report.figures import BLUE, GREY, INK, ORANGE, PAGE_WIDTH, new_figure
from convscope.training import RangeTest

__all__ = ["draw_range_test"]


def draw_range_test(found: RangeTest) -> Figure:
    """Draw the loss over the learning rate, smoothed and as it was, and the suggested rate."""
    figure = new_figure(PAGE_WIDTH * 0.7, 3.6)
    axes = figure.subplots()
    axes.plot(found.lrs, found.losses, color=GREY, linewidth=0.7, label="loss of each step")
    axes.plot(found.lrs, found.smoothed, color=BLUE, linewidth=1.6, label="smoothed")
    axes.axvline(
        found.suggested, color=ORANGE, linewidth=1.2, label=f"steepest fall at {found.suggested:.2g}"
    )
    axes.set_xscale("log")
    if found.smoothed:
        low, high = min(found.losses), max(found.smoothed)
        axes.set_ylim(low - 0.1 * (high - low) - 1e-3, high + 0.3 * (high - low) + 1e-3)
    axes.set_xlabel("learning rate", color=INK)
    axes.set_ylabel("training loss", color=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure
