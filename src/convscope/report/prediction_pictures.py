"""Photographs beside what a network takes them for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from convscope.errors import printable
from convscope.report.colours import GREYS
from convscope.report.figures import BLUE, GREY, INK, PAGE_WIDTH, new_figure, picture_axes, plain
from convscope.training import Prediction

__all__ = ["draw_predictions"]

_ROW = 2.4  # inches


def draw_predictions(
    predictions: Sequence[Prediction], pictures: Sequence[np.ndarray], network: str
) -> Figure:
    """Draw each picture, as the network sees it, beside bars of its likeliest classes, best on top."""
    figure = new_figure(PAGE_WIDTH * 0.75, 0.45 + _ROW * len(predictions))
    figure.suptitle(plain(network), fontsize=11, color=INK, x=0.01, ha="left")
    grid = figure.subplots(len(predictions), 2, squeeze=False, width_ratios=(1, 1.5))
    for (left, right), entry, picture in zip(grid, predictions, pictures, strict=True):
        picture_axes(left, plain(_short(entry.name.rsplit("/", 1)[-1])), size=9)
        left.imshow(picture, cmap=GREYS, vmin=0, vmax=255)
        places = range(len(entry.classes))
        right.barh(
            places, entry.probabilities, color=[BLUE, *[GREY] * len(entry.classes)][: len(entry.classes)]
        )
        for place, (label, share) in enumerate(zip(entry.classes, entry.probabilities, strict=True)):
            inside = share > 0.55  # the name stands on its bar, or beside it
            right.text(
                share - 0.015 if inside else share + 0.015,
                place,
                plain(f"{_short(label)}  {share:.1%}"),
                va="center",
                ha="right" if inside else "left",
                fontsize=9,
                color="white" if inside else INK,
            )
        right.set_xlim(0, 1)
        right.set_ylim(max(len(entry.classes), 3) - 0.5, -0.5)
        right.set_yticks([])
        right.set_xticks((0, 0.5, 1), ("0", "50 %", "100 %"), fontsize=8, color=INK)
        right.tick_params(length=2, color=GREY)
        for side in ("top", "right", "left"):
            right.spines[side].set_visible(False)
        right.spines["bottom"].set_color(GREY)
    return figure


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 40 else text[:37] + "..."
