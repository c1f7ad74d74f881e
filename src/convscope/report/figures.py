"""The house style of our pictures, and one way to write them."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from convscope.files import write_bytes
from convscope.report.colours import BLUE, GREY, INK, ORANGE, TEAL
from convscope.report.images import image_png, png_path, write_image

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "ORANGE",
    "TEAL",
    "grid_shape",
    "new_figure",
    "picture_axes",
    "plain",
    "png",
    "png_path",
    "write_png",
]

# Inches: a picture of this width fills the report, so that its text keeps its size there.
PAGE_WIDTH = 10.6


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, with a canvas of its own and no global state."""
    figure = Figure(figsize=(width, height), dpi=144, facecolor="white")
    # Gaps in inches: those given as shares of the figure would grow with its height.
    figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.05, w_pad=0.04, hspace=0, wspace=0))
    FigureCanvasAgg(figure)
    return figure


def picture_axes(axes: Axes, title: str = "", *, size: float = 10) -> Axes:
    """Strip ticks from axes that show a picture, keep a thin frame, and title them."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(GREY)
        spine.set_linewidth(0.5)
    if title:
        axes.set_title(title, fontsize=size, color=INK)
    return axes


def plain(text: str) -> str:
    """Keep matplotlib from reading a name of unknown origin as a formula.

    Example:
        >>> plain("$x$")
        '\\\\$x\\\\$'
    """
    return text.replace("$", r"\$")


def grid_shape(count: int, columns: int) -> tuple[int, int]:
    """Return rows and columns for `count` cells, at most `columns` wide.

    Example:
        >>> grid_shape(10, 8), grid_shape(3, 8)
        ((2, 8), (1, 3))
    """
    return math.ceil(count / columns), min(count, columns)


def png(picture: Figure | Image.Image) -> bytes:
    """Return a figure, or a picture made of pixels, as the bytes of a PNG file."""
    if isinstance(picture, Image.Image):
        return image_png(picture)
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png", metadata={"Software": "convscope"})
    return buffer.getvalue()


def write_png(picture: Figure | Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write a figure or a picture as a PNG file, whole or not at all."""
    if isinstance(picture, Image.Image):
        return write_image(picture, path)
    path = png_path(path)
    write_bytes(path, png(picture))
    return path
